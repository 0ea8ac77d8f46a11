"""AI Visual Studio's webhooks: registering, listing, changing and deleting them."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from prefect_imagine.errors import (
    AmbiguousCreateError,
    AuthenticationError,
    ConfigurationError,
    ConnectionFailedError,
    InvalidRequestError,
    NotFoundError,
    RateLimitedError,
    ServerError,
    UnexpectedResponseError,
    UnsupportedOperationError,
)
from prefect_imagine.providers.registry import spec_of
from prefect_imagine.providers.webhooks import EVENTS, Webhook
from prefect_imagine.sandbox import FaultRule, RunningSandbox

from .clients import PROVIDERS, OpenClient, error_of
from .scripted import Answer, ScriptedApi, answer, text_answer

URL = "https://hooks.example.com/imagine?tenant=7"
OTHER = "https://hooks.example.com/other"
LIST, REGISTER, ONE = "GET /webhooks", "POST /webhooks", "/webhooks/wh_1"
HOOK = {"id": "wh_1", "url": URL, "events": list(EVENTS), "is_active": True}
SCOPE = {"error": {"code": "insufficient_scope", "message": "Insufficient permissions"}}
PROVIDER = "aivisualstudio"


async def cut(request: web.Request) -> web.StreamResponse:
    """No answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def test_from_registering_to_deleting(sandbox: RunningSandbox, open_client: OpenClient) -> None:
    client = open_client(PROVIDER, sandbox)
    made = await client.create_webhook(URL)
    assert (made.provider, made.url, made.events, made.active) == (PROVIDER, URL, EVENTS, True)
    assert made.secret.get_secret_value().startswith("whsec_")
    assert made.created_at is not None
    failures = await client.create_webhook(OTHER, ["generation.failed"])
    assert failures.events == ("generation.failed",)
    bare = made.model_copy(update={"secret": None})
    assert await client.webhooks() == (bare, failures.model_copy(update={"secret": None}))

    changed = await client.update_webhook(made.id, url=OTHER, events=["generation.completed"], active=False)
    assert changed == bare.model_copy(
        update={"url": OTHER, "events": ("generation.completed",), "active": False}
    )
    assert await client.update_webhook(made.id, active=True) == changed.model_copy(update={"active": True})

    await client.delete_webhook(failures.id)
    assert [each.id for each in await client.webhooks()] == [made.id]
    for call in (client.delete_webhook(failures.id), client.update_webhook(failures.id, url=URL)):
        assert isinstance(await error_of(call), NotFoundError)
    assert set(client.requests) == {"other"}


def test_a_webhook_does_not_show_its_secret() -> None:
    hook = Webhook(provider=PROVIDER, id="wh_1", url=URL, secret=SecretStr("whsec_1"))
    assert "whsec_1" not in f"{hook!r} {hook} {hook.model_dump_json()}"


@pytest.mark.parametrize("provider", [name for name in PROVIDERS if not spec_of(name).capabilities.webhooks])
async def test_the_other_providers_have_none(open_client: OpenClient, provider: str) -> None:
    client = open_client(provider, "http://127.0.0.1:9")
    for call in (
        client.create_webhook(URL),
        client.webhooks(),
        client.update_webhook("wh_1", active=True),
        client.delete_webhook("wh_1"),
    ):
        error = await error_of(call)
        assert isinstance(error, UnsupportedOperationError)
        assert provider in str(error)
    assert client.requests.total() == 0


# Before anything is sent.


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example.com/imagine",
        "http://hooks.example.com/imagine",
        "ftp://hooks.example.com",
        "https://",
        "https:///path",
        "https://[::1",
        "https://example.com/\ud800",
        "http://127.0.0.1.example.com/",
    ],
)
async def test_an_address_that_is_none_is_not_sent(
    api: ScriptedApi, open_client: OpenClient, url: str
) -> None:
    client = open_client(PROVIDER, api.url)
    for call in (client.create_webhook(url), client.update_webhook("wh_1", url=url)):
        with pytest.raises(ConfigurationError, match="URL"):
            await call
    assert not api.seen


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/hooks", "http://localhost/hooks", "http://[::1]:80/"])
async def test_loopback_takes_no_https_if_the_api_is_there_as_well(
    api: ScriptedApi, open_client: OpenClient, url: str
) -> None:
    api.on(LIST, answer([]))
    api.on(REGISTER, answer({"id": "wh_1", "url": url}))
    assert (await open_client(PROVIDER, api.url).create_webhook(url)).url == url
    with pytest.raises(ConfigurationError, match="https://"):
        await open_client(PROVIDER, "https://aivisualstudio.invalid/api/v1").create_webhook(url)


