"""ImagineAPI: what its page leaves to Directus, and what is its own."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from prefect_imagine.errors import (
    AuthenticationError,
    InsufficientCreditsError,
    InvalidRequestError,
    NotFoundError,
    RateLimitedError,
)
from prefect_imagine.providers.models import GenerationStatus
from prefect_imagine.sandbox import FaultRule, RunningSandbox

from .clients import OpenClient, asked, made, pages_of, rows_of
from .scripted import Answer, ScriptedApi, answer

READ, LIST, CREATE = "GET /items/images/7", "GET /items/images", "POST /items/images"
FOUR = [f"http://cdn/{number}.png" for number in range(4)]
GRID = "http://cdn/grid.png"


async def test_a_partial_picture_is_no_output(api: ScriptedApi, open_client: OpenClient) -> None:
    record = {"id": 7, "status": "in-progress", "progress": 40, "url": GRID}
    api.on(READ, answer({"data": record}))
    row = await open_client("imagineapi", api.url).fetch("7")
    assert (row.status, row.outputs) == (GenerationStatus.RUNNING, ())


@pytest.mark.parametrize(
    ("upscaled", "urls"),
    [(FOUR, FOUR), ([], [GRID]), (None, [GRID]), ([FOUR[0], None], [FOUR[0]]), ("soon", [GRID])],
)
async def test_outputs_are_the_upscaled_pictures_else_the_one(
    api: ScriptedApi, open_client: OpenClient, upscaled: object, urls: list[str]
) -> None:
    record = {"id": 7, "status": "completed", "progress": None, "url": GRID, "upscaled_urls": upscaled}
    api.on(READ, answer({"data": record}))
    row = await open_client("imagineapi", api.url).fetch("7")
    assert [output.url for output in row.outputs] == urls


@pytest.mark.parametrize("number", [0, 4])
async def test_outputs_of_the_sandbox(sandbox: RunningSandbox, open_client: OpenClient, number: int) -> None:
    sandbox.configure(imagineapi_upscales=number)
    client = open_client("imagineapi", sandbox)
    [job] = await made(client, "a lake")
    sandbox.advance(11)
    assert len((await client.fetch(job.id)).outputs) == max(1, number)


async def test_image_error_is_permanent_and_not_a_rate_limit(
    sandbox: RunningSandbox, open_client: OpenClient
) -> None:
    client = open_client("imagineapi", sandbox)
    sandbox.faults.add(FaultRule("image_error", on="create", times=1))
    with pytest.raises(InsufficientCreditsError) as caught:
        await made(client, "a lake")
    assert (caught.value.status_code, caught.value.code) == (429, "IMAGE_ERROR")


async def test_a_429_says_how_long_to_wait(api: ScriptedApi, open_client: OpenClient) -> None:
    body = {"errors": [{"message": "Too many", "extensions": {"code": "REQUESTS_EXCEEDED"}}]}
    api.on(CREATE, answer(body, 429, {"Retry-After": "7"}))
    with pytest.raises(RateLimitedError) as caught:
        await open_client("imagineapi", api.url).create(asked("imagineapi"))
    assert (caught.value.retry_after, caught.value.queue_full) == (7.0, False)


async def test_a_schema_without_ref(sandbox: RunningSandbox, open_client: OpenClient) -> None:
    sandbox.configure(imagineapi_has_ref=False)
    client = open_client("imagineapi", sandbox)
    with pytest.raises(AuthenticationError) as caught:
        await client.create(asked("imagineapi"), correlator="3:1")
    assert caught.value.retryable
    assert sandbox.books.jobs == []
    assert (await client.create(asked("imagineapi"), correlator="3:2")).correlator is None


async def test_several_creates_refused_for_ref_at_once_may_all_be_tried_again(
    sandbox: RunningSandbox, open_client: OpenClient
) -> None:
    sandbox.configure(imagineapi_has_ref=False, server_delay_seconds=0.1)
    client = open_client("imagineapi", sandbox)
    await client.check()
    calls = (client.create(asked("imagineapi"), correlator=f"{number}:1") for number in range(5))
    refused = await asyncio.gather(*calls, return_exceptions=True)
    assert [getattr(error, "retryable", None) for error in refused] == [True] * 5
    assert sandbox.books.jobs == []


REF_MESSAGES = [
    (400, 'Invalid payload. Field "ref" doesn\'t exist.'),
    (403, 'You don\'t have permission to access field "ref" in collection "images" or it does not exist.'),
    (400, "Unknown field: ref"),
    (422, "body.ref: Extra inputs are not permitted"),
]


@pytest.mark.parametrize(("status", "message"), REF_MESSAGES)
async def test_a_refused_ref_in_other_words(
    api: ScriptedApi, open_client: OpenClient, status: int, message: str
) -> None:
    refusal = answer({"errors": [{"message": message, "extensions": {"code": "X"}}]}, status)
    api.on(CREATE, refusal, answer({"data": {"id": 7}}))
    client = open_client("imagineapi", api.url)
    with pytest.raises((InvalidRequestError, AuthenticationError)) as caught:
        await client.create(asked("imagineapi"), correlator="3:1")
    assert caught.value.retryable
    await client.create(asked("imagineapi"), correlator="3:2")
    assert api.seen[1].body == {"prompt": "a lake"}


async def test_a_refusal_of_the_prompt_is_not_one_of_ref(api: ScriptedApi, open_client: OpenClient) -> None:
    api.on(CREATE, answer({"errors": [{"message": "prompt refused: too long to prefer"}]}, 400))
    with pytest.raises(InvalidRequestError) as caught:
        await open_client("imagineapi", api.url).create(asked("imagineapi"), correlator="3:1")
    assert not caught.value.retryable


async def test_ref_is_echoed(sandbox: RunningSandbox, open_client: OpenClient) -> None:
    client = open_client("imagineapi", sandbox)
    await client.create(asked("imagineapi"), correlator="3:1")
    [row] = rows_of(await pages_of(client, prompt="a lake"))
    assert row.correlator == "3:1"


async def test_a_missing_row_is_forbidden_and_means_not_found(
    sandbox: RunningSandbox, open_client: OpenClient
) -> None:
    with pytest.raises(NotFoundError) as caught:
        await open_client("imagineapi", sandbox).fetch("no-such-row")
    assert caught.value.status_code == 403


async def test_a_trailing_slash_of_the_address_is_irrelevant(
    sandbox: RunningSandbox, open_client: OpenClient
) -> None:
    address = sandbox.base_urls["imagineapi"] + "/"
    client = open_client("imagineapi", address, key="imagineapi-sandbox")
    [job] = await made(client, "a lake")
    assert (await client.poll([job.id])).keys() == {job.id}


async def test_many_ids_are_asked_for_in_lines_of_bearable_length(
    sandbox: RunningSandbox, open_client: OpenClient
) -> None:
    client = open_client("imagineapi", sandbox)
    jobs = await made(client, *[f"{number}" for number in range(200)])
    assert len(await client.poll([job.id for job in jobs])) == 200
    assert client.requests["poll"] <= 4


async def test_a_server_that_ignores_the_filter_is_asked_for_each(
    api: ScriptedApi, open_client: OpenClient
) -> None:
    api.on(LIST, answer({"data": [{"id": 1}, {"id": 8}]}))
    api.on(READ, answer({"data": {"id": 7}}))
    found = await open_client("imagineapi", api.url).poll(["1", "7", "9"])
    assert found.keys() == {"1", "7"}


FORBIDDEN = {"errors": [{"message": "You have no permission.", "extensions": {"code": "FORBIDDEN"}}]}
UNLISTED = [
    pytest.param(answer(FORBIDDEN, 403), id="403"),
    pytest.param(answer({"errors": [{"message": "No such field"}]}, 400), id="400"),
    pytest.param(answer({"errors": [{"message": "No such route"}]}, 404), id="404"),
    pytest.param(answer({"message": "Welcome"}), id="unreadable"),
]


@pytest.mark.parametrize("refusal", UNLISTED)
async def test_a_server_without_a_list_is_asked_for_each_from_then_on(
    api: ScriptedApi, open_client: OpenClient, refusal: Answer
) -> None:
    api.on(LIST, refusal)
    for number in (1, 2):
        api.on(f"GET /items/images/{number}", answer({"data": {"id": number}}))
    client = open_client("imagineapi", api.url)
    for _ in range(3):
        assert (await client.poll(["1", "2", "9"])).keys() == {"1", "2"}
    assert api.count(LIST) == 1


async def test_a_token_that_may_read_nothing_does_not_make_jobs_vanish(
    api: ScriptedApi, open_client: OpenClient
) -> None:
    api.default = answer(FORBIDDEN, 403)
    client = open_client("imagineapi", api.url)
    for _ in range(2):
        with pytest.raises(NotFoundError):
            await client.poll(["1", "2"])


@pytest.mark.parametrize("status", [401, 403])
async def test_a_token_that_is_refused_itself_is_an_authentication_error(
    api: ScriptedApi, open_client: OpenClient, status: int
) -> None:
    api.default = answer({"errors": [{"message": "No", "extensions": {"code": "INVALID_TOKEN"}}]}, status)
    client = open_client("imagineapi", api.url)
    for call in (client.check(), client.poll(["1", "2"]), client.poll(["1"]), pages_of(client)):
        with pytest.raises(AuthenticationError):
            await call


async def test_a_token_that_may_not_list_is_not_refused_for_it(
    api: ScriptedApi, open_client: OpenClient
) -> None:
    api.on(LIST, answer(FORBIDDEN, 403))
    await open_client("imagineapi", api.url).check()


@pytest.mark.parametrize("fields", [{"url": "/assets/7.png"}, {"upscaled_urls": ["/assets/7.png"]}])
async def test_a_relative_address_counts_from_the_api(
    api: ScriptedApi, open_client: OpenClient, fields: dict[str, Any]
) -> None:
    api.on(READ, answer({"data": {"id": 7, "status": "completed", **fields}}))
    row = await open_client("imagineapi", api.url).fetch("7")
    assert [output.url for output in row.outputs] == [f"{api.url}/assets/7.png"]


def filtered(seen: Any) -> bool:
    return "filter[prompt][_eq]" in seen.query


async def test_one_prompt_s_rows_come_at_once(sandbox: RunningSandbox, open_client: OpenClient) -> None:
    client = open_client("imagineapi", sandbox)
    await made(client, *["a lake"] * 3, "a hill")
    pages = await pages_of(client, prompt="a lake")
    assert [len(page.generations) for page in pages] == [3]
    assert pages[0].end


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([], id="kept otherwise"),
        pytest.param([{"id": 1, "prompt": "a hill"}], id="filter ignored"),
        pytest.param([{"id": number, "prompt": "a lake"} for number in range(100)], id="limit ignored"),
    ],
)
async def test_a_filtered_list_that_proves_nothing_is_followed_by_the_whole(
    api: ScriptedApi, open_client: OpenClient, rows: list[object]
) -> None:
    whole = {"data": [{"id": 500, "prompt": "A  Lake"}]}
    api.on(LIST, answer({"data": rows}), answer(whole), answer({"data": []}))
    pages = await pages_of(open_client("imagineapi", api.url), prompt="a lake")
    assert [row.id for row in rows_of(pages)][-1] == "500"
    assert [filtered(one) for one in api.seen] == [True, False, False]
    assert [page.end for page in pages] == [False] * (len(pages) - 1) + [True]


@pytest.mark.parametrize("status", [400, 403, 404, 414])
async def test_a_server_that_refuses_the_filter_is_asked_for_the_whole(
    api: ScriptedApi, open_client: OpenClient, status: int
) -> None:
    api.on(LIST, answer({"errors": [{"message": "No"}]}, status), answer({"data": []}))
    assert (await pages_of(open_client("imagineapi", api.url), prompt="a lake"))[-1].end


async def test_settings_become_midjourney_parameters(api: ScriptedApi, open_client: OpenClient) -> None:
    api.on(CREATE, answer({"data": {"id": 7}}))
    client = open_client("imagineapi", api.url)
    settings = {"aspect_ratio": "16:9", "negative_prompt": "cats", "seed": 5}
    request = asked("imagineapi", " a lake ", settings=settings)
    await client.create(request)
    assert api.seen[0].body == {"prompt": "a lake --ar 16:9 --no cats --seed 5"}
    assert client.wire_prompt(request) == api.seen[0].body["prompt"]


@pytest.mark.parametrize("found", ["/items/status", "/status"])
@pytest.mark.parametrize(
    ("body", "healthy"),
    [
        ({"data": {"status": "ok"}}, True),
        ({"data": [{"status": "down"}]}, False),
        ({"status": "error"}, False),
        ({"data": "online"}, True),
        ({"data": []}, True),
        ("offline", False),
    ],
)
async def test_status(
    api: ScriptedApi, open_client: OpenClient, found: str, body: object, healthy: bool
) -> None:
    api.on(f"GET {found}", answer(body))
    assert (await open_client("imagineapi", api.url).status()).healthy is healthy


async def test_assets_on_the_api_s_own_origin_need_the_token(open_client: OpenClient) -> None:
    client = open_client("imagineapi", "http://localhost:1", key="abc")
    assert client.media_headers() == {"Authorization": "Bearer abc"}


@pytest.mark.parametrize(
    ("changes", "column"),
    [
        ({"kind": "video"}, "kind"),
        ({"model": "dall-e"}, "model"),
        ({"settings": {"duration": 3}}, "duration"),
        ({"settings": {"seed": -1}}, "seed"),
        ({"settings": {"style": "raw"}}, "settings.style"),
    ],
)
def test_problems_are_found_before_anything_is_spent(
    open_client: OpenClient, changes: dict[str, Any], column: str
) -> None:
    client = open_client("imagineapi", "http://localhost:1")
    request = asked("imagineapi").model_copy(update=changes)
    assert [where for where, _ in client.problems(request, [])] == [column]


async def test_ids_are_quoted(api: ScriptedApi, open_client: OpenClient) -> None:
    await open_client("imagineapi", api.url).poll(["../secrets?x=1"])
    assert urlsplit(api.seen[0].target).query == ""
    assert parse_qs(urlsplit(api.seen[0].target).query) == {}
