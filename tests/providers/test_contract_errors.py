"""What every client makes of a server in trouble, and of a key that is not accepted."""

from __future__ import annotations

import asyncio
import socket
from functools import partial

import pytest

from prefect_imagine.errors import (
    AuthenticationError,
    ConnectionFailedError,
    NotFoundError,
    RateLimitedError,
    ServerError,
)
from prefect_imagine.providers.limits.pacing import Priority
from prefect_imagine.sandbox import FaultRule, RunningSandbox

from .clients import CREATES, LISTS, READS, OpenClient, asked, made, pages_of, rows_of
from .scripted import Answer, ScriptedApi, answer, chunked_answer, text_answer

RECORD = {"id": 7, "status": "processing"}


@pytest.mark.parametrize("fault", ["error_before", "error_after", "cut_before", "cut_after", "garbage_after"])
async def test_a_read_is_retried(
    sandbox: RunningSandbox, open_client: OpenClient, provider: str, fault: str
) -> None:
    client = open_client(provider, sandbox)
    [job] = await made(client, "a lake")
    sandbox.faults.add(FaultRule(fault, on="read", times=1))
    assert (await client.fetch(job.id)).id == job.id
    assert client.requests["fetch"] == 2


async def test_a_read_waits_as_long_as_it_is_told(
    sandbox: RunningSandbox, open_client: OpenClient, provider: str
) -> None:
    client = open_client(provider, sandbox)
    [job] = await made(client, "a lake")
    sandbox.faults.add(FaultRule("rate_limited", on="list", times=2, seconds=0.1))
    assert [row.id for row in rows_of(await pages_of(client))] == [job.id]
    assert sandbox.report()["requests"][provider]["rate_limited"] == 2


async def test_a_read_gives_up_in_the_end(api: ScriptedApi, open_client: OpenClient, provider: str) -> None:
    api.on(READS[provider].format(7), text_answer("<html></html>", 503))
    with pytest.raises(ServerError) as caught:
        await open_client(provider, api.url).api.read("GET", path_of(provider), purpose="fetch", attempts=2)
    assert (caught.value.status_code, caught.value.retryable) == (503, True)
    assert len(api.seen) == 2


def path_of(provider: str) -> str:
    return READS[provider].format(7).removeprefix("GET ")


async def test_a_full_queue_does_not_make_reads_hurry(
    api: ScriptedApi, open_client: OpenClient, provider: str
) -> None:
    api.on(path := READS[provider].format(7), answer({}, 429, {"X-RateLimit-Remaining": "3"}), answer(RECORD))
    assert (await open_client(provider, api.url).fetch("7")).id == "7"
    assert api.count(path) == 2


