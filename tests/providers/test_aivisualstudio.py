"""AI Visual Studio: what its pages leave open, and what is its own."""

from __future__ import annotations

from typing import Any

import pytest

from prefect_imagine.errors import (
    AuthenticationError,
    InsufficientCreditsError,
    InvalidRequestError,
    ModerationError,
    NotFoundError,
    RateLimitedError,
)
from prefect_imagine.providers.models import GenerationKind, GenerationStatus
from prefect_imagine.sandbox import RunningSandbox

from .clients import OpenClient, asked, made, pages_of
from .scripted import ScriptedApi, answer, paged_answer

READ, LIST, CREATE = "GET /generations/gen_1", "GET /generations", "POST /generate/image"
DONE = {"id": "gen_1", "status": "completed", "type": "image"}
OUTPUT_SHAPES: list[dict[str, Any]] = [
    {"output_url": "http://cdn/1.png"},
    {"output_url": None, "outputs": ["http://cdn/1.png"]},
    {"outputs": [{"url": "http://cdn/1.png", "thumbnail_url": "http://cdn/t.png"}]},
    {"output": "http://cdn/1.png"},
    {"output": {"url": "http://cdn/1.png"}},
    {"output_urls": ["http://cdn/1.png", None, ""]},
    {"image_url": "http://cdn/1.png"},
    {"url": "http://cdn/1.png"},
]


@pytest.mark.parametrize("wraps", [False, True])
async def test_a_single_generation_bare_or_wrapped(
    sandbox: RunningSandbox, open_client: OpenClient, wraps: bool
) -> None:
    sandbox.configure(aivisualstudio_wraps_single=wraps)
    client = open_client("aivisualstudio", sandbox)
    [job] = await made(client, "a lake")
    assert (await client.fetch(job.id)).id == job.id


@pytest.mark.parametrize("fields", OUTPUT_SHAPES)
async def test_output_shapes(api: ScriptedApi, open_client: OpenClient, fields: dict[str, Any]) -> None:
    api.on(READ, answer({**DONE, **fields}))
    row = await open_client("aivisualstudio", api.url).fetch("gen_1")
    assert [output.url for output in row.outputs] == ["http://cdn/1.png"]


@pytest.mark.parametrize(
    ("wire", "status"),
    [
        ("processing", GenerationStatus.RUNNING),
        ("Completed", GenerationStatus.SUCCEEDED),
        ("failed", GenerationStatus.FAILED),
        ("canceled", GenerationStatus.CANCELLED),
        ("upscaling", GenerationStatus.RUNNING),
        ("", GenerationStatus.RUNNING),
        (None, GenerationStatus.RUNNING),
    ],
)
async def test_statuses(
    api: ScriptedApi, open_client: OpenClient, wire: str | None, status: GenerationStatus
) -> None:
    api.on(READ, answer({"id": "gen_1", "status": wire}))
    assert (await open_client("aivisualstudio", api.url).fetch("gen_1")).status is status


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("out of memory", "out of memory"),
        ({"code": "nsfw", "message": "refused"}, "refused"),
        ({"code": "nsfw"}, "nsfw"),
        (None, None),
        ("", None),
    ],
)
@pytest.mark.parametrize("wraps", [False, True])
async def test_the_error_of_a_failed_generation_is_not_the_read_s(
    api: ScriptedApi, open_client: OpenClient, error: object, message: str | None, wraps: bool
) -> None:
    record = {"id": "gen_1", "status": "failed", "error": error}
    api.on(READ, answer({"data": record} if wraps else record))
    row = await open_client("aivisualstudio", api.url).fetch("gen_1")
    assert (row.status, row.error) == (GenerationStatus.FAILED, message)


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("missing_api_key", 401, AuthenticationError),
        ("invalid_api_key", 401, AuthenticationError),
        ("expired_api_key", 401, AuthenticationError),
        ("insufficient_scope", 403, AuthenticationError),
        ("ip_not_allowed", 403, AuthenticationError),
        ("insufficient_credits", 403, InsufficientCreditsError),
        ("insufficient_credits", 402, InsufficientCreditsError),
        ("rate_limited", 429, RateLimitedError),
        ("invalid_request", 400, InvalidRequestError),
        ("not_found", 404, NotFoundError),
        ("content_policy_violation", 400, ModerationError),
    ],
)
async def test_codes_tell_errors_apart(
    api: ScriptedApi, open_client: OpenClient, code: str, status: int, error: type[Exception]
) -> None:
    api.on(CREATE, answer({"error": {"code": code, "message": "No", "details": None}}, status))
    with pytest.raises(error) as caught:
        await open_client("aivisualstudio", api.url).create(asked("aivisualstudio"))
    assert getattr(caught.value, "code", None) == code


async def test_a_key_that_may_only_read(sandbox: RunningSandbox, open_client: OpenClient) -> None:
    client = open_client("aivisualstudio", sandbox, key="avs_live_sandbox-readonly")
    await client.check()
    with pytest.raises(AuthenticationError, match="scope"):
        await made(client, "a lake")


async def test_out_of_credits(sandbox: RunningSandbox, open_client: OpenClient) -> None:
    sandbox.configure(credits={"aivisualstudio": 7})
    client = open_client("aivisualstudio", sandbox)
    assert [job.credits for job in await made(client, "one")] == [5]
    with pytest.raises(InsufficientCreditsError, match="You need 5 credits but only have 2"):
        await made(client, "two")


