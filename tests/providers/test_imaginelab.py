"""ImagineLab: what its page leaves open, and what is its own."""

from __future__ import annotations

from typing import Any

import pytest

from prefect_imagine.errors import (
    AmbiguousCreateError,
    InsufficientCreditsError,
    InvalidRequestError,
    UnexpectedResponseError,
)
from prefect_imagine.providers.models import GenerationKind, GenerationRequest, GenerationStatus
from prefect_imagine.sandbox import RunningSandbox

from .clients import OpenClient, asked, made, pages_of, rows_of
from .scripted import ScriptedApi, answer, paged_answer

READ, LIST, CREATE = "GET /generations/7", "GET /generations", "POST /generations"
ROWS = [{"id": number, "status": "completed"} for number in range(45)]


@pytest.mark.parametrize("mode", ["bare", "items", "unpaged", "capped", "missing"])
async def test_poll_works_whatever_the_list_is_like(
    sandbox: RunningSandbox, open_client: OpenClient, mode: str
) -> None:
    sandbox.configure(history_mode=mode)
    client = open_client("imaginelab", sandbox)
    jobs = await made(client, *[f"{number}" for number in range(25)])
    for _ in range(2):
        assert (await client.poll([job.id for job in jobs])).keys() == {job.id for job in jobs}


@pytest.mark.parametrize(
    ("mode", "shown", "end"),
    [("bare", 25, True), ("items", 25, True), ("unpaged", 25, False), ("capped", 20, False)],
)
async def test_history_claims_its_end_only_where_it_was_seen(
    sandbox: RunningSandbox, open_client: OpenClient, mode: str, shown: int, end: bool
) -> None:
    sandbox.configure(history_mode=mode)
    client = open_client("imaginelab", sandbox)
    await made(client, *[f"{number}" for number in range(25)])
    pages = await pages_of(client)
    assert len(rows_of(pages)) == shown
    assert pages[-1].end is end


ENVELOPES = ["items", "data", "results", "generations"]


@pytest.mark.parametrize("envelope", ENVELOPES)
@pytest.mark.parametrize("cap", [10, 20, 100])
async def test_lists_in_any_envelope_and_of_any_page_size(
    api: ScriptedApi, open_client: OpenClient, envelope: str, cap: int
) -> None:
    api.on(LIST, paged_answer(ROWS, cap, lambda rows: {envelope: rows, "page": 1}))
    pages = await pages_of(open_client("imaginelab", api.url))
    assert [row.id for row in rows_of(pages)] == [str(row["id"]) for row in ROWS]
    assert pages[-1].end


@pytest.mark.parametrize("name", ["total", "count"])
async def test_a_total_that_counts_the_page_only_is_not_believed(
    api: ScriptedApi, open_client: OpenClient, name: str
) -> None:
    api.on(LIST, paged_answer(ROWS, 20, lambda rows: {"items": rows, name: len(rows)}))
    assert len(rows_of(await pages_of(open_client("imaginelab", api.url)))) == 45


async def test_a_list_that_is_none_makes_polls_go_by_id(api: ScriptedApi, open_client: OpenClient) -> None:
    api.on(LIST, answer({"message": "see /v2"}))
    for number in range(4):
        api.on(f"GET /generations/{number}", answer({"id": number}))
    client = open_client("imaginelab", api.url)
    for _ in range(2):
        assert len(await client.poll(["0", "1", "2", "3"])) == 4
    assert api.count(LIST) == 1


@pytest.mark.parametrize("envelope", [None, "data", "generation"])
async def test_a_record_bare_or_wrapped(
    api: ScriptedApi, open_client: OpenClient, envelope: str | None
) -> None:
    record = {"id": 7, "status": "completed"}
    api.on(READ, answer({envelope: record, "success": True} if envelope else record))
    assert (await open_client("imaginelab", api.url).fetch("7")).status is GenerationStatus.SUCCEEDED


async def test_a_record_with_data_of_its_own_is_still_the_record(
    api: ScriptedApi, open_client: OpenClient
) -> None:
    api.on(CREATE, answer({"id": 7, "status": "pending", "data": {"queue": 3}}))
    assert (await open_client("imaginelab", api.url).create(asked("imaginelab"))).id == "7"


URL, OTHER = "http://cdn/1.png", "http://cdn/2.png"
OUTPUTS: list[tuple[Any, list[tuple[str | None, str | None]]]] = [
    (None, []),
    ([], []),
    ("", []),
    ({}, []),
    ([None, "", {}, {"url": None}], []),
    (URL, [(URL, None)]),
    ([URL, OTHER], [(URL, None), (OTHER, None)]),
    ([{"url": URL, "thumbnail_url": OTHER, "width": 1}], [(URL, None)]),
    ([{"type": "image", "media_url": URL}], [(URL, None)]),
    ([{"content": URL}], [(URL, None)]),
    ({"url": URL}, [(URL, None)]),
    ([{"content": "Once"}, {"url": URL}], [(URL, None)]),
]
TEXTS: list[tuple[Any, list[tuple[str | None, str | None]]]] = [
    (["Once upon a time"], [(None, "Once upon a time")]),
    ([{"text": "Once upon a time", "url": None}], [(None, "Once upon a time")]),
    ([{"content": "Once"}, {"url": URL}], [(None, "Once"), (URL, None)]),
]