async def test_a_server_that_is_not_there(open_client: OpenClient, provider: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
    client = open_client(provider, address)
    with pytest.raises(ConnectionFailedError, match="cannot be reached"):
        await client.api.read("GET", "/", purpose="other", attempts=1)


@pytest.mark.parametrize("number", [1, 3])
async def test_a_key_that_is_not_accepted_any_more_is_not_an_unknown_job(
    sandbox: RunningSandbox, open_client: OpenClient, provider: str, number: int
) -> None:
    """Jobs that were paid for must not be taken for vanished."""
    jobs = await made(open_client(provider, sandbox), *[f"{each}" for each in range(number)])
    with pytest.raises(AuthenticationError):
        await open_client(provider, sandbox, key="revoked").poll([job.id for job in jobs])


async def test_a_token_that_expires_mid_run(
    sandbox: RunningSandbox, open_client: OpenClient, provider: str
) -> None:
    client = open_client(provider, sandbox)
    [job] = await made(client, "a lake")
    sandbox.faults.add(FaultRule("expired_token", on="read", times=1))
    if provider == "imaginelab":  # has a login to renew it with
        assert (await client.fetch(job.id)).id == job.id
    else:
        with pytest.raises(AuthenticationError) as caught:
            await client.fetch(job.id)
        assert (caught.value.status_code, caught.value.retryable) == (401, False)


@pytest.mark.parametrize("call", ["check", "fetch", "poll", "history"])
async def test_a_wrong_key_is_an_authentication_error(
    sandbox: RunningSandbox, open_client: OpenClient, provider: str, call: str
) -> None:
    client = open_client(provider, sandbox, key="wrong")
    calls = {
        "check": client.check,
        "fetch": partial(client.fetch, "1"),
        "poll": partial(client.poll, ["1", "2", "3"]),
        "history": partial(pages_of, client),
    }
    with pytest.raises(AuthenticationError):
        await calls[call]()


@pytest.mark.parametrize("body", ["", "<html>Not here</html>", "Not here", "null", '"Not here"', "{}", "[]"])
async def test_an_error_body_can_be_anything(
    api: ScriptedApi, open_client: OpenClient, provider: str, body: str
) -> None:
    api.on(READS[provider].format(7), text_answer(body, 404))
    client = open_client(provider, api.url)
    assert await client.poll(["7"]) == {}
    with pytest.raises(NotFoundError, match=r"404|Not here"):
        await client.fetch("7")


@pytest.mark.parametrize("body", [{"message": "Slow down"}, {"detail": "Slow down"}, {"error": "Slow down"}])
async def test_the_message_of_an_unfamiliar_error_body_is_kept(
    api: ScriptedApi, open_client: OpenClient, provider: str, body: object
) -> None:
    api.on(READS[provider].format(7), answer(body, 429))
    with pytest.raises(RateLimitedError, match="Slow down"):
        await open_client(provider, api.url).api.read("GET", path_of(provider), purpose="fetch", attempts=1)


async def test_chunked_json_of_another_type_is_read(
    api: ScriptedApi, open_client: OpenClient, provider: str
) -> None:
    api.on(READS[provider].format(7), chunked_answer(RECORD))
    assert (await open_client(provider, api.url).fetch("7")).id == "7"


async def test_numbers_and_strings_are_the_same_ids(
    api: ScriptedApi, open_client: OpenClient, provider: str
) -> None:
    rows = [{"id": 1}, {"id": "2"}, {"id": 3}, {"id": "4"}]
    api.on(LISTS[provider], answer({"data": rows, "total": 4, "has_more": False}))
    assert (await open_client(provider, api.url).poll(["1", "2", "3", "4"])).keys() == {"1", "2", "3", "4"}


async def test_a_list_that_is_oldest_first_says_so(
    api: ScriptedApi, open_client: OpenClient, provider: str
) -> None:
    rows = [{"id": hour, "created_at": f"2026-01-01T0{hour}:00:00Z"} for hour in range(3)]
    api.on(LISTS[provider], answer({"data": rows}))
    assert not (await pages_of(open_client(provider, api.url)))[0].newest_first


NO_LISTS = [
    pytest.param(answer({"message": "see /v2"}), id="unreadable"),
    pytest.param(answer({"message": "Not here"}, 404), id="404"),
    pytest.param(answer({"message": "Unknown parameter"}, 400), id="400"),
]


@pytest.mark.parametrize("refusal", NO_LISTS)
async def test_where_the_list_is_of_no_use_jobs_are_looked_at_by_id(
    api: ScriptedApi, open_client: OpenClient, provider: str, refusal: Answer
) -> None:
    api.on(LISTS[provider], refusal)
    for number in range(4):
        api.on(READS[provider].format(number), answer({"id": number}))
    client = open_client(provider, api.url)
    for _ in range(2):
        assert len(await client.poll(["0", "1", "2", "3"])) == 4
    assert api.count(LISTS[provider]) == 1


async def test_a_list_that_has_been_of_use_is_tried_again(
    api: ScriptedApi, open_client: OpenClient, provider: str
) -> None:
    rows = [{"id": number} for number in range(4)]
    api.on(LISTS[provider], answer({"data": rows}), answer({"message": "Back soon"}), answer({"data": rows}))
    for number in range(4):
        api.on(READS[provider].format(number), answer({"id": number}))
    client = open_client(provider, api.url)
    for _ in range(3):
        assert len(await client.poll(["0", "1", "2", "3"])) == 4
    assert api.count(LISTS[provider]) == 3


@pytest.mark.parametrize(
    ("provider", "status", "body"),
    [
        ("aivisualstudio", 403, {"error": {"code": "rate_limited", "message": "Slow down"}}),
        ("imaginelab", 403, {"detail": "Too many requests"}),
        ("blockadelabs", 200, {"error": "Rate limit exceeded"}),
    ],
)
async def test_a_rate_limit_by_another_status_is_waited_for_too(
    api: ScriptedApi, open_client: OpenClient, provider: str, status: int, body: object
) -> None:
    api.on(CREATES[provider], answer(body, status, {"Retry-After": "60"}))
    client = open_client(provider, api.url)
    with pytest.raises(RateLimitedError):
        await client.create(asked(provider))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await client.pacer.acquire(Priority.CREATE)


async def test_half_a_letter_in_a_text_can_be_written_down(
    api: ScriptedApi, open_client: OpenClient, provider: str
) -> None:
    """As a text has it that was cut in the middle of an emoji."""
    record = {"id": 7, "status": "failed", "error": "cut: \ud83d", "error_message": "cut: \ud83d"}
    api.on(READS[provider].format(7), answer({**record, "prompt": "whole: \U0001f600"}))
    row = await open_client(provider, api.url).fetch("7")
    assert "\U0001f600" in row.model_dump_json()
    assert "\ud83d" not in str(row)
