"""Blockade Labs: what its pages leave open, and what is its own."""

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
    ServerError,
)
from prefect_imagine.providers.models import GenerationKind, GenerationStatus, ModelInfo
from prefect_imagine.sandbox import FaultRule, RunningSandbox

from .clients import OpenClient, asked, made, pages_of, rows_of
from .scripted import ScriptedApi, answer

CREATE, READ, LIST = "POST /imagine/requests", "GET /imagine/requests/7", "GET /imagine/myRequests"
RECORD = {
    "id": 7,
    "status": "complete",
    "file_url": "http://cdn/7.jpg?ver=1",
    "thumb_url": "http://cdn/t.jpg",
}


async def test_a_relative_address_counts_from_the_api(api: ScriptedApi, open_client: OpenClient) -> None:
    api.on(READ, answer({**RECORD, "file_url": "/cdn/7.jpg?ver=1"}))
    row = await open_client("blockadelabs", api.url).fetch("7")
    assert [output.url for output in row.outputs] == [f"{api.url}/cdn/7.jpg?ver=1"]


def test_a_wrong_kind_is_the_one_problem_of_a_row(open_client: OpenClient) -> None:
    client = open_client("blockadelabs", "http://localhost:1")
    bare = asked("blockadelabs").model_copy(update={"model": None, "kind": GenerationKind.VIDEO})
    listed = ModelInfo(provider="blockadelabs", id="stable-skybox", kind=GenerationKind.IMAGE)
    for models in ([], [listed]):
        assert [where for where, _ in client.problems(bare, models)] == ["kind"]


@pytest.mark.parametrize("envelope", ["response", "request", "bare"])
async def test_every_envelope(sandbox: RunningSandbox, open_client: OpenClient, envelope: str) -> None:
    sandbox.configure(blockade_envelope=envelope)
    client = open_client("blockadelabs", sandbox)
    [job] = await made(client, "a lake")
    assert (await client.fetch(job.id)).prompt == "a lake"


async def test_a_thumbnail_is_no_output(api: ScriptedApi, open_client: OpenClient) -> None:
    api.on(READ, answer(RECORD))
    row = await open_client("blockadelabs", api.url).fetch("7")
    assert [output.url for output in row.outputs] == ["http://cdn/7.jpg?ver=1"]


@pytest.mark.parametrize(
    ("wire", "status"),
    [
        ("pending", GenerationStatus.QUEUED),
        ("dispatched", GenerationStatus.QUEUED),
        ("processing", GenerationStatus.RUNNING),
        ("complete", GenerationStatus.SUCCEEDED),
        ("abort", GenerationStatus.CANCELLED),
        ("error", GenerationStatus.FAILED),
        ("thinking", GenerationStatus.RUNNING),
    ],
)
async def test_statuses(
    api: ScriptedApi, open_client: OpenClient, wire: str, status: GenerationStatus
) -> None:
    api.on(READ, answer({"request": {"id": 7, "status": wire, "error_message": None, "file_url": ""}}))
    row = await open_client("blockadelabs", api.url).fetch("7")
    assert (row.status, row.provider_status, row.outputs) == (status, wire, ())


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("Prompt is too long", InvalidRequestError),
        ("Invalid API key", AuthenticationError),
        ("Too many requests", RateLimitedError),
        ("Insufficient credits", InsufficientCreditsError),
        ("Quota exceeded", InsufficientCreditsError),
        ("Rejected by content moderation", ModerationError),
    ],
)
async def test_an_error_as_a_200_refuses_a_create(
    api: ScriptedApi, open_client: OpenClient, message: str, error: type[Exception]
) -> None:
    api.on(CREATE, answer({"error": message}))
    with pytest.raises(error, match=message):
        await open_client("blockadelabs", api.url).create(asked("blockadelabs"))
    assert len(api.seen) == 1


async def test_an_error_as_a_200_is_retried_on_reads(
    sandbox: RunningSandbox, open_client: OpenClient
) -> None:
    client = open_client("blockadelabs", sandbox)
    [job] = await made(client, "a lake")
    sandbox.faults.add(FaultRule("error_200", on="read", times=1))
    assert (await client.fetch(job.id)).id == job.id


@pytest.mark.parametrize("envelope", ["response", "request", None])
async def test_a_record_beside_an_error_is_a_record(
    api: ScriptedApi, open_client: OpenClient, envelope: str | None
) -> None:
    body: dict[str, Any] = {envelope: RECORD, "error": "a warning"} if envelope else {**RECORD, "error": "oh"}
    api.on(READ, answer(body))
    assert (await open_client("blockadelabs", api.url).fetch("7")).id == "7"


@pytest.mark.parametrize(
    ("status", "error"), [(400, InvalidRequestError), (403, AuthenticationError), (404, NotFoundError)]
)
async def test_errors_in_words_of_their_own(
    api: ScriptedApi, open_client: OpenClient, status: int, error: type[Exception]
) -> None:
    api.on(READ, answer({"error": {"message": "Not this time"}}, status))
    with pytest.raises(error, match="Not this time"):
        await open_client("blockadelabs", api.url).fetch("7")