@pytest.mark.parametrize("inner", ["items", "generations", "data"])
async def test_a_list_in_two_envelopes(api: ScriptedApi, open_client: OpenClient, inner: str) -> None:
    rows = [{**DONE, "id": f"gen_{number}"} for number in range(30)]
    api.on(LIST, paged_answer(rows, 20, lambda shown: {"data": {inner: shown, "total": 30}}))
    client = open_client("aivisualstudio", api.url)
    assert (await client.poll(["gen_0", "gen_1", "gen_2"])).keys() == {"gen_0", "gen_1", "gen_2"}
    assert client.requests["poll"] == 1
    pages = await pages_of(client)
    assert [(len(page.generations), page.end) for page in pages] == [(20, False), (10, True)]


@pytest.mark.parametrize("kind", ["image", "video", None])
async def test_a_relative_address_is_no_text(
    api: ScriptedApi, open_client: OpenClient, kind: str | None
) -> None:
    api.on(READ, answer({**DONE, "type": kind, "output_url": "/cdn/0/0/out.mp4"}))
    [output] = (await open_client("aivisualstudio", api.url).fetch("gen_1")).outputs
    assert (output.url, output.text) == (f"{api.url}/cdn/0/0/out.mp4", None)


async def test_refunded_credits_were_not_charged(api: ScriptedApi, open_client: OpenClient) -> None:
    api.on(READ, answer({"id": "gen_1", "status": "failed", "credits_charged": 450, "credits_refunded": 450}))
    assert (await open_client("aivisualstudio", api.url).fetch("gen_1")).credits == 0


@pytest.mark.parametrize("body", [[DONE], {"data": [DONE]}, {"generations": [DONE]}, {"items": [DONE]}])
async def test_list_shapes(api: ScriptedApi, open_client: OpenClient, body: object) -> None:
    rows = [{**DONE, "id": f"gen_{number}"} for number in range(3)]
    shaped: Any = rows if isinstance(body, list) else dict.fromkeys(body, rows)  # type: ignore[call-overload]
    api.on(LIST, answer(shaped))
    found = await open_client("aivisualstudio", api.url).poll(["gen_0", "gen_1", "gen_2"])
    assert found.keys() == {"gen_0", "gen_1", "gen_2"}


@pytest.mark.parametrize("amount", [5, 5.0, "5", "5.00"])
async def test_credits_in_any_notation(api: ScriptedApi, open_client: OpenClient, amount: object) -> None:
    api.on(CREATE, answer({"id": "gen_1", "credits_charged": amount}))
    job = await open_client("aivisualstudio", api.url).create(asked("aivisualstudio"))
    assert (job.credits, type(job.credits)) == (5, int)


async def test_models_of_one_kind(sandbox: RunningSandbox, open_client: OpenClient) -> None:
    listed = await open_client("aivisualstudio", sandbox).models(GenerationKind.VIDEO)
    assert {model.kind for model in listed} == {GenerationKind.VIDEO}


async def test_an_empty_setting_is_not_sent(api: ScriptedApi, open_client: OpenClient) -> None:
    api.on(CREATE, answer({"id": "gen_1"}))
    request = asked("aivisualstudio", settings={"aspect_ratio": None, "output_format": "png"})
    await open_client("aivisualstudio", api.url).create(request)
    assert api.seen[0].body.keys() == {"prompt", "model", "output_format"}


VIDEO = {"kind": GenerationKind.VIDEO, "model": "minimax/hailuo-2.3-fast"}


@pytest.mark.parametrize(
    ("changes", "column"),
    [
        ({"kind": GenerationKind.MUSIC}, "kind"),
        ({"model": "prunaai/z-image"}, "model"),
        ({"model": "minimax/hailuo-2.3"}, "model"),
        ({"settings": {"aspect_ratio": "5:4"}}, "aspect_ratio"),
        ({"settings": {"output_format": "gif"}}, "settings.output_format"),
        ({"settings": {"seed": 3}}, "seed"),
        ({**VIDEO, "settings": {"aspect_ratio": "3:2"}}, "aspect_ratio"),
        ({**VIDEO, "settings": {"duration": 11}}, "duration"),
        ({**VIDEO, "settings": {"duration": True}}, "duration"),
        ({**VIDEO, "settings": {"output_format": "png"}}, "settings.output_format"),
    ],
)
async def test_problems_are_found_before_anything_is_spent(
    sandbox: RunningSandbox, open_client: OpenClient, changes: dict[str, Any], column: str
) -> None:
    client = open_client("aivisualstudio", sandbox)
    request = asked("aivisualstudio").model_copy(update=changes)
    assert [where for where, _ in client.problems(request, await client.models())] == [column]


@pytest.mark.parametrize(
    "changes",
    [
        {"settings": {"aspect_ratio": "2:3", "output_format": "jpg"}},
        {**VIDEO, "settings": {"duration": 10, "first_frame_image": "https://cdn.example.com/1.png"}},
    ],
)
async def test_what_the_api_takes_is_no_problem(
    sandbox: RunningSandbox, open_client: OpenClient, changes: dict[str, Any]
) -> None:
    client = open_client("aivisualstudio", sandbox)
    request = asked("aivisualstudio").model_copy(update=changes)
    assert client.problems(request, await client.models()) == []
    assert (await client.create(request)).kind is request.kind


def test_the_page_s_own_defaults(open_client: OpenClient) -> None:
    client = open_client("aivisualstudio", "http://localhost:1")
    bare = asked("aivisualstudio").model_copy(update={"model": None})
    assert client.completed(bare, []).model == "prunaai/z-image-turbo"
