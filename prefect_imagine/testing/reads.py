"""The contract of reads: what a job's record says, and what becomes of reads that fail."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from prefect_imagine.errors import AuthenticationError, NotFoundError, UnsupportedOperationError
from prefect_imagine.providers.models import GenerationStatus
from prefect_imagine.testing.base import KEY, Contract, error_of, on_loop
from prefect_imagine.testing.stand_in import Job, Reply, StandIn

CALLS = ("models", "balance", "packages", "cancel", "delete", "status", "webhooks")


class ReadContract(Contract):
    """What every client's reads do."""

    @on_loop
    async def test_a_job_is_polled_and_fetched(self) -> None:
        self.needs(self.reads, "shows no job")
        async with self.standing() as (server, client):
            made = await self.made(client, 4)
            under_way = await client.poll(made)
            assert under_way.keys() == set(made)
            assert [(row.status.terminal, row.outputs) for row in under_way.values()] == [(False, ())] * 4
            server.end()
            ended = await client.poll(made)
            assert {row.status for row in ended.values()} == {GenerationStatus.SUCCEEDED}
            whole = await client.fetch(made[0])
            assert [output.url for output in whole.outputs] == [server.jobs[made[0]].output]

    @on_loop
    async def test_a_status_that_no_page_names_is_no_end(self) -> None:
        async with self.standing() as (server, client):
            known = self.created(_job(server)).body
            strange = _with_status(known, self.status_name)
            self.needs(strange != known, f"shows no {self.status_name!r}: set status_name")
            server.fail("create", Reply(strange), accepted=True)
            made = await client.create(self.request(), correlator="item1:1")
            assert not made.status.terminal

    @on_loop
    async def test_the_key_stands_in_no_read_s_address(self) -> None:
        self.needs(self.reads and self.spec.key_variable, "shows no job, or takes no key")
        async with self.standing() as (server, client):
            made = await self.made(client, 4)
            await client.check()
            await client.poll(made)
            await client.fetch(made[0])
            assert KEY not in " ".join(f"{sent.path} {dict(sent.query)}" for sent in server.seen)

    @on_loop
    async def test_a_failed_job_says_why(self) -> None:
        self.needs(self.reads, "shows no job")
        async with self.standing() as (server, client):
            [made] = await self.made(client, 1)
            server.end(GenerationStatus.FAILED, "The generation failed")
            row = await client.fetch(made)
            assert (row.status, row.error, row.outputs) == (
                GenerationStatus.FAILED,
                "The generation failed",
                (),
            )

    @on_loop
    async def test_a_create_that_is_answered_at_its_end_holds_the_outputs(self) -> None:
        self.needs(self.synchronous, "answers before its jobs have ended")
        async with self.standing() as (_, client):
            made = await client.create(self.request())
            assert made.status is GenerationStatus.SUCCEEDED
            assert len(made.outputs) == 1

    @on_loop
    async def test_polling_nothing_asks_nothing(self) -> None:
        async with self.standing() as (_, client):
            assert await client.poll([]) == {}
            assert client.requests.total() == 0

    @on_loop
    async def test_polling_many_takes_no_more_requests_than_jobs(self) -> None:
        self.needs(self.reads, "shows no job")
        async with self.standing() as (_, client):
            made = await self.made(client, 30)
            assert len(await client.poll(made)) == 30
            assert client.requests["poll"] <= (2 if self.lists else 30)

    @pytest.mark.parametrize("count", [1, 5])
    @on_loop
    async def test_polling_leaves_out_what_is_not_there(self, count: int) -> None:
        self.needs(self.reads, "shows no job")
        async with self.standing() as (server, client):
            made = await self.made(client, count)
            gone = made[0]
            del server.jobs[gone]
            assert (await client.poll(made)).keys() == set(made[1:])

    @on_loop
    async def test_fetching_what_is_not_there_is_not_found(self) -> None:
        async with self.standing() as (server, client):
            [made] = await self.made(client, 1)
            del server.jobs[made]
            assert isinstance(await error_of(client.fetch(made)), NotFoundError)

    @pytest.mark.parametrize("answer", [None, Reply(b"", 500), Reply(b"", 503)])
    @on_loop
    async def test_a_read_is_repeated(self, answer: Reply | None) -> None:
        self.needs(self.reads, "shows no job")
        async with self.standing() as (server, client):
            [made] = await self.made(client, 1)
            server.fail("read", answer)
            assert (await client.fetch(made)).id == made
            assert client.requests["fetch"] >= 2

    @on_loop
    async def test_a_refused_key_is_no_unknown_job(self) -> None:
        """Jobs that were paid for must not be taken for vanished."""
        self.needs(self.reads and self.spec.key_variable, "shows no job, or takes no key")
        async with self.standing() as (server, client):
            made = await self.made(client, 3)
            server.fail("read", Reply(b"", 401), times=20)
            server.fail("list", Reply(b"", 401), times=20)
            assert isinstance(await error_of(client.poll(made)), AuthenticationError)

    @on_loop
    async def test_check_asks_for_something(self) -> None:
        async with self.standing() as (server, client):
            await client.check()
            assert len(server.seen) == 1

    @on_loop
    async def test_check_finds_a_refused_key(self) -> None:
        self.needs(self.spec.key_variable, "takes no key")
        async with self.standing() as (server, client):
            for kind in ("check", "list", "read"):
                server.fail(kind, Reply(b"", 401), times=20)
            assert isinstance(await error_of(client.check()), AuthenticationError)

    @pytest.mark.parametrize("call", CALLS)
    @on_loop
    async def test_calls_that_it_does_not_have_are_unsupported(self, call: str) -> None:
        self.needs(not getattr(self.spec.capabilities, call), f"has {call}")
        async with self.standing() as (_, client):
            arguments = ["1"] if call in ("cancel", "delete") else []
            error = await error_of(getattr(client, call)(*arguments))
            assert isinstance(error, UnsupportedOperationError)
            assert client.requests.total() == 0

    @on_loop
    async def test_requests_are_counted_by_purpose(self) -> None:
        async with self.standing() as (_, client):
            made = await self.made(client, 2)
            if self.reads:
                await client.poll(made)
                await client.fetch(made[0])
            assert client.requests["create"] == 2
            counted = (client.requests["poll"] > 0, client.requests["fetch"] > 0)
            assert counted == (bool(self.reads), bool(self.reads))


def _job(server: StandIn) -> Job:
    return Job("1", "a lake", "item1-1", datetime.now(UTC), f"{server.url}/1.png")


def _with_status(body: Any, name: str) -> Any:
    """A body with a status that no API has, wherever it stands."""
    if isinstance(body, list):
        return [_with_status(each, name) for each in body]
    if isinstance(body, dict):
        return {key: "melting" if key == name else _with_status(each, name) for key, each in body.items()}
    return body
