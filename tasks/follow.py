"""Following, fetching, cancelling and storing generations from one's own flow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

from prefect import task
from prefect.cache_policies import NO_CACHE

from prefect_imagine.backoff import backoff
from prefect_imagine.clock import Deadline, boot_seconds
from prefect_imagine.engine.cadence import Cadence, RunningJob
from prefect_imagine.engine.mover import Mover
from prefect_imagine.errors import GenerationFailedError, GenerationTimeoutError, OutputError
from prefect_imagine.providers.models import Generation, GenerationKind, GenerationStatus, Output
from prefect_imagine.providers.protocol import ProviderClient
from prefect_imagine.stores import Downloader, Store
from prefect_imagine.tasks.accounts import open_output
from prefect_imagine.tasks.clients import READS, Credentials, open_clients

ATTEMPTS = 4
LONGEST_WAIT = 60.0


@task(name="poll-generations", **READS)
async def poll_generations(
    generations: Sequence[Generation], credentials: Credentials = None, timeout_seconds: float = 3600.0
) -> list[Generation]:
    """Wait until all have ended, looking at all of a provider's together; returns them in the same order.

    Failed ones are returned like the others: see their `status`.

    Args:
        generations: as `create_generations` returned them; several providers may be mixed.
        credentials: blocks of their providers; the environment's keys where there are none.
        timeout_seconds: the longest wait for all of them together.

    Raises:
        GenerationTimeoutError: some had not ended after `timeout_seconds`. They go on at the provider.
    """
    known = {(each.provider, each.id): each for each in generations}
    async with open_clients((each.provider for each in generations), credentials) as clients:
        deadline = Deadline(timeout_seconds)
        await asyncio.gather(
            *(_follow(provider, client, known, deadline) for provider, client in clients.items())
        )
    return [known[each.provider, each.id] for each in generations]


async def _follow(
    provider: str, client: ProviderClient, known: dict[tuple[str, str], Generation], deadline: Deadline
) -> None:
    cadence = Cadence()
    jobs = {
        each.id: RunningJob(0, boot_seconds(), each.kind or GenerationKind.IMAGE, each.model)
        for (name, _), each in known.items()
        if name == provider and not each.status.terminal
    }
    while jobs:
        if deadline.passed:
            raise GenerationTimeoutError(f"{len(jobs)} generations of {provider} have not ended in time")
        await asyncio.sleep(cadence.wait(jobs.values(), creating=False, scarce=client.pacer.limited))
        shown = {job: seen for job, seen in (await client.poll(list(jobs))).items() if job in jobs}
        known |= {(provider, job): seen for job, seen in shown.items()}
        ended = {jobs.pop(job): None for job, seen in shown.items() if seen.status.terminal}
        cadence.learn(ended, [jobs[job] for job in shown if job in jobs])


@task(name="fetch-outputs", **READS)
async def fetch_outputs(
    generations: Sequence[Generation], credentials: Credentials = None
) -> list[Generation]:
    """The full records, with fresh addresses of their outputs.

    Args:
        generations: what has ended, in any order; several providers may be mixed.
        credentials: blocks of their providers; the environment's keys where there are none.

    Raises:
        GenerationFailedError: one of them has failed.
    """
    async with open_clients((each.provider for each in generations), credentials) as clients:
        fetched = await asyncio.gather(*(clients[each.provider].fetch(each.id) for each in generations))
    for each in fetched:
        if each.status in (GenerationStatus.FAILED, GenerationStatus.CANCELLED):
            raise GenerationFailedError(each)
    return list(fetched)


@task(name="store-outputs", **READS)
async def store_outputs(
    generations: Sequence[Generation],
    output: str,
    credentials: Credentials = None,
    bucket: str | None = None,
) -> list[Output]:
    """Store all outputs of succeeded generations as `<provider>/<id>[-<n>].<extension>` below `output`, and
    return them with their keys, sizes and hashes.

    Args:
        generations: as `fetch_outputs` returned them: addresses of outputs expire.
        output: a folder or `s3://bucket/prefix`, or a folder within `bucket`.
        credentials: blocks of their providers; the environment's keys where there are none.
        bucket: the name of a prefect-aws `S3Bucket` block.

    Raises:
        OutputError: one could not be downloaded whole.
        StoreError: the store failed.
    """
    store = await open_output(output, bucket)
    downloader = Downloader()
    try:
        async with open_clients((each.provider for each in generations), credentials) as clients:
            stored = await asyncio.gather(
                *(_store(store, downloader, clients, generation) for generation in generations)
            )
    finally:
        downloader.close()
        store.close()
    return [each for group in stored for each in group]


async def _store(
    store: Store, downloader: Downloader, clients: Mapping[str, ProviderClient], generation: Generation
) -> list[Output]:
    mover = Mover(store, downloader, clients[generation.provider])
    count = len(generation.outputs)
    stem = f"{generation.provider}/{generation.id}"
    return [
        await asyncio.to_thread(_move, mover, stem if count == 1 else f"{stem}-{number}", output)
        for number, output in enumerate(generation.outputs, start=1)
    ]


def _move(mover: Mover, stem: str, output: Output) -> Output:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return mover.move(stem, output, {})
        except OutputError as error:
            if attempt == ATTEMPTS:
                raise
            time.sleep(min(LONGEST_WAIT, error.retry_after or backoff(attempt)))
    raise AssertionError("the last attempt returns or raises")


@task(name="cancel-generations", cache_policy=NO_CACHE, persist_result=False)
async def cancel_generations(generations: Sequence[Generation], credentials: Credentials = None) -> None:
    """Cancel these generations one by one, and no others.

    Args:
        generations: as `create_generations` or `poll_generations` returned them.
        credentials: blocks of their providers; the environment's keys where there are none.

    Raises:
        UnsupportedOperationError: the provider cannot cancel.
    """
    async with open_clients((each.provider for each in generations), credentials) as clients:
        for each in generations:
            await clients[each.provider].cancel(each.id)
