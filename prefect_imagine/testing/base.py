"""What the parts of the contract share: a stand-in that speaks as its author says, and clients of it."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest
from pydantic import SecretStr

from prefect_imagine.errors import ImagineError
from prefect_imagine.providers.limits.pacing import Pacer
from prefect_imagine.providers.models import GenerationKind, GenerationRequest, Mark
from prefect_imagine.providers.protocol import ProviderClient
from prefect_imagine.providers.registry import open_client
from prefect_imagine.providers.spec import Account, ProviderSpec
from prefect_imagine.testing.stand_in import Asked, Job, Reply, StandIn, standing_in

KEY = "contract-key-0123456789"
"""The key of the contract's account."""


def on_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test to its end, whatever plug-ins of pytest are there."""

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        asyncio.run(_awaited(test(*arguments, **named)))

    return run


async def _awaited(test: Awaitable[None]) -> None:
    await test


async def error_of(call: Awaitable[object]) -> ImagineError:
    """The error that a call ends with."""
    try:
        await call
    except ImagineError as error:
        return error
    raise AssertionError("the call did not fail")


class Contract:
    """How an API speaks; a subclass writes down what differs from this.

    Attributes:
        spec: the provider.
        creates: the endpoint of a create, such as `POST /generations`.
        reads: that of one job, such as `GET /generations/{id}`; `None` where there is none.
        lists: that of the account's jobs; `None` where there is none.
        checks: that which `check` reads where it is none of these; its answer is `{}`.
        synchronous: whether a create is answered when its job has ended.
        media: what the paths of pictures begin with.
        status_name: the name of a record's status.
        kind: what is generated.
        model: of the requests, where the client cannot choose one.
    """

    spec: ClassVar[ProviderSpec]
    creates: str = ""
    reads: str | None = None
    lists: str | None = None
    checks: str | None = None
    synchronous: bool = False
    media: str = "/media/"
    status_name: str = "status"
    kind: GenerationKind = GenerationKind.IMAGE
    model: str | None = None

    def record(self, job: Job) -> Reply:
        """The answer to a read of one job."""
        raise NotImplementedError("write down how the API shows a job")

    def created(self, job: Job) -> Reply:
        """The answer to a create: the job's record, unless it is another."""
        return self.record(job)

    def listing(self, jobs: Sequence[Job], asked: Asked) -> Reply:
        """The answer to a read of the list: bare records, by `limit` and `offset`, unless it is another."""
        return Reply([self.record(job).body for job in self.sliced(jobs, asked)])

    def sliced(self, jobs: Sequence[Job], asked: Asked) -> Sequence[Job]:
        """The jobs of a page that is asked for by `limit` and `offset`."""
        start = int(asked.query.get("offset", 0))
        return jobs[start : start + int(asked.query.get("limit", 100))]

    def unknown(self) -> Reply:
        """The answer to a read of a job that there is not: 404, unless it is another."""
        return Reply({"error": "not found"}, 404)

    def output(self, url: str, number: int) -> str:
        """The address of the picture of the `number`th job, at a server's address."""
        return f"{url}{self.media}{number}.png"

    def other(self, asked: Asked, jobs: Sequence[Job]) -> Reply | None:
        """The answer to a request to another endpoint than those above, if the API has more."""
        return None

    def prompt_of(self, asked: Asked) -> str:
        """The prompt of a create: the body's `prompt`, unless it stands elsewhere."""
        return str(asked.body["prompt"])

    def mark_of(self, asked: Asked) -> str | None:
        """Our mark on a create: the id of the path, where the client chooses it."""
        return asked.id if self.spec.capabilities.mark is Mark.CLIENT_ID else None

    def job_id(self, asked: Asked, number: int) -> str:
        """The id of the `number`th job: that of the path, where there is one."""
        return asked.id or str(number)

    def request(self, prompt: str = "a lake") -> GenerationRequest:
        """A request that the provider takes."""
        return GenerationRequest(provider=self.spec.name, kind=self.kind, model=self.model, prompt=prompt)

    def account(self, url: str) -> Account:
        """An account at an address."""
        return Account(self.spec, key=SecretStr(KEY), base_url=url)

    @asynccontextmanager
    async def client_at(self, url: str) -> AsyncIterator[ProviderClient]:
        """A client of an account there, with a pace of its own."""
        client = open_client(self.account(url), pacer=Pacer())
        try:
            yield client
        finally:
            await client.aclose()

    @asynccontextmanager
    async def standing(self) -> AsyncIterator[tuple[StandIn, ProviderClient]]:
        """A server that speaks like this, and a client of it."""
        async with standing_in(self) as server, self.client_at(server.url) as client:
            yield server, client

    async def made(self, client: ProviderClient, count: int) -> list[str]:
        """The ids of so many new jobs, made one after the other."""
        marks = (f"item{number}:1" for number in range(count))
        return [
            (await client.create(self.request(f"picture {number}"), correlator=mark)).id
            for number, mark in enumerate(marks)
        ]

    def needs(self, met: object, what: str) -> None:
        """Skip a test of what the provider does not have."""
        if not met:
            pytest.skip(f"{self.spec.name} {what}")
