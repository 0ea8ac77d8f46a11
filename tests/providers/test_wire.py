"""Reading answers of any shape: what can be read is read, all else is `UnexpectedResponseError`."""

from __future__ import annotations

import math
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from prefect_imagine.errors import UnexpectedResponseError
from prefect_imagine.providers import wire
from prefect_imagine.providers.apis import aivisualstudio, blockadelabs, imagineapi, imaginelab
from prefect_imagine.providers.limits.pacing import Pacer
from prefect_imagine.providers.models import Generation, GenerationKind, GenerationStatus
from prefect_imagine.providers.registry import open_client, spec_of
from prefect_imagine.providers.spec import Account
from prefect_imagine.providers.transport.failures import ErrorDetail
from tests.providers.clients import PROVIDERS

from .properties import relaxed

NOON = datetime(2025, 1, 9, 12, tzinfo=UTC)
MODULES = {
    "imaginelab": imaginelab,
    "blockadelabs": blockadelabs,
    "imagineapi": imagineapi,
    "aivisualstudio": aivisualstudio,
}
NAMES = st.sampled_from(
    (
        *("id", "status", "data", "response", "request", "prompt", "created_at", "generator_data", "ref"),
        *("error", "errors", "detail", "message", "code", "extensions", "loc", "msg", "model", "type"),
        *("outputs", "url", "text", "upscaled_urls", "credit_cost", "credits_charged"),
    )
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=12,
)


@pytest.mark.parametrize(
    "value",
    [
        "2025-01-09T12:00:00Z",
        "2025-01-09T12:00:00",
        "2025-01-09 12:00:00",
        "2025-01-09T12:00:00.000Z",
        "2025-01-09T12:00:00.000000000Z",
        "2025-01-09T12:00:00+00:00",
        "2025-01-09T13:00:00+01:00",
        " 2025-01-09T12:00:00Z ",
        1736424000,
        1736424000.0,
        1736424000000,
        "1736424000",
        "1736424000000",
    ],
)
def test_times_in_any_notation(value: object) -> None:
    assert wire.moment(value) == NOON


@pytest.mark.parametrize("value", [None, "", "soon", True, [], {}, math.nan, math.inf, 10**30, "9" * 40])
def test_what_is_no_time(value: object) -> None:
    assert wire.moment(value) is None


@pytest.mark.parametrize("value", [7, "7"])
@pytest.mark.parametrize("name", ["id", "generation_id", "uuid"])
def test_ids_are_strings(name: str, value: object) -> None:
    assert wire.identifier({name: value}) == "7"


@pytest.mark.parametrize("record", [{}, {"id": None}, {"id": ""}, {"id": True}])
def test_what_has_no_id(record: dict[str, Any]) -> None:
    with pytest.raises(UnexpectedResponseError):
        wire.require_identifier("x", record)


@pytest.mark.parametrize(
    "body",
    [
        {"id": 7},
        {"data": {"id": 7}},
        {"request": {"id": 7}, "data": None},
        {"request": {"id": 7}, "data": {"page": 1}},
        {"id": 7, "data": {"no": "id"}},
        {"success": True, "data": {"id": 7}},
    ],
)
def test_the_record_of_a_body(body: object) -> None:
    assert wire.record_of("x", body, "request", "data") == {"id": 7} | (
        body if "id" in body else {}  # type: ignore[operator]
    )


@pytest.mark.parametrize("body", [None, [], "x", 3, {}, {"data": []}, {"data": None}, {"data": {}}])
def test_a_body_without_a_record(body: object) -> None:
    assert not wire.holds_record(body, "data")
    with pytest.raises(UnexpectedResponseError):
        wire.record_of("x", body, "data")


@pytest.mark.parametrize("body", [[{"id": 7}], {"data": [{"id": 7}]}, {"data": {}, "items": [{"id": 7}, 3]}])
def test_the_list_of_a_body(body: object) -> None:
    assert wire.records_of("x", body, "data", "items") == [{"id": 7}]


@pytest.mark.parametrize("body", [None, {}, "x", {"data": None}, {"data": {"id": 7}}])
def test_a_body_without_a_list(body: object) -> None:
    """An answer that cannot be read is never taken for an empty list: that would prove absence."""
    with pytest.raises(UnexpectedResponseError):
        wire.records_of("x", body, "data")


@pytest.mark.parametrize("outer", ["data", "items"])
@pytest.mark.parametrize("inner", ["data", "items"])
def test_the_list_of_a_body_in_two_envelopes(outer: str, inner: str) -> None:
    body = {"success": True, outer: {inner: [{"id": 7}, 3], "total": 5}}
    assert wire.records_of("x", body, "data", "items") == [{"id": 7}]
    assert wire.beside_list(body, "data", "items")["total"] == 5


@pytest.mark.parametrize(
    ("body", "total"),
    [
        ([{"id": 7}], None),
        ({"data": [{"id": 7}], "total": 5}, 5),
        ({"data": {"items": [{"id": 7}]}, "total": 5}, 5),
        ({"data": {"items": [{"id": 7}], "total": 5}, "total": 9}, 5),
        ({"data": {"id": 7, "items": [], "total": 5}}, None),
    ],
)
def test_what_is_said_beside_a_list(body: object, total: int | None) -> None:
    assert wire.beside_list(body, "data", "items").get("total") == total


def test_a_record_with_a_list_of_its_own_is_no_list() -> None:
    with pytest.raises(UnexpectedResponseError):
        wire.records_of("x", {"data": {"id": 7, "items": []}}, "data", "items")