@pytest.mark.parametrize(("outputs", "expected"), OUTPUTS)
async def test_output_shapes(
    api: ScriptedApi, open_client: OpenClient, outputs: object, expected: list[Any]
) -> None:
    record = {"id": 7, "status": "completed", "generation_type": "image", "outputs": outputs}
    api.on(READ, answer(record))
    row = await open_client("imaginelab", api.url).fetch("7")
    assert [(output.url, output.text) for output in row.outputs] == expected


@pytest.mark.parametrize("kind", ["text", None])
@pytest.mark.parametrize(("outputs", "expected"), TEXTS)
async def test_text_shapes(
    api: ScriptedApi, open_client: OpenClient, kind: str | None, outputs: object, expected: list[Any]
) -> None:
    api.on(READ, answer({"id": 7, "status": "completed", "generation_type": kind, "outputs": outputs}))
    row = await open_client("imaginelab", api.url).fetch("7")
    assert [(output.url, output.text) for output in row.outputs] == expected


@pytest.mark.parametrize("name", ["credits_refunded", "refunded_credits", "credit_refund"])
async def test_refunded_credits_were_not_charged(
    api: ScriptedApi, open_client: OpenClient, name: str
) -> None:
    api.on(READ, answer({"id": 7, "status": "failed", "credit_cost": 15, name: 10}))
    assert (await open_client("imaginelab", api.url).fetch("7")).credits == 5


@pytest.mark.parametrize("shape", ["objects", "strings"])
@pytest.mark.parametrize(("kind", "model"), [("text", "scribe-3-mini"), ("voice", "lyra-voice-2")])
async def test_outputs_of_the_sandbox(
    sandbox: RunningSandbox, open_client: OpenClient, shape: str, kind: str, model: str
) -> None:
    sandbox.configure(imaginelab_outputs=shape)
    client = open_client("imaginelab", sandbox)
    request = GenerationRequest(provider="imaginelab", kind=GenerationKind(kind), model=model, prompt="hello")
    job = await client.create(request)
    sandbox.advance(11)
    [output] = (await client.fetch(job.id)).outputs
    [booked] = sandbox.report()["jobs"][0]["outputs"]
    assert (output.url, output.text) == (booked.get("url"), booked.get("text"))


async def test_text_that_is_an_address_stays_text_in_a_text_generation(
    api: ScriptedApi, open_client: OpenClient
) -> None:
    record = {"id": 7, "status": "completed", "generation_type": "text", "outputs": [{"text": URL}]}
    api.on(READ, answer(record))
    assert (await open_client("imaginelab", api.url).fetch("7")).outputs[0].text == URL


@pytest.mark.parametrize(
    ("detail", "message"),
    [
        ("Prompt must not be empty", "Prompt must not be empty"),
        (
            [{"type": "missing", "loc": ["body", "prompt"], "msg": "Field required"}, {"msg": "Too long"}],
            "prompt: Field required; Too long",
        ),
        ([{"loc": ["body", "settings", 0], "msg": "Bad"}], "settings.0: Bad"),
        (["Prompt missing"], "Prompt missing"),
        ({"message": "No such model", "code": "x"}, "No such model"),
    ],
)
async def test_details_of_an_error(
    api: ScriptedApi, open_client: OpenClient, detail: object, message: str
) -> None:
    api.on(CREATE, answer({"detail": detail}, 422))
    with pytest.raises(InvalidRequestError) as caught:
        await open_client("imaginelab", api.url).create(asked("imaginelab"))
    assert str(caught.value).startswith(f"imaginelab: {message}")


@pytest.mark.parametrize(("detail", "status"), [([{"loc": None, "msg": None}], 500), ([], 422), (None, 422)])
async def test_an_unreadable_refusal_of_a_create_is_ambiguous(
    api: ScriptedApi, open_client: OpenClient, detail: object, status: int
) -> None:
    api.on(CREATE, answer({"detail": detail}, status))
    with pytest.raises(AmbiguousCreateError):
        await open_client("imaginelab", api.url).create(asked("imaginelab"))


async def test_out_of_credits(sandbox: RunningSandbox, open_client: OpenClient) -> None:
    sandbox.configure(credits={"imaginelab": 7})
    client = open_client("imaginelab", sandbox)
    assert [job.credits for job in await made(client, "one")] == [5]
    with pytest.raises(InsufficientCreditsError):
        await made(client, "two")
    assert (await client.balance()).credits == 2


OTHER_BALANCES = (
    *("credits_available", "credit_balance", "remaining", "remaining_credits", "credits_remaining"),
    *("current_balance", "amount", "total"),
)