@pytest.mark.parametrize(
    ("events", "says"),
    [
        (["generation.complete"], r"did you mean generation\.completed"),
        ("generation.started", "there is no event 'generation.started'"),
        ([], "needs events"),
    ],
)
async def test_events_are_those_of_the_page(
    api: ScriptedApi, open_client: OpenClient, events: Any, says: str
) -> None:
    client = open_client(PROVIDER, api.url)
    for call in (client.create_webhook(URL, events), client.update_webhook("wh_1", events=events)):
        with pytest.raises(ConfigurationError, match=says):
            await call
    assert not api.seen


@pytest.mark.parametrize("webhook_id", ["", ".", "..", " "])
async def test_an_id_that_is_another_path_is_not_sent(
    api: ScriptedApi, open_client: OpenClient, webhook_id: str
) -> None:
    with pytest.raises(ConfigurationError, match="no id"):
        await open_client(PROVIDER, api.url).delete_webhook(webhook_id)
    assert not api.seen


async def test_a_change_of_nothing_is_not_sent(api: ScriptedApi, open_client: OpenClient) -> None:
    with pytest.raises(ConfigurationError, match="nothing is to be changed"):
        await open_client(PROVIDER, api.url).update_webhook("wh_1")
    assert not api.seen


# Shapes that the page leaves open.


@pytest.mark.parametrize("status", [200, 201])
@pytest.mark.parametrize(
    "body",
    [
        {**HOOK, "secret": "whsec_1"},
        {"data": {**HOOK, "signing_secret": "whsec_1"}},
        {"webhook": {**HOOK, "webhook_secret": "whsec_1"}},
        {"data": HOOK, "secret": "whsec_1"},
        {"webhook_id": "wh_1", "secret": "whsec_1"},
    ],
)
async def test_answers_to_registering(
    api: ScriptedApi, open_client: OpenClient, body: dict[str, Any], status: int
) -> None:
    api.on(LIST, answer({"data": [], "total": 0}))
    api.on(REGISTER, answer(body, status))
    hook = await open_client(PROVIDER, api.url).create_webhook(URL, EVENTS)
    assert hook == Webhook(provider=PROVIDER, id="wh_1", url=URL, secret=SecretStr("whsec_1"))
    assert api.seen[-1].body == {"url": URL, "events": list(EVENTS)}


async def test_all_events_are_not_named(api: ScriptedApi, open_client: OpenClient) -> None:
    api.on(LIST, answer([]))
    api.on(REGISTER, answer(HOOK))
    assert (await open_client(PROVIDER, api.url).create_webhook(f" {URL}\n")).secret is None
    assert api.seen[-1].body == {"url": URL}


@pytest.mark.parametrize(
    "body",
    [
        [HOOK],
        {"data": [HOOK]},
        {"data": [HOOK], "total": 1},
        {"webhooks": [HOOK]},
        {"data": {"items": [HOOK]}},
    ],
)
async def test_lists(api: ScriptedApi, open_client: OpenClient, body: object) -> None:
    api.on(LIST, answer(body))
    found = await open_client(PROVIDER, api.url).webhooks()
    assert found == (Webhook(provider=PROVIDER, id="wh_1", url=URL),)
    assert [one.target for one in api.seen] == ["/webhooks"]


async def test_a_list_that_says_that_it_is_longer_is_read_to_its_end(
    api: ScriptedApi, open_client: OpenClient
) -> None:
    rows = [{**HOOK, "id": f"wh_{number}"} for number in range(5)]

    async def give(request: web.Request) -> web.StreamResponse:
        start = int(request.query.get("offset", 0))
        return web.json_response({"data": rows[start : start + 2], "total": 5})

    api.on(LIST, give)
    assert len(await open_client(PROVIDER, api.url).webhooks()) == 5
    assert len(api.seen) == 3


async def test_a_list_that_ignores_paging_ends(api: ScriptedApi, open_client: OpenClient) -> None:
    api.on(LIST, answer({"data": [HOOK], "total": 9}))
    assert len(await open_client(PROVIDER, api.url).webhooks()) == 1
    assert len(api.seen) == 2