BASE = "https://api.example.com/v1"


@pytest.mark.parametrize(
    ("given_as", "asked_for"),
    [
        ("https://cdn.example.com/x.png?sig=1", "https://cdn.example.com/x.png?sig=1"),
        ("/cdn/0/0/out.mp4?v=2", "https://api.example.com/cdn/0/0/out.mp4?v=2"),
        ("//cdn.example.com/x.png", "https://cdn.example.com/x.png"),
        ("cdn/x.png", "https://api.example.com/v1/cdn/x.png"),
        ("//[", "//["),
    ],
)
def test_relative_addresses_count_from_the_api(given_as: str, asked_for: str) -> None:
    assert wire.address(given_as, BASE) == asked_for


MEDIA = [kind for kind in GenerationKind if kind is not GenerationKind.TEXT]
PATHS = ["/cdn/0/0/out.mp4", "//cdn.example.com/x.png", "cdn/x.png", "x.png"]


@pytest.mark.parametrize("kind", MEDIA)
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", ["outputs", "output_url", "url"])
def test_a_path_is_the_address_of_media(kind: GenerationKind, path: str, name: str) -> None:
    address = wire.address(path, BASE)
    for value in (path, [path], {"url": path}, [{"media_url": path}]):
        found = wire.outputs_of({name: value}, kind, BASE)
        assert [(output.url, output.text) for output in found] == [(address, None)]


@pytest.mark.parametrize("kind", MEDIA)
@pytest.mark.parametrize("value", ["Once upon a time", {"text": "Once"}, [{"content": "Once upon a time"}]])
def test_media_are_never_texts(kind: GenerationKind, value: object) -> None:
    assert wire.outputs_of({"outputs": value}, kind, BASE) == ()


@pytest.mark.parametrize(
    ("value", "kind", "is_address"),
    [
        ("/cdn/0/0/out.mp4", None, True),
        ({"content": "/cdn/0/0/out.mp4"}, None, True),
        ({"url": "cdn/x.png"}, None, True),
        ("/ two words", None, False),
        ("Once upon a time", None, False),
        ("Once", None, False),
        ("/imagine", GenerationKind.TEXT, False),
        ({"text": "/imagine"}, GenerationKind.TEXT, False),
        ({"url": "/cdn/story.txt"}, GenerationKind.TEXT, True),
        ("https://cdn.example.com/story.txt", GenerationKind.TEXT, True),
    ],
)
def test_what_may_be_a_text_is_judged_by_its_looks_and_name(
    value: object, kind: GenerationKind | None, is_address: bool
) -> None:
    (found,) = wire.outputs_of({"outputs": [value]}, kind, BASE)
    assert (found.url is not None) is is_address


@pytest.mark.parametrize(
    ("record", "charged"),
    [
        ({"credits": 5}, 5),
        ({"credits": 5, "credits_refunded": 5}, 0),
        ({"credits": "5.00", "refunded_credits": "0.1"}, 4.9),
        ({"credits": 5, "credit_refund": 9}, 0),
        ({"credits": 5, "credits_refunded": 0}, 5),
        ({"credits": 5, "credits_refunded": -2}, 5),
        ({"credits": 5, "credits_refunded": True}, 5),
        ({"credits": 5, "credits_refunded": "all"}, 5),
        ({"credits_refunded": 5}, None),
    ],
)
def test_what_was_given_back_is_not_charged(record: dict[str, Any], charged: object) -> None:
    assert wire.charged(record, "credits") == charged


def row(identifier: str, created_at: datetime | None) -> Generation:
    return Generation(
        provider="x", id=identifier, status=GenerationStatus.RUNNING, created_at=created_at, kind=None
    )


@pytest.mark.parametrize(
    ("hours", "newest_first"),
    [((), True), ((5,), True), ((5, 4, 4), True), ((4, 5), False), ((None,), False), ((5, None, 4), False)],
)
def test_a_page_knows_its_order(hours: tuple[int | None, ...], newest_first: bool) -> None:
    times = [None if hour is None else NOON.replace(hour=hour) for hour in hours]
    page = wire.page_of([row(str(number), time) for number, time in enumerate(times)], end=False)
    assert page.newest_first is newest_first


@relaxed
@given(status=st.sampled_from([200, 400, 403, 404, 429, 500]), body=JSON)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_any_error_body_can_be_read(provider: str, status: int, body: object) -> None:
    detail = MODULES[provider].read_error(status, body)
    assert detail is None or (isinstance(detail, ErrorDetail) and isinstance(detail.message, str))


@relaxed
@given(record=JSON)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_any_record_is_read_or_refused_as_unreadable(provider: str, record: object) -> None:
    client = CLIENTS[provider]
    with suppress(UnexpectedResponseError):
        read = client._generation(record)  # type: ignore[attr-defined]
        assert read.id
        assert read.model_dump_json()


@relaxed
@given(record=JSON, kind=st.none() | st.sampled_from(GenerationKind))
def test_outputs_are_addresses_or_texts(record: object, kind: GenerationKind | None) -> None:
    if isinstance(record, dict):
        assert all(bool(output.url) != bool(output.text) for output in wire.outputs_of(record, kind, BASE))


CLIENTS = {
    provider: open_client(
        Account(spec_of(provider), key=SecretStr("k"), base_url="http://localhost:1"), pacer=Pacer()
    )
    for provider in PROVIDERS
}
