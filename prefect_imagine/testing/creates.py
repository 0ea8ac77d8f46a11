"""The contract of creates: sent once, and every answer says what may have become of it."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest

from prefect_imagine.clock import Deadline
from prefect_imagine.errors import (
    AmbiguousCreateError,
    AuthenticationError,
    ConnectionFailedError,
    ImagineError,
    InsufficientCreditsError,
    RateLimitedError,
)
from prefect_imagine.providers.limits.pacing import Priority
from prefect_imagine.providers.models import Mark
from prefect_imagine.testing.base import KEY, Contract, error_of, on_loop
from prefect_imagine.testing.stand_in import Reply


class CreateContract(Contract):
    """What every client's `create` does."""

    @on_loop
    async def test_a_create_returns_its_job(self) -> None:
        async with self.standing() as (server, client):
            request = self.request("a lake at dawn, " * 40)
            made = await client.create(request, correlator="item1:1")
            [job] = server.jobs.values()
            assert (made.id, made.provider) == (job.id, self.spec.name)
            assert job.prompt == client.wire_prompt(request)
            assert made.status.terminal == self.synchronous
            assert (len(server.creates), client.requests["create"]) == (1, 1)

    @on_loop
    async def test_a_create_without_a_mark_makes_a_job(self) -> None:
        async with self.standing() as (server, client):
            made = [await client.create(self.request()) for _ in range(2)]
            assert [job.id for job in made] == list(server.jobs)

    @on_loop
    async def test_the_key_stands_in_headers_only(self) -> None:
        self.needs(self.spec.key_variable, "takes no key")
        async with self.standing() as (server, client):
            await client.create(self.request())
            [sent] = server.creates
            assert any(KEY in value for value in sent.headers.values())
            assert KEY not in f"{sent.path} {dict(sent.query)} {dict(sent.body)}"

    @on_loop
    async def test_a_create_takes_the_permit_that_it_is_given(self) -> None:
        async with self.standing() as (server, client):
            # The first permit of all is a probe: until it is used there is no second.
            permit = await client.pacer.acquire(Priority.CREATE)
            async with asyncio.timeout(60):
                await client.create(self.request(), permit=permit)
            assert len(server.creates) == 1

    @on_loop
    async def test_a_mark_reaches_the_provider(self) -> None:
        mark = self.spec.capabilities.mark
        self.needs(mark is not Mark.NONE, "shows no mark")
        async with self.standing() as (server, client):
            made = await client.create(self.request(), correlator="item1:1")
            [job] = server.jobs.values()
            chosen = client.chosen_id("item1:1")
            assert job.mark == (chosen if mark is Mark.CLIENT_ID else "item1:1")
            assert mark is not Mark.CLIENT_ID or made.id == chosen

    @on_loop
    async def test_each_attempt_of_each_item_chooses_an_id_of_its_own(self) -> None:
        self.needs(self.spec.capabilities.mark is Mark.CLIENT_ID, "chooses its ids itself")
        async with self.standing() as (_, client):
            marks = [f"item{item}:{attempt}" for item in range(20) for attempt in range(1, 4)]
            chosen = {client.chosen_id(mark) for mark in marks}
            assert len(chosen) == len(marks)
            assert chosen == {client.chosen_id(mark) for mark in marks}

    @pytest.mark.parametrize("accepted", [False, True])
    @on_loop
    async def test_a_lost_answer_is_ambiguous_and_is_not_repeated(self, accepted: bool) -> None:
        async with self.standing() as (server, client):
            server.fail("create", accepted=accepted)
            with pytest.raises(AmbiguousCreateError):
                await client.create(self.request(), correlator="item1:1")
            assert (len(server.creates), len(server.jobs)) == (1, accepted)

    @pytest.mark.parametrize("body", [b"", b"<html>", b"null", b"[]", b"{}", b'"ok"', b"3"])
    @on_loop
    async def test_a_success_without_a_job_is_ambiguous(self, body: bytes) -> None:
        async with self.standing() as (server, client):
            server.fail("create", Reply(body))
            assert isinstance(await error_of(client.create(self.request())), AmbiguousCreateError)
            assert len(server.creates) == 1

    @pytest.mark.parametrize("status", [301, 307, 408, 500, 502, 503, 504])
    @on_loop
    async def test_a_status_that_proves_nothing_is_ambiguous(self, status: int) -> None:
        async with self.standing() as (server, client):
            server.fail("create", Reply(b"<html></html>", status))
            assert isinstance(await error_of(client.create(self.request())), AmbiguousCreateError)
            assert len(server.creates) == 1

    @pytest.mark.parametrize(
        ("status", "error"),
        [(401, AuthenticationError), (402, InsufficientCreditsError), (429, RateLimitedError)],
    )
    @on_loop
    async def test_a_refusal_says_what_it_is_and_is_not_repeated(
        self, status: int, error: type[ImagineError]
    ) -> None:
        async with self.standing() as (server, client):
            server.fail("create", Reply(b"", status))
            with pytest.raises(error):
                await client.create(self.request())
            assert (len(server.creates), len(server.jobs)) == (1, 0)

    @on_loop
    async def test_how_long_to_wait_is_read(self) -> None:
        async with self.standing() as (server, client):
            server.fail("create", Reply(b"", 429, {"Retry-After": "7"}))
            refused = await error_of(client.create(self.request()))
            assert isinstance(refused, RateLimitedError)
            assert (refused.retry_after, refused.queue_full) == (7.0, False)

    @on_loop
    async def test_a_full_provider_is_told_from_a_rate_limit(self) -> None:
        self.needs(self.spec.at_capacity, "has no status for it")
        for status in self.spec.at_capacity:
            async with self.standing() as (server, client):
                server.fail("create", Reply({"error": "all slots busy"}, status))
                refused = await error_of(client.create(self.request()))
                assert isinstance(refused, RateLimitedError)
                assert refused.queue_full

    @on_loop
    async def test_errors_do_not_show_the_key(self) -> None:
        self.needs(self.spec.key_variable, "takes no key")
        async with self.standing() as (server, client):
            said = {"error": f"no such key: {KEY}", "message": KEY, "detail": KEY}
            server.fail("create", Reply(json.dumps(said).encode(), 401))
            refused = await error_of(client.create(self.request()))
            assert KEY not in f"{refused!r} {refused} {refused.__cause__!r}"

    @on_loop
    async def test_nothing_is_sent_to_who_does_not_listen(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as unused:
            address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        async with self.client_at(address) as client:
            for _ in range(2):  # a second permit is only given once the first is back
                async with asyncio.timeout(60):
                    refused = await error_of(client.create(self.request()))
                assert isinstance(refused, ConnectionFailedError)

    @on_loop
    async def test_nothing_is_sent_after_the_deadline(self) -> None:
        async with self.standing() as (server, client):
            late = await error_of(client.create(self.request(), deadline=Deadline(0.0)))
            assert isinstance(late, ConnectionFailedError)
            assert server.creates == []
            assert (await client.create(self.request(), deadline=Deadline(60.0))).id

    @on_loop
    async def test_what_cannot_be_written_is_not_sent(self) -> None:
        async with self.standing() as (server, client):
            await error_of(client.create(self.request("half a pair: \ud800")))
            assert server.jobs == {}