@pytest.mark.parametrize(
    ("fields", "active"),
    [
        ({"is_active": False}, False),
        ({"active": False}, False),
        ({"enabled": 0}, False),
        ({"active": "false"}, False),
        ({"enabled": True}, True),
        ({"is_active": None}, True),
        ({}, True),
    ],
)
async def test_whether_it_is_active(
    api: ScriptedApi, open_client: OpenClient, fields: dict[str, Any], active: bool
) -> None:
    api.on(LIST, answer([{"id": 1, "url": URL, **fields}]))
    [hook] = await open_client(PROVIDER, api.url).webhooks()
    assert (hook.id, hook.active, hook.events) == ("1", active, EVENTS)


@pytest.mark.parametrize("name", ["is_active", "active", "enabled"])
async def test_the_api_s_own_name_for_it_is_sent(
    api: ScriptedApi, open_client: OpenClient, name: str
) -> None:
    hook = {"id": "wh_1", "url": URL, name: True}
    api.on(LIST, answer([hook]))
    api.on(f"PATCH {ONE}", answer({**hook, name: False}))
    assert not (await open_client(PROVIDER, api.url).update_webhook("wh_1", active=False)).active
    assert api.seen[-1].body == {name: False}


async def test_a_change_that_was_not_made_is_told(api: ScriptedApi, open_client: OpenClient) -> None:
    api.on(LIST, answer([HOOK]))
    api.on(f"PATCH {ONE}", answer(HOOK))
    with pytest.raises(UnexpectedResponseError, match="not changed"):
        await open_client(PROVIDER, api.url).update_webhook("wh_1", active=False)


@pytest.mark.parametrize("given", [answer({"success": True}), text_answer("", 204), text_answer("OK"), cut])
async def test_a_change_whose_answer_tells_nothing_is_looked_up(
    api: ScriptedApi, open_client: OpenClient, given: Answer
) -> None:
    api.on(LIST, answer([{**HOOK, "url": OTHER}]))
    api.on(f"PATCH {ONE}", given)
    client = open_client(PROVIDER, api.url)
    assert (await client.update_webhook("wh_1", url=f"{OTHER}/")).url == OTHER
    assert api.count(f"PATCH {ONE}") == 1
    with pytest.raises((UnexpectedResponseError, ConnectionFailedError)):
        await client.update_webhook("wh_1", url=URL)


@pytest.mark.parametrize(
    "given",
    [
        answer({"success": True}),
        answer({"data": HOOK}, 201),
        text_answer("", 200),
        text_answer("", 204),
        text_answer("OK"),
        text_answer("<html>", 502),
        cut,
    ],
)
async def test_deleting_is_told_by_status_or_list(
    api: ScriptedApi, open_client: OpenClient, given: Answer
) -> None:
    api.on(LIST, answer([]))
    api.on(f"DELETE {ONE}", given)
    await open_client(PROVIDER, api.url).delete_webhook("wh_1")
    assert api.count(f"DELETE {ONE}") == 1


async def test_a_webhook_that_is_still_there_was_not_deleted(
    api: ScriptedApi, open_client: OpenClient
) -> None:
    api.on(LIST, answer([HOOK]))
    api.on(f"DELETE {ONE}", text_answer("<html>", 502))
    with pytest.raises(ServerError):
        await open_client(PROVIDER, api.url).delete_webhook("wh_1")


# Refusals.


async def test_a_key_without_the_scope_is_told_which(
    sandbox: RunningSandbox, open_client: OpenClient
) -> None:
    client = open_client(PROVIDER, sandbox, key="avs_live_sandbox-readonly")
    for call in (
        client.create_webhook(URL),
        client.update_webhook("wh_1", url=URL),
        client.delete_webhook("wh_1"),
    ):
        error = await error_of(call)
        assert isinstance(error, AuthenticationError)
        assert (error.status_code, error.code) == (403, "insufficient_scope")
        assert "lacks the scope `webhooks`" in str(error)


