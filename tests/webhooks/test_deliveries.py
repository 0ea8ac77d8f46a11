"""Runs whose jobs' ends are delivered: what they still ask of the provider, and that none is lost or believed
wrongly."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from prefect_imagine.backoff import Pauses
from prefect_imagine.batches.capability import SECRET_VARIABLE, webhook_address
from prefect_imagine.batches.inbox import INBOX, RECEIVER
from prefect_imagine.engine import cadence
from prefect_imagine.providers.registry import open_client
from prefect_imagine.sandbox import FaultRule, RunningSandbox
from prefect_imagine.stores import Store, open_store
from tests.engine.engine_runs import Runs, numbered
from tests.webhooks.served import SECRET, Served, served

DELIVERING = ("aivisualstudio", "blockadelabs", "imagineapi")
UNHURRIED = Pauses(between_looks=0.5)
COUNT = 12


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(open_store(str(tmp_path / "root"))) as found:
        yield found


@pytest.fixture
def runs(sandbox: RunningSandbox, store: Store, monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Jobs of one to two seconds, and no limits."""
    monkeypatch.setenv(SECRET_VARIABLE, SECRET.get_secret_value())
    sandbox.configure(latency={"image": (1.0, 2.0)}, rate_limits={"aivisualstudio": {"limit": None}})
    return Runs(sandbox, store, UNHURRIED)


@asynccontextmanager
async def delivered(runs: Runs, provider: str) -> AsyncIterator[tuple[Served, str | None]]:
    """A receiver that a provider delivers to, and the address that creates name, if they have to."""
    account = (await runs.accounts([provider]))[provider]
    async with served(runs.store) as receiver:
        client = open_client(account)
        try:
            if provider == "aivisualstudio":
                hook = await client.create_webhook(f"{receiver.address}/{provider}")
                assert hook.secret is not None
                receiver.signing_secrets[provider] = [hook.secret]
            elif provider == "imagineapi":
                address = webhook_address(
                    receiver.address, provider, account.identity, "", SECRET, signed=False
                )
                runs.sandbox.configure(imagineapi_webhook_url=address)
        finally:
            await client.aclose()
        yield receiver, receiver.address if provider == "blockadelabs" else None


@pytest.mark.parametrize("provider", DELIVERING)
async def test_once_a_provider_delivers_it_is_hardly_asked(runs: Runs, provider: str) -> None:
    async with delivered(runs, provider) as (receiver, address):
        await runs.run(numbered(provider, 2), batch="first", webhook_url=address)
        ended = await runs.run(numbered(provider, COUNT), batch="second", webhook_url=address)
        assert receiver.receiver.counts["accepted"] == COUNT + 2
    requests = ended.summary.requests
    assert (requests.create, requests.fetch, requests.history) == (COUNT, 0, 0)
    # What nobody signs is asked for, as many at once as come together.
    assert requests.poll == 0 if provider == "aivisualstudio" else 1 <= requests.poll <= 5
    assert [found.key for found in runs.store.list(INBOX)] == [RECEIVER]
    runs.check()


@pytest.mark.parametrize("provider", DELIVERING)
async def test_lost_repeated_and_forged_deliveries_change_nothing(
    runs: Runs, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cadence, "DELIVERED_AFTER", 2.0)  # the time after which one counts as lost
    runs.sandbox.faults.add(
        FaultRule("webhook_never", provider=provider, rate=0.3),
        FaultRule("webhook_twice", provider=provider, rate=0.3),
        FaultRule("webhook_forged", provider=provider, rate=0.3),
        FaultRule("webhook_late", provider=provider, rate=0.3, seconds=1.0),
    )
    async with delivered(runs, provider) as (_, address):
        ended = await runs.run(numbered(provider, 2 * COUNT), webhook_url=address)
    assert ended.summary.items.stored == 2 * COUNT
    assert runs.sandbox.report(jobs=False)["webhooks"][provider]["forged_fetched"] == 0
    runs.check()


async def test_a_delivery_before_the_answer_to_the_create_is_taken(runs: Runs) -> None:
    provider = "aivisualstudio"
    runs.sandbox.faults.add(FaultRule("webhook_early", provider=provider, seconds=0.7))
    async with delivered(runs, provider) as (receiver, address):
        await runs.run(numbered(provider, 4), webhook_url=address)
        assert receiver.receiver.counts["accepted"] >= 1
    runs.check()


async def test_signatures_of_another_time_are_refused_and_the_run_looks_itself(runs: Runs) -> None:
    provider = "aivisualstudio"
    runs.sandbox.configure(webhook_attempts=1)
    runs.sandbox.faults.add(FaultRule("webhook_skewed", provider=provider))
    async with delivered(runs, provider) as (receiver, address):
        ended = await runs.run(numbered(provider, 4), webhook_url=address)
        assert receiver.receiver.counts["accepted"] == 0
    assert ended.summary.requests.poll >= 1
    assert runs.sandbox.report(jobs=False)["webhooks"][provider]["refused"] == {"401": 4}
    runs.check()


async def test_jobs_that_fail_are_asked_for_what_became_of_their_cost(runs: Runs) -> None:
    provider = "aivisualstudio"
    runs.sandbox.faults.add(FaultRule("job_fails", provider=provider, times=2))
    async with delivered(runs, provider) as (_, address):
        ended = await runs.run(numbered(provider, 6), webhook_url=address)
    assert (ended.summary.items.stored, ended.summary.items.failed) == (4, 2)
    books = runs.sandbox.report()
    assert ended.summary.credits.charged == books["charged"][provider]
