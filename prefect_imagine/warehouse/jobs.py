"""An account's jobs as its provider shows them, read through the provider's client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from prefect_imagine.clock import utc_now
from prefect_imagine.providers.models import Generation, HistoryPage, ServiceStatus
from prefect_imagine.providers.registry import open_client
from prefect_imagine.providers.spec import Account

SETTLED_AFTER = timedelta(days=3)
"""In which a provider may still change a job that has ended, such as by a refund."""
GIVEN_UP_AFTER = timedelta(days=30)
"""A job that has not ended by then is not waited for."""
T = TypeVar("T")


@dataclass(frozen=True)
class Page:
    """Jobs as one page of the list shows them.

    Attributes:
        read_at: when the list was read: the same for all of its pages.
    """

    jobs: tuple[Generation, ...]
    read_at: datetime


@dataclass(frozen=True)
class ListRead:
    """The list was read.

    Attributes:
        read_from: it was read from its newest job back to here; `None` where all of it was.
        reaches_to: when the oldest job was created that was ever seen, if there may be older ones.
    """

    read_at: datetime
    read_from: datetime | None
    reaches_to: datetime | None


State = dict[str, Any]
"""`since`: from when on jobs are looked at again; `reaches_to` as above; both in ISO 8601."""


def read_jobs(account: Account, state: State) -> Iterator[Page | ListRead]:
    """The pages of an account's jobs, the newest first, as far back as anything may have changed since the
    state was saved. Raises `ProviderError`."""
    return _stepwise(_pages(account, state))


def read_status(account: Account) -> ServiceStatus:
    """Whether the provider says it is in service. Raises `ProviderError`."""

    async def read() -> ServiceStatus:
        client = open_client(account)
        try:
            return await client.status()
        finally:
            await client.aclose()

    return asyncio.run(read())


def _stepwise(pages: AsyncGenerator[T, None]) -> Iterator[T]:
    """An asynchronous generator as an iterator for a thread without a loop of its own."""
    with asyncio.Runner() as runner:
        try:
            while True:
                yield runner.run(_next(pages))
        except StopAsyncIteration:
            return
        finally:
            runner.run(pages.aclose())


async def _next(pages: AsyncGenerator[T, None]) -> T:
    return await anext(pages)


async def _pages(account: Account, state: State) -> AsyncGenerator[Page | ListRead, None]:
    client = open_client(account)
    try:
        walk = _Walk(_moment(state.get("since")), utc_now())
        async for page in client.history(since=walk.since):
            walk.take(page)
            yield Page(page.generations, walk.read_at)
            if walk.is_back:
                break
        reaches_to = walk.reaches_to(_moment(state.get("reaches_to")))
        state.update(since=_text(walk.next_since), reaches_to=_text(reaches_to))
        yield ListRead(walk.read_at, walk.read_from, reaches_to)
    finally:
        await client.aclose()


@dataclass
class _Walk:
    """One look at a list.

    Attributes:
        since: from when on jobs may have changed; `None` where all are to be read.
    """

    since: datetime | None
    read_at: datetime
    oldest: datetime | None = None
    ended: bool = False
    in_order: bool = True
    unended: list[datetime] = field(default_factory=list)

    def take(self, page: HistoryPage) -> None:
        """Note what a page shows."""
        self.ended = page.end
        self.in_order = self.in_order and page.newest_first
        for job in page.generations:
            if job.created_at is None:
                self.in_order = False  # nothing tells what came before it
                continue
            self.oldest = min(job.created_at, self.oldest or job.created_at)
            if not job.status.terminal and job.created_at > self.read_at - GIVEN_UP_AFTER:
                self.unended.append(job.created_at)

    @property
    def is_back(self) -> bool:
        """Whether what follows is known."""
        reached = self.since is not None and self.oldest is not None and self.oldest < self.since
        return reached and self.in_order

    @property
    def next_since(self) -> datetime | None:
        """From when on jobs may change from now on."""
        return min([self.read_at, *self.unended]) - SETTLED_AFTER if self.in_order else None

    @property
    def read_from(self) -> datetime | None:
        """Back to when the list was read; `None` for all of it. One that is not in order, and was not read to
        its end, shows of no time all that there is."""
        if self.ended:
            return None
        return self.oldest if self.in_order and self.oldest is not None else self.read_at

    def reaches_to(self, before: datetime | None) -> datetime | None:
        """When the oldest job was created that was ever seen, if there may be older ones."""
        if self.ended:
            return None
        return before if self.is_back else self.oldest


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