async def test_a_key_that_may_not_even_list_is_told_the_same(
    api: ScriptedApi, open_client: OpenClient
) -> None:
    api.default = answer(SCOPE, 403)
    with pytest.raises(AuthenticationError, match="lacks the scope `webhooks`"):
        await open_client(PROVIDER, api.url).webhooks()
    api.default = answer({"error": {"code": "ip_not_allowed", "message": "No"}}, 403)
    error = await error_of(open_client(PROVIDER, api.url).webhooks())
    assert isinstance(error, AuthenticationError)
    assert "scope" not in str(error)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "url must be an HTTPS URL"),
        (400, "Invalid webhook URL"),
        (422, "No"),
        (409, "A webhook with this URL already exists"),
    ],
)
async def test_a_request_that_is_refused_is_sent_once(
    api: ScriptedApi, open_client: OpenClient, status: int, message: str
) -> None:
    api.on(LIST, answer([HOOK]))
    refusal = answer({"error": {"code": "invalid_request", "message": message}}, status)
    api.on(REGISTER, refusal)
    api.on(f"PATCH {ONE}", refusal)
    client = open_client(PROVIDER, api.url)
    for call in (client.create_webhook(URL), client.update_webhook("wh_1", url=URL)):
        with pytest.raises(InvalidRequestError, match=message):
            await call
    assert (api.count(REGISTER), api.count(f"PATCH {ONE}")) == (1, 1)


async def test_what_the_rate_limit_refused_is_sent_again(
    sandbox: RunningSandbox, open_client: OpenClient
) -> None:
    client = open_client(PROVIDER, sandbox)
    sandbox.faults.add(
        FaultRule("rate_limited", provider=PROVIDER, on="other", times=1, skip=1, seconds=0.05)
    )
    assert (await client.create_webhook(URL)).secret is not None
    assert len(await client.webhooks()) == 1


async def test_a_limit_that_is_not_the_rate_s_is_told(api: ScriptedApi, open_client: OpenClient) -> None:
    too_many = {"error": {"code": "rate_limited", "message": "Too many webhooks"}}
    api.on(LIST, answer([]))
    api.on(REGISTER, answer(too_many, 429, {"X-RateLimit-Limit": "60", "X-RateLimit-Remaining": "50"}))
    with pytest.raises(RateLimitedError):
        await open_client(PROVIDER, api.url).create_webhook(URL)
    assert api.count(REGISTER) == 1


# Lost answers.


@pytest.mark.parametrize("fault", ["cut_after", "error_after", "garbage_after"])
async def test_a_lost_answer_is_found_without_its_secret(
    sandbox: RunningSandbox, open_client: OpenClient, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    client = open_client(PROVIDER, sandbox)
    before = await client.create_webhook(URL)
    sandbox.faults.add(FaultRule(fault, provider=PROVIDER, on="other", times=1, skip=1))
    with caplog.at_level(logging.WARNING):
        found = await client.create_webhook(URL)
    assert found.secret is None
    assert [each.id for each in await client.webhooks()] == [before.id, found.id]
    assert f"webhook {found.id} is registered" in caplog.text
    assert "delete it and register it again" in caplog.text


@pytest.mark.parametrize(
    ("fault", "error"), [("cut_before", ConnectionFailedError), ("error_before", ServerError)]
)
async def test_what_was_not_registered_is_told_and_not_sent_again(
    sandbox: RunningSandbox, open_client: OpenClient, fault: str, error: type[Exception]
) -> None:
    client = open_client(PROVIDER, sandbox)
    await client.create_webhook(OTHER)
    sandbox.faults.add(FaultRule(fault, provider=PROVIDER, on="other", times=1, skip=1))
    with pytest.raises(error, match="not registered so far"):
        await client.create_webhook(URL)
    assert [each.url for each in await client.webhooks()] == [OTHER]


async def test_a_lost_answer_that_no_list_tells_of_stays_open(
    api: ScriptedApi, open_client: OpenClient
) -> None:
    api.on(LIST, answer([]), answer({}, 404))
    api.on(REGISTER, cut)
    with pytest.raises(AmbiguousCreateError, match="find it in the list by its URL, delete it"):
        await open_client(PROVIDER, api.url).create_webhook(URL)
    assert api.count(REGISTER) == 1


async def test_one_of_two_new_webhooks_is_not_guessed(api: ScriptedApi, open_client: OpenClient) -> None:
    api.on(LIST, answer([]), answer([HOOK, {**HOOK, "id": "wh_2"}]))
    api.on(REGISTER, text_answer("", 204))
    with pytest.raises(AmbiguousCreateError, match="one of wh_1, wh_2"):
        await open_client(PROVIDER, api.url).create_webhook(URL)
