"""The engine by itself, without Prefect."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.runs import Job
from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.engine.open_session import open_session
from prefect_imagine.engine.planning.persist import persist_plan
from prefect_imagine.engine.planning.prepare import prepare_batch
from prefect_imagine.engine.run_loop import run_session
from prefect_imagine.prompts.requested import RequestedItem
from prefect_imagine.prompts.spool import Spool
from prefect_imagine.providers.models import GenerationKind, GenerationRequest
from prefect_imagine.providers.registry import account_from_environment
from prefect_imagine.providers.spec import Account
from prefect_imagine.reports.summary import Summary
from prefect_imagine.stores import open_store


async def generate(job: Job) -> tuple[int, dict[str, Any]]:
    """Make or resume the batch."""
    asked = await asyncio.to_thread(_asked, job)
    options = BatchOptions(batch_id=job.batch_id, rates=job.rates)
    store = open_store(job.output)
    async with prepare_batch(store, job.batch_id, asked, _accounts, options) as prepared:
        await persist_plan(store, prepared)
        if prepared.settled:
            return _told(prepared.position.summary(store.address)[0])
        async with open_session(prepared, store, options) as session:
            await run_session(session)
            summary, _ = await session.close_books()
    return _told(summary)


async def _accounts(providers: Sequence[str]) -> Mapping[str, Account]:
    return {name: account_from_environment(name) for name in providers}


def _asked(job: Job) -> Spool:
    return Spool(
        RequestedItem(row, _request(job, prompt), None) for row, prompt in enumerate(job.prompts, start=1)
    )


def _request(job: Job, prompt: str) -> GenerationRequest:
    return GenerationRequest(provider=job.provider, kind=GenerationKind(job.kind), prompt=prompt)


def _told(summary: Summary) -> tuple[int, dict[str, Any]]:
    return summary.items.stored, summary.model_dump(mode="json")