@pytest.mark.parametrize(
    "wallet",
    [
        {"balance": 42},
        {"credits": "42"},
        {"balance": None, "credits": 42.0},
        {"wallet": {"balance": 42}},
        {"data": {"credits": 42}, "user_id": 3},
        {"available_credits": 42, "reserved": 0},
        {"balance": "see credits", "credits": 42},
        *({name: 42} for name in OTHER_BALANCES),
    ],
)
async def test_wallet_shapes(api: ScriptedApi, open_client: OpenClient, wallet: object) -> None:
    api.on("GET /credits/wallet", answer(wallet))
    assert (await open_client("imaginelab", api.url).balance()).credits == 42


@pytest.mark.parametrize("wallet", [{}, [], None, {"balance": "plenty"}])
async def test_a_wallet_without_a_balance(api: ScriptedApi, open_client: OpenClient, wallet: object) -> None:
    api.on("GET /credits/wallet", answer(wallet))
    with pytest.raises(UnexpectedResponseError):
        await open_client("imaginelab", api.url).balance()


async def test_packages(sandbox: RunningSandbox, open_client: OpenClient) -> None:
    first, *_ = await open_client("imaginelab", sandbox).packages()
    assert (first.name, first.credits, first.price) == ("Starter", 100, "9.0")


@pytest.mark.parametrize("envelope", [None, "packages", "data", "items"])
async def test_package_shapes(api: ScriptedApi, open_client: OpenClient, envelope: str | None) -> None:
    rows = [{"id": 1, "amount": "100", "price_usd": "9.00", "extra": None}]
    api.on("GET /credits/packages", answer({envelope: rows} if envelope else rows))
    [package] = await open_client("imaginelab", api.url).packages()
    assert (package.name, package.credits, package.price) == ("1", 100, "9.00")


MODEL = "seedream-5.0-lite"
MODEL_SHAPES: list[Any] = [
    [{"model_name": MODEL, "generation_type": "image", "credit_cost": 5}],
    [{"name": MODEL, "type": "image", "credits": 5}],
    [{"id": MODEL, "type": "image", "cost": "5"}],
    [{"id": 3, "name": MODEL, "kind": "image", "credits": 5}],
    [{"id": MODEL, "name": "Seedream 5.0 Lite", "type": "IMAGE", "credits": 5}],
    [{"id": "8a6e0804-2bd0-4672-b79d-d97027f9071a", "name": MODEL, "type": "image", "credits": 5}],
    {"models": [{"model_name": MODEL, "generation_type": "image", "credit_cost": 5, "is_active": True}]},
    {"data": [{"model_name": MODEL, "name": "Lite", "generation_type": "image", "credit_cost": 5}, {}]},
    {"image": [{"model_name": MODEL, "credit_cost": 5}], "video": []},
]


@pytest.mark.parametrize("body", MODEL_SHAPES)
async def test_model_shapes(api: ScriptedApi, open_client: OpenClient, body: object) -> None:
    api.on("GET /generations/models", answer(body))
    [model] = await open_client("imaginelab", api.url).models()
    assert (model.id, model.kind, model.credits) == (MODEL, GenerationKind.IMAGE, 5)


async def test_models_by_kind_and_name_only(api: ScriptedApi, open_client: OpenClient) -> None:
    api.on("GET /generations/models", answer({"image": ["a", "b"], "text": ["c"], "note": "x"}))
    listed = await open_client("imaginelab", api.url).models(GenerationKind.TEXT)
    assert [model.id for model in listed] == ["c"]


async def test_delete(sandbox: RunningSandbox, open_client: OpenClient) -> None:
    client = open_client("imaginelab", sandbox)
    [job] = await made(client, "a lake")
    await client.delete(job.id)
    assert await client.poll([job.id]) == {}


async def test_an_id_that_cannot_be_one_is_left_out(sandbox: RunningSandbox, open_client: OpenClient) -> None:
    assert await open_client("imaginelab", sandbox).poll(["no-number"]) == {}


@pytest.mark.parametrize(
    ("changes", "column"),
    [({"model": "seedream"}, "model"), ({"model": None, "kind": GenerationKind.MUSIC}, None)],
)
async def test_problems_are_found_before_anything_is_spent(
    sandbox: RunningSandbox, open_client: OpenClient, changes: dict[str, Any], column: str | None
) -> None:
    client = open_client("imaginelab", sandbox)
    request = asked("imaginelab").model_copy(update=changes)
    found = client.problems(request, await client.models())
    assert [where for where, _ in found] == ([column] if column else [])


def test_without_a_list_of_models_one_must_be_named(open_client: OpenClient) -> None:
    client = open_client("imaginelab", "http://localhost:1")
    bare = asked("imaginelab").model_copy(update={"model": None})
    assert [where for where, _ in client.problems(bare, [])] == ["model"]
    assert client.problems(asked("imaginelab"), []) == []
