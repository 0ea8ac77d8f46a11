"""Batches over the sandbox by the plain engine, without Prefect; and what must hold after each."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from prefect_imagine.backoff import Pauses
from prefect_imagine.batches.options import BatchOptions, Timing
from prefect_imagine.billing.usage import Usage
from prefect_imagine.clock import utc_now
from prefect_imagine.engine.open_session import open_session
from prefect_imagine.engine.planning.persist import persist_plan
from prefect_imagine.engine.planning.prepare import prepare_batch
from prefect_imagine.engine.run_loop import run_session
from prefect_imagine.engine.session import Session
from prefect_imagine.prompts.requested import Defaults, ask
from prefect_imagine.providers.registry import account_from_environment
from prefect_imagine.providers.spec import Account
from prefect_imagine.reports.summary import Summary
from prefect_imagine.sandbox import RunningSandbox
from prefect_imagine.stores import Store
from tests.chaos.books import audit

TIMING = Timing(deadline=1.0, create=1.5, settle=0.5)
"""Proves absence after 3 seconds."""

HURRIED = Pauses(after_failure=lambda attempt: 0.05 * attempt, between_looks=0.2)
"""Jobs of tenths of a second are looked for as often."""

Row = Mapping[str, Any]


def rows_of(provider: str, *prompts: str, **more: Any) -> list[Row]:
    """Rows of a prompts file."""
    return [{"provider": provider, "prompt": prompt, **more} for prompt in prompts]


def numbered(provider: str, count: int) -> list[Row]:
    """So many different prompts."""
    return rows_of(provider, *(f"{provider} picture {number}" for number in range(count)))


@dataclass(frozen=True)
class Ended:
    """What a run came to."""

    summary: Summary
    usage: Usage
    session: Session


class Runs:
    """Runs batches on one store and one sandbox, each time with fresh clients, as a new process would."""

    def __init__(self, sandbox: RunningSandbox, store: Store, pauses: Pauses = HURRIED) -> None:
        self.pauses = pauses
        self.now: Callable[[], datetime] = utc_now
        self.sandbox = sandbox
        self.store = store
        self.asked: Counter[tuple[str, str]] = Counter()
        self.batches: dict[str, Counter[tuple[str, str]]] = {}

    async def run(self, rows: Sequence[Row] | None = None, *, batch: str = "batch", **options: Any) -> Ended:
        """Make a batch of these rows, or resume it, and run it as far as it goes."""
        async with self.session(rows, batch=batch, **options) as session:
            await run_session(session)
            summary, usage = await session.close_books()
        return Ended(summary, usage, session)

    @asynccontextmanager
    async def session(
        self,
        rows: Sequence[Row] | None = None,
        *,
        batch: str = "batch",
        force: bool = False,
        create: bool = True,
        asked_by: str = "",
        **more: Any,
    ) -> AsyncIterator[Session]:
        """One run's session, opened but not run."""
        options = BatchOptions(**{"batch_id": batch, "timing": TIMING, **more})
        asked = None
        if rows is not None:
            asked = ask(list(enumerate(rows, 1)), Defaults(), {})
            wanted = Counter((each.request.provider, each.request.prompt) for each in asked)
            self.asked.update(wanted - self.batches.get(batch, Counter()))
            self.batches[batch] = self.batches.get(batch, Counter()) | wanted
        prepared_of = prepare_batch(self.store, batch, asked, self.accounts, options, now=lambda: self.now())
        async with prepared_of as opened:
            opened = await persist_plan(self.store, opened) or opened
            async with open_session(
                opened,
                self.store,
                options,
                force=force,
                create=create,
                asked_by=asked_by,
                pauses=self.pauses,
                now=lambda: self.now(),
            ) as session:
                yield session

    async def accounts(self, providers: Sequence[str]) -> Mapping[str, Account]:
        """Of the sandbox."""
        environment = self.sandbox.environment
        return {name: replace(account_from_environment(name, environment)) for name in providers}

    def check(self, *, asked: Mapping[tuple[str, str], int] | None = None) -> None:
        """Everything stored, each prompt accepted as often as asked for, sums and credits as in the books."""
        books = self.sandbox.report()
        verdict = audit(self.store, self.batches, self.asked if asked is None else asked, books)
        assert verdict.problems == []
        assert books["credential_leaks"] == 0 or books["credential_leaks"] == []

    def accepted(self, provider: str) -> dict[str, int]:
        """How many jobs of each prompt the provider has accepted."""
        return dict(self.sandbox.report(jobs=False)["by_prompt"][provider])

    def creates(self) -> dict[str, int]:
        """How many creates each provider has been sent."""
        return {provider: sent["create"] for provider, sent in self.sandbox.books.requests.items()}

    def outputs(self, batch: str = "batch") -> list[str]:
        """The keys of everything under a batch's outputs."""
        return [found.key for found in self.store.list(f"{batch}/outputs/")]


def once_each(rows: Iterable[Row]) -> dict[str, int]:
    """How often each prompt is asked for."""
    return dict(Counter(row["prompt"] for row in rows))
