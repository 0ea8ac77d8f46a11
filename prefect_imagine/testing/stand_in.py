"""A server that behaves like a provider's API, as its author describes it, and fails as a test asks."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from aiohttp import web

from prefect_imagine.providers.models import GenerationStatus

PICTURE = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63483112000001a400"
    "a77334166c0000000049454e44ae426082"
)
"""A PNG of one pixel."""


@dataclass(frozen=True)
class Asked:
    """A request as the server got it.

    Attributes:
        id: of the path, where the endpoint has one.
        body: JSON, or the fields of a form; empty where there is neither.
    """

    method: str
    path: str
    id: str | None
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Mapping[str, Any]


@dataclass
class Job:
    """A job at the stand-in.

    Attributes:
        mark: what of ours came with its create.
        output: the address of its picture.
    """

    id: str
    prompt: str
    mark: str | None
    created_at: datetime
    output: str
    status: GenerationStatus = GenerationStatus.RUNNING
    error: str | None = None


@dataclass(frozen=True)
class Reply:
    """An answer in the API's own words. `body` is sent as JSON, unless it is bytes."""

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


class Dialect(Protocol):
    """How an API speaks. Endpoints are written as `METHOD /path`, with `{id}` where a job's id stands."""

    creates: str
    reads: str | None
    lists: str | None
    checks: str | None
    synchronous: bool
    media: str

    def prompt_of(self, asked: Asked) -> str:
        """The prompt of a create."""

    def mark_of(self, asked: Asked) -> str | None:
        """Our mark on a create, where it has one."""

    def job_id(self, asked: Asked, number: int) -> str:
        """The id of the job that a create makes, the `number`th of the server."""

    def created(self, job: Job) -> Reply:
        """The answer to a create."""

    def record(self, job: Job) -> Reply:
        """The answer to a read of one job."""

    def listing(self, jobs: Sequence[Job], asked: Asked) -> Reply:
        """The answer to a read of the list; the jobs come newest first."""

    def unknown(self) -> Reply:
        """The answer to a read of a job that there is not."""

    def output(self, url: str, number: int) -> str:
        """The address of the picture of the `number`th job, at a server's address."""

    def other(self, asked: Asked, jobs: Sequence[Job]) -> Reply | None:
        """The answer to a request to another endpoint, if there is one."""


@dataclass
class Fault:
    """What goes wrong with the next requests to an endpoint.

    Attributes:
        on: `create`, `read` or `list`.
        answer: what is answered instead; the connection is cut where there is none.
        accepted: whether a create makes its job all the same.
    """

    on: str
    answer: Reply | None = None
    accepted: bool = False
    times: int = 1


