"""The contract of histories: what finds the job of a create whose answer is lost."""

from __future__ import annotations

import pytest

from prefect_imagine.errors import AmbiguousCreateError, ProviderError, UnsupportedOperationError
from prefect_imagine.providers.models import Generation, HistoryPage, Mark
from prefect_imagine.providers.protocol import ProviderClient
from prefect_imagine.testing.base import Contract, error_of, on_loop
from prefect_imagine.testing.stand_in import Reply


class HistoryContract(Contract):
    """What every client's history shows."""

    @on_loop
    async def test_a_list_is_whole_and_says_that_it_ends(self) -> None:
        self._needs_list()
        async with self.standing() as (_, client):
            made = await self.made(client, 130)
            pages = await _pages(client)
            assert [row.id for row in _rows(pages)] == made[::-1]
            assert pages[-1].end
            assert not any(page.end for page in pages[:-1])

    @on_loop
    async def test_a_list_shows_what_identifies_a_job(self) -> None:
        self._needs_list()
        async with self.standing() as (server, client):
            await client.create(self.request("a lake at dawn"), correlator="item1:1")
            [row] = _rows(await _pages(client))
            [job] = server.jobs.values()
            assert row.created_at is not None
            assert abs((row.created_at - job.created_at).total_seconds()) < 1
            echoed = self.spec.capabilities.mark is Mark.ECHOED
            assert row.correlator == ("item1:1" if echoed else None)
            # Without a mark nothing else says whose a job is.
            prompt = client.wire_prompt(self.request("a lake at dawn"))
            assert row.prompt in ((None, prompt) if echoed else (prompt,))

    @on_loop
    async def test_a_list_that_cannot_be_read_is_no_empty_list(self) -> None:
        self._needs_list()
        async with self.standing() as (server, client):
            await self.made(client, 1)
            server.fail("list", Reply(b"", 401), times=20)
            assert isinstance(await error_of(_pages(client)), ProviderError)

    @on_loop
    async def test_an_empty_list_ends(self) -> None:
        self._needs_list()
        async with self.standing() as (_, client):
            pages = await _pages(client, prompt="a lake")
            assert (_rows(pages), pages[-1].end) == ([], True)

    @on_loop
    async def test_a_lost_job_is_found(self) -> None:
        self.needs(self.spec.capabilities.history, "has no history")
        async with self.standing() as (server, client):
            server.fail("create", accepted=True)
            lost = await error_of(client.create(self.request("a lake"), correlator="item1:1"))
            assert isinstance(lost, AmbiguousCreateError)
            [job] = server.jobs
            if self.spec.capabilities.mark is Mark.CLIENT_ID:
                assert (await client.poll([client.chosen_id("item1:1")])).keys() == {job}
            else:
                assert [row.id for row in _rows(await _pages(client))] == [job]

    @on_loop
    async def test_what_has_no_history_says_so(self) -> None:
        self.needs(not self.spec.capabilities.history, "has a history")
        async with self.standing() as (_, client):
            with pytest.raises(UnsupportedOperationError):
                await _pages(client)

    def _needs_list(self) -> None:
        self.needs(self.spec.capabilities.history and self.lists, "has no list")


async def _pages(client: ProviderClient, prompt: str | None = None) -> list[HistoryPage]:
    return [page async for page in client.history(prompt=prompt)]


def _rows(pages: list[HistoryPage]) -> list[Generation]:
    return [row for page in pages for row in page.generations]
