"""A create is sent once, whatever happens to it, and its error says what may have become of it."""

from __future__ import annotations

import asyncio
import socket

import pytest

from prefect_imagine.clock import Deadline
from prefect_imagine.errors import (
    AmbiguousCreateError,
    AuthenticationError,
    ConnectionFailedError,
    ImagineError,
    InsufficientCreditsError,
    InvalidRequestError,
    ModerationError,
    RateLimitedError,
)
from prefect_imagine.providers.transport.connections import Timeouts
from prefect_imagine.sandbox import FaultRule, RunningSandbox

from .clients import CREATES, OpenClient, asked, error_of, made
from .scripted import ScriptedApi, answer, text_answer


@pytest.mark.parametrize(
    ("fault", "accepted"),
    [
        ("error_before", 0),
        ("error_after", 1),
        ("cut_before", 0),
        ("cut_after", 1),
        ("garbage_after", 1),
        ("slow", 1),
    ],
)
async def test_a_lost_answer_is_ambiguous_and_never_repeated(
    sandbox: RunningSandbox, open_client: OpenClient, provider: str, fault: str, accepted: int
) -> None:
    client = open_client(provider, sandbox, timeouts=Timeouts(create=0.5))
    await client.check()
    sandbox.faults.add(FaultRule(fault, provider=provider, on="create", times=1, seconds=30))
    with pytest.raises(AmbiguousCreateError):
        await client.create(asked(provider))
    assert sandbox.books.requests[provider]["create"] == 1
    assert len(sandbox.books.jobs) == accepted


async def test_nothing_is_sent_to_who_does_not_listen(open_client: OpenClient, provider: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
    with pytest.raises(ConnectionFailedError, match="not sent"):
        await open_client(provider, address).create(asked(provider))


async def test_nothing_is_sent_after_the_deadline(
    sandbox: RunningSandbox, open_client: OpenClient, provider: str
) -> None:
    client = open_client(provider, sandbox)
    with pytest.raises(ConnectionFailedError, match="deadline"):
        await client.create(asked(provider), deadline=Deadline(0.0))
    assert sandbox.books.requests[provider]["create"] == 0
    assert (await client.create(asked(provider), deadline=Deadline(60.0))).id


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("rate_limited", RateLimitedError),
        ("no_credits", InsufficientCreditsError),
        ("expired_token", AuthenticationError),
    ],
)
async def test_a_refusal_says_what_it_is_and_is_not_repeated(
    sandbox: RunningSandbox, open_client: OpenClient, provider: str, fault: str, error: type[ImagineError]
) -> None:
    sandbox.faults.add(FaultRule(fault, on="create", times=1))
    with pytest.raises(error):
        await open_client(provider, sandbox).create(asked(provider))
    assert sandbox.books.requests[provider]["create"] == 1
    assert sandbox.books.jobs == []


async def test_refused_content_is_a_moderation_error_or_a_failed_job(
    sandbox: RunningSandbox, open_client: OpenClient, provider: str
) -> None:
    client = open_client(provider, sandbox)
    if provider == "imagineapi":  # takes everything, and fails what is banned
        [job] = await made(client, "forbidden-content")
        sandbox.advance(11)
        assert (await client.fetch(job.id)).error == "Banned prompt detected"
    else:
        with pytest.raises(ModerationError):
            await made(client, "forbidden-content")
        assert sandbox.books.jobs == []


async def test_an_empty_prompt_is_an_invalid_request(
    sandbox: RunningSandbox, open_client: OpenClient, provider: str
) -> None:
    with pytest.raises(InvalidRequestError):
        await made(open_client(provider, sandbox), "")
    assert sandbox.books.jobs == []


async def test_what_is_no_json_is_not_sent(
    sandbox: RunningSandbox, open_client: OpenClient, provider: str
) -> None:
    with pytest.raises(InvalidRequestError):
        await made(open_client(provider, sandbox), "half a pair: \ud800")
    assert sandbox.books.requests[provider]["create"] == 0