async def test_pages_are_counted_from_0(api: ScriptedApi, open_client: OpenClient) -> None:
    pages = [{"data": [{"id": number}], "totalCount": 3, "has_more": number < 2} for number in range(3)]
    api.on(LIST, *map(answer, pages))
    shown = await pages_of(open_client("blockadelabs", api.url))
    assert [one.query["offset"] for one in api.seen] == ["0", "1", "2"]
    assert [row.id for row in rows_of(shown)] == ["0", "1", "2"]
    assert [page.end for page in shown] == [False, False, True]


@pytest.mark.parametrize(
    "last", [{"data": []}, {"data": [{"id": 1}], "has_more": False}, {"data": [{"id": 1}], "totalCount": 2}]
)
async def test_the_end_is_told_in_several_ways(
    api: ScriptedApi, open_client: OpenClient, last: object
) -> None:
    api.on(LIST, answer({"data": [{"id": 0}]}), answer(last))
    assert (await pages_of(open_client("blockadelabs", api.url)))[-1].end
    assert len(api.seen) == 2


async def test_cancel(sandbox: RunningSandbox, open_client: OpenClient) -> None:
    client = open_client("blockadelabs", sandbox)
    [job] = await made(client, "a lake")
    await client.cancel(job.id)
    assert (await client.fetch(job.id)).status is GenerationStatus.CANCELLED


async def test_delete(sandbox: RunningSandbox, open_client: OpenClient) -> None:
    client = open_client("blockadelabs", sandbox)
    [job] = await made(client, "a lake")
    await client.delete(job.id)
    assert await client.poll([job.id]) == {}


async def test_a_cancel_in_trouble_is_an_error(api: ScriptedApi, open_client: OpenClient) -> None:
    api.on("DELETE /imagine/requests/7", answer({"error": "x"}, 500))
    client = open_client("blockadelabs", api.url)
    with pytest.raises(ServerError):
        await client.api.read("DELETE", "/imagine/requests/7", purpose="other", attempts=1)


async def test_negative_prompts_go_by_the_generator_s_name(api: ScriptedApi, open_client: OpenClient) -> None:
    api.on(CREATE, answer({"id": 7}))
    settings = {"negative_prompt": "cats", "seed": 5}
    await open_client("blockadelabs", api.url).create(asked("blockadelabs", settings=settings))
    assert api.seen[0].body == {
        "generator": "stable-skybox",
        "prompt": "a lake",
        "negative_text": "cats",
        "seed": 5,
    }


@pytest.mark.parametrize("settings", [{}, {"seed": 0}, {"seed": -1}, {"seed": None}])
async def test_a_random_seed_is_drawn_here_so_that_a_lost_job_can_be_found(
    sandbox: RunningSandbox, open_client: OpenClient, settings: dict[str, Any]
) -> None:
    client = open_client("blockadelabs", sandbox)
    request = client.completed(asked("blockadelabs", settings=settings), await client.models())
    job = await client.create(request)
    assert request.settings["seed"] > 0
    assert job.echoed_seed == str(request.settings["seed"])


async def test_a_chosen_seed_is_kept(sandbox: RunningSandbox, open_client: OpenClient) -> None:
    client = open_client("blockadelabs", sandbox)
    request = client.completed(asked("blockadelabs", settings={"seed": 12}), await client.models())
    assert request.settings["seed"] == 12


async def test_no_seed_for_a_generator_without_one(open_client: OpenClient) -> None:
    client = open_client("blockadelabs", "http://localhost:1")
    plain = ModelInfo(provider="blockadelabs", id="stable-skybox", kind=GenerationKind.IMAGE, parameters={})
    assert client.completed(asked("blockadelabs"), [plain]).settings == {}


@pytest.mark.parametrize(
    ("model", "prompt", "settings", "column"),
    [
        ("stable-skybocks", "a lake", {}, "model"),
        ("stable-skybox", "", {}, "prompt"),
        ("stable-skybox", "a" * 601, {}, "prompt"),
        ("stable-skybox", "a lake", {"negative_prompt": "a" * 401}, "negative_prompt"),
        ("stable-skybox", "a lake", {"seed": 2147483648}, "seed"),
        ("stable-skybox", "a lake", {"seed": "many"}, "seed"),
        ("stable-skybox", "a lake", {"seed": 1.5}, "seed"),
        ("stable-skybox", "a lake", {"animation_mode": "cube"}, "settings.animation_mode"),
        ("stable-skybox", "a lake", {"sead": 3}, "settings.sead"),
        ("stable-skybox", "a lake", {"webhook_url": "http://x"}, "settings.webhook_url"),
        ("stable", "a lake", {}, "settings.style"),
    ],
)
async def test_problems_are_found_before_anything_is_spent(
    sandbox: RunningSandbox,
    open_client: OpenClient,
    model: str,
    prompt: str,
    settings: dict[str, Any],
    column: str,
) -> None:
    client = open_client("blockadelabs", sandbox)
    request = asked("blockadelabs", prompt, settings=settings).model_copy(update={"model": model})
    found = client.problems(request, await client.models())
    assert [where for where, _ in found] == [column]


async def test_what_the_generator_takes_is_no_problem(
    sandbox: RunningSandbox, open_client: OpenClient
) -> None:
    client = open_client("blockadelabs", sandbox)
    settings = {"negative_prompt": "cats", "seed": 7, "animation_mode": "skybox"}
    assert client.problems(asked("blockadelabs", settings=settings), await client.models()) == []
    assert (await client.create(asked("blockadelabs", settings=settings))).echoed_seed == "7"
