"""The contract of whole batches: through the engine, each picture is paid once and stored."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from prefect_imagine.backoff import Pauses
from prefect_imagine.batches.options import BatchOptions, Timing
from prefect_imagine.engine.open_session import open_session
from prefect_imagine.engine.planning.persist import persist_plan
from prefect_imagine.engine.planning.prepare import prepare_batch
from prefect_imagine.engine.run_loop import run_session
from prefect_imagine.prompts.requested import Defaults, ask
from prefect_imagine.providers.registry import all_specs, register, unregister
from prefect_imagine.providers.spec import Account
from prefect_imagine.reports.summary import Summary
from prefect_imagine.stores import open_store
from prefect_imagine.testing.base import Contract, on_loop
from prefect_imagine.testing.stand_in import Reply, StandIn

TIMING = Timing(deadline=1.5, create=2.0, settle=0.5)
"""Proves absence after 4 seconds."""
HURRIED = Pauses(after_failure=lambda attempt: 0.05 * attempt, between_looks=0.2)
"""For jobs that end at once."""
ITEMS = 4


class BatchContract(Contract):
    """What a batch of this provider comes to."""

    @on_loop
    async def test_lost_creates_are_paid_once_or_reported(self, tmp_path: Path) -> None:
        async with self.standing() as (server, _):
            server.ends_at_once = True
            server.fail("create", accepted=True)
            server.fail("create", accepted=False)
            summary = await self._run(server, tmp_path)
            lost = 0 if self.spec.capabilities.history else 2
            assert (summary.items.stored, summary.items.unknown) == (ITEMS - lost, lost)
            assert len(server.jobs) == ITEMS - lost // 2
            assert len(server.creates) == ITEMS + (0 if lost else 1)

    @on_loop
    async def test_a_full_provider_is_waited_for(self, tmp_path: Path) -> None:
        self.needs(self.spec.at_capacity, "is never full")
        async with self.standing() as (server, _):
            server.ends_at_once = True
            server.capacity, server.hold_seconds = 1, 0.2
            server.full = Reply({"error": "all slots busy"}, min(self.spec.at_capacity))
            summary = await self._run(server, tmp_path)
            assert summary.items.stored == len(server.jobs) == ITEMS

    async def _run(self, server: StandIn, folder: Path) -> Summary:
        options = BatchOptions(batch_id="contract", timing=TIMING)

        async def accounts(providers: Sequence[str]) -> Mapping[str, Account]:
            return {name: self.account(server.url) for name in providers}

        with self._known(), closing(open_store(str(folder))) as store:
            asked = ask(list(enumerate(self._rows(), 1)), Defaults(), {})
            async with (
                asyncio.timeout(300),
                prepare_batch(store, "contract", asked, accounts, options) as prepared,
                open_session(
                    await persist_plan(store, prepared) or prepared, store, options, pauses=HURRIED
                ) as session,
            ):
                await run_session(session)
                summary, _ = await session.close_books()
        return summary

    def _rows(self) -> list[dict[str, str]]:
        model = {"model": self.model} if self.model else {}
        row = {"provider": self.spec.name, "kind": self.kind.value, **model}
        return [{**row, "prompt": f"picture {number}"} for number in range(ITEMS)]

    @contextmanager
    def _known(self) -> Iterator[None]:
        name = self.spec.name
        before = next((spec for spec in all_specs() if spec.name == name), None)
        if before == self.spec:
            yield
            return
        unregister(name)  # the installed one, where a test needs another under its name
        register(self.spec)
        try:
            yield
        finally:
            unregister(name)
            if before is not None:
                register(before)