@dataclass
class StandIn:
    """The server's jobs, its requests and its faults.

    Attributes:
        seen: all requests but those for pictures, in order.
        faults: what goes wrong next; the first that fits a request is taken.
        ends_at_once: whether a job has ended when it is looked at first.
        capacity: how many jobs may be under way; a further create is refused by `full`.
        hold_seconds: how long a create is under way before it is answered.
    """

    dialect: Dialect
    url: str = ""
    jobs: dict[str, Job] = field(default_factory=dict)
    seen: list[Asked] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    ends_at_once: bool = False
    capacity: int | None = None
    hold_seconds: float = 0.0
    full: Reply = field(default_factory=lambda: Reply({"error": "at capacity"}, 409))
    _held: int = 0

    def requests(self, endpoint: str) -> list[Asked]:
        """The requests that an endpoint got."""
        return [one for one in self.seen if _match(endpoint, one.method, one.path) is not None]

    @property
    def creates(self) -> list[Asked]:
        """The creates that came."""
        return self.requests(self.dialect.creates)

    def fail(self, on: str, answer: Reply | None = None, *, accepted: bool = False, times: int = 1) -> None:
        """Answer the next requests of a kind like this."""
        self.faults.append(Fault(on, answer, accepted, times))

    def end(self, status: GenerationStatus = GenerationStatus.SUCCEEDED, error: str | None = None) -> None:
        """End all jobs that are under way."""
        for job in self.jobs.values():
            if not job.status.terminal:
                job.status, job.error = status, error

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        if request.method == "GET" and request.path.startswith(self.dialect.media):
            return web.Response(body=PICTURE, content_type="image/png")
        dialect = self.dialect
        endpoints = {
            "create": dialect.creates,
            "read": dialect.reads,
            "list": dialect.lists,
            "check": dialect.checks,
        }
        for kind, endpoint in endpoints.items():
            found = _match(endpoint, request.method, request.path) if endpoint else None
            if found is not None:
                asked = await _asked(request, found.groupdict().get("id"))
                self.seen.append(asked)
                return await self._answer(kind, asked, request)
        asked = await _asked(request, None)
        self.seen.append(asked)
        other = dialect.other(asked, list(reversed(self.jobs.values())))
        return _response(other or Reply({"error": "not found"}, 404))

    async def _answer(self, kind: str, asked: Asked, request: web.Request) -> web.StreamResponse:
        fault = next((one for one in self.faults if one.on == kind and one.times), None)
        if fault is None:
            return _response(await self._held_reply(kind, asked))
        fault.times -= 1
        if fault.accepted:
            self._reply(kind, asked)
        if fault.answer is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return _response(fault.answer)

    async def _held_reply(self, kind: str, asked: Asked) -> Reply:
        if kind != "create" or not self.hold_seconds or self._is_full():
            return self._reply(kind, asked)
        self._held += 1
        try:
            await asyncio.sleep(self.hold_seconds)
        finally:
            self._held -= 1
        return self._reply(kind, asked)

    def _is_full(self) -> bool:
        under_way = self._held + sum(not job.status.terminal for job in self.jobs.values())
        return self.capacity is not None and under_way >= self.capacity

    def _reply(self, kind: str, asked: Asked) -> Reply:
        if self.ends_at_once and kind != "create":
            self.end()
        if kind == "create":
            return self._created(asked)
        if kind == "list":
            return self.dialect.listing(list(reversed(self.jobs.values())), asked)
        if kind == "check":
            return Reply({})
        job = self.jobs.get(asked.id or "")
        return self.dialect.unknown() if job is None else self.dialect.record(job)

    def _created(self, asked: Asked) -> Reply:
        if self._is_full():
            return self.full
        dialect, number = self.dialect, len(self.jobs) + 1
        job_id = dialect.job_id(asked, number)
        job = self.jobs[job_id] = Job(
            id=job_id,
            prompt=dialect.prompt_of(asked),
            mark=dialect.mark_of(asked),
            # Each job has a time of its own, as in an account that makes one now and then.
            created_at=datetime.now(UTC) + timedelta(milliseconds=number),
            output=dialect.output(self.url, number),
            status=GenerationStatus.SUCCEEDED if dialect.synchronous else GenerationStatus.RUNNING,
        )
        return dialect.created(job)


@asynccontextmanager
async def standing_in(dialect: Dialect) -> AsyncIterator[StandIn]:
    """A server on loopback that speaks like this until the block ends."""
    stand_in = StandIn(dialect)
    async with listening(stand_in.handle) as stand_in.url:
        yield stand_in


@asynccontextmanager
async def listening(handle: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    """The address of a server on loopback that answers everything by this, until the block ends."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _match(endpoint: str, method: str, path: str) -> re.Match[str] | None:
    wanted, _, shape = endpoint.partition(" ")
    pattern = re.escape(shape).replace(r"\{id\}", "(?P<id>[^/]+)")
    return re.fullmatch(pattern, path) if method == wanted else None


async def _asked(request: web.Request, job: str | None) -> Asked:
    if request.content_type == "application/json":
        raw = await request.read()
        body = json.loads(raw) if raw else {}
    else:
        body = dict(await request.post())
    return Asked(request.method, request.path, job, request.query, request.headers, body)


def _response(reply: Reply) -> web.Response:
    if isinstance(reply.body, bytes):
        return web.Response(body=reply.body, status=reply.status, headers=reply.headers)
    return web.json_response(reply.body, status=reply.status, headers=reply.headers)