async def test_a_create_that_fails_gives_its_permit_back(open_client: OpenClient, provider: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
    client = open_client(provider, address)
    for _ in range(2):  # the first permit of all is a probe: a second is only given once it is back
        async with asyncio.timeout(10):
            assert isinstance(await error_of(client.create(asked(provider))), ConnectionFailedError)


async def test_a_cancelled_create_gives_its_permit_back(
    sandbox: RunningSandbox, open_client: OpenClient, provider: str
) -> None:
    client = open_client(provider, sandbox)
    sandbox.faults.add(FaultRule("slow", on="create", times=1, seconds=30))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await client.create(asked(provider))
    async with asyncio.timeout(10):
        assert (await client.create(asked(provider))).id


@pytest.mark.parametrize("body", ["", "<html>Service unavailable</html>", "null", "[]", "{}", '"ok"', "3"])
@pytest.mark.parametrize("status", [200, 201, 202])
async def test_a_success_without_a_job_is_ambiguous(
    api: ScriptedApi, open_client: OpenClient, provider: str, body: str, status: int
) -> None:
    api.on(CREATES[provider], text_answer(body, status))
    with pytest.raises(AmbiguousCreateError):
        await open_client(provider, api.url).create(asked(provider))
    assert len(api.seen) == 1


@pytest.mark.parametrize("status", [204, 301, 307, 408, 418, 500, 502, 503, 504])
async def test_a_status_that_proves_nothing_is_ambiguous(
    api: ScriptedApi, open_client: OpenClient, provider: str, status: int
) -> None:
    api.on(CREATES[provider], text_answer("<html></html>" if status != 204 else "", status))
    with pytest.raises(AmbiguousCreateError):
        await open_client(provider, api.url).create(asked(provider))
    assert len(api.seen) == 1


INTERNAL = {"error": {"code": "internal_error", "message": "Invalid state"}}


@pytest.mark.parametrize(
    ("provider", "status", "body"),
    [
        *(("aivisualstudio", status, INTERNAL) for status in (200, 400, 422)),
        ("blockadelabs", 200, {"error": "Internal server error"}),
        ("blockadelabs", 200, {"error": "database timeout"}),
        ("blockadelabs", 200, {"error": "An unexpected error occurred, please try again"}),
    ],
)
async def test_a_failure_of_the_servers_own_refuses_nothing_whatever_its_status(
    api: ScriptedApi, open_client: OpenClient, provider: str, status: int, body: object
) -> None:
    api.on(CREATES[provider], answer(body, status))
    with pytest.raises(AmbiguousCreateError):
        await open_client(provider, api.url).create(asked(provider))


REFUSALS = [(401, AuthenticationError), (402, InsufficientCreditsError), (429, RateLimitedError)]


@pytest.mark.parametrize(("status", "error"), REFUSALS)
@pytest.mark.parametrize(
    "body", ["", "<html>Denied</html>", "Denied", "null", '"Denied"', '{"detail": null}']
)
async def test_a_refusal_needs_no_body(
    api: ScriptedApi,
    open_client: OpenClient,
    provider: str,
    status: int,
    error: type[ImagineError],
    body: str,
) -> None:
    api.on(CREATES[provider], text_answer(body, status))
    with pytest.raises(error):
        await open_client(provider, api.url).create(asked(provider))
    assert len(api.seen) == 1


async def test_a_full_queue_is_told_from_a_rate_limit(
    api: ScriptedApi, open_client: OpenClient, provider: str
) -> None:
    many, none = {"X-RateLimit-Remaining": "12"}, {"X-RateLimit-Remaining": "0"}
    api.on(CREATES[provider], answer({}, 429, many), answer({}, 429, none))
    client = open_client(provider, api.url)
    told = [await error_of(client.create(asked(provider))) for _ in range(2)]
    assert [error.queue_full for error in told if isinstance(error, RateLimitedError)] == [True, False]


async def test_a_record_is_a_job_whatever_else_the_answer_says(
    api: ScriptedApi, open_client: OpenClient, provider: str
) -> None:
    body = {"id": 7, "status": "processing", "error": {"message": "a warning"}, "detail": ["a note"]}
    api.on(CREATES[provider], answer(body))
    assert (await open_client(provider, api.url).create(asked(provider))).id == "7"


@pytest.mark.parametrize(
    "body",
    [
        {"id": 7},
        {"id": "7", "status": None, "prompt": None, "outputs": None, "credit_cost": None, "created_at": None},
        {"id": 7, "status": "melting", "prompt": 2024, "created_at": "soon", "credits_charged": "a few"},
        {"id": 7, "status": 3, "model": {"name": "x"}, "error": None, "extra": {"id": 9}, "outputs": []},
    ],
)
async def test_sparse_and_strange_records_are_jobs(
    api: ScriptedApi, open_client: OpenClient, provider: str, body: object
) -> None:
    api.on(CREATES[provider], answer(body, 201))
    job = await open_client(provider, api.url).create(asked(provider))
    assert (job.id, job.status.terminal, job.outputs) == ("7", False, ())
