"""`webhooks`: registering, listing, changing and removing; the secret is shown once, or saved."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import ClientSession, web
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import SecretStr

from prefect_imagine.blocks import AIVisualStudioCredentials
from prefect_imagine.sandbox import FaultRule, RunningSandbox
from prefect_imagine.testing.stand_in import listening
from tests.cli.commands import Ended, Shell, assert_refused

URL = "https://hooks.example.com/imagine"
PROVIDER = "aivisualstudio"
VARIABLE = "AIVISUALSTUDIO_WEBHOOK_SECRET"
FIELDS = {"id", "url", "events", "active", "created_at"}


@pytest.fixture(autouse=True)
def no_webhooks(providers: RunningSandbox) -> None:
    providers.reset()


def done(ended: Ended) -> dict[str, Any]:
    assert (ended.code, ended.stderr) == (0, "")
    return ended.last


def registered(shell: Shell, *words: str) -> dict[str, Any]:
    return done(shell.run("webhooks", "register", URL, "--json", *words))


def listed(shell: Shell) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = done(shell.run("webhooks", "list", "--json"))["webhooks"]
    return found


def test_from_registering_to_removing(bare_shell: Shell) -> None:
    made = registered(bare_shell, "--event", "generation.failed")
    assert made.keys() == {"provider", "webhook", "secret", "saved_in", "note", "error"}
    assert (made["provider"], made["saved_in"], made["error"]) == (PROVIDER, None, None)
    assert made["secret"].startswith("whsec_")
    hook = made["webhook"]
    assert hook.keys() == FIELDS
    assert (hook["url"], hook["events"], hook["active"]) == (URL, ["generation.failed"], True)
    assert listed(bare_shell) == [hook]

    events = ["generation.completed", "generation.failed"]
    words = ["--url", f"{URL}/2", "--inactive", *(word for event in events for word in ("--event", event))]
    changed = done(bare_shell.run("webhooks", "update", hook["id"], *words, "--json"))["webhook"]
    assert changed == {**hook, "url": f"{URL}/2", "events": events, "active": False}
    again = done(bare_shell.run("webhooks", "update", hook["id"], "--active", "--json"))["webhook"]
    assert again == {**changed, "active": True}

    removed = done(bare_shell.run("webhooks", "remove", hook["id"], "--json"))
    assert removed == {"provider": PROVIDER, "removed": hook["id"], "error": None}
    assert listed(bare_shell) == []


def test_people_are_shown_the_secret_once_and_what_takes_it(bare_shell: Shell) -> None:
    ended = bare_shell.run("webhooks", "register", URL)
    assert (ended.code, ended.stderr) == (0, "")
    told, secret, note = ended.stdout.splitlines()
    assert told.endswith(f"of {PROVIDER}: generation.completed, generation.failed to {URL}")
    assert secret.startswith("secret: whsec_")
    assert "shown this once" in note
    assert VARIABLE in note
    assert "separated by commas" in note

    webhook = told.split()[1]
    shown = bare_shell.run("webhooks", "list").stdout
    assert shown.splitlines()[0] == f"Webhooks of {PROVIDER}"
    assert all(word in shown for word in (webhook, URL, "generation.completed, generation.failed", "yes"))
    assert secret.removeprefix("secret: ") not in shown + json.dumps(listed(bare_shell))
    changed = bare_shell.run("webhooks", "update", webhook, "--inactive").stdout.splitlines()
    assert changed[0] == f"Changed at {PROVIDER}"
    assert " no " in changed[-1]
    removed = bare_shell.run("webhooks", "remove", webhook).stdout
    assert removed == f"webhook {webhook} of {PROVIDER} is removed\n"


@pytest.mark.parametrize(
    ("words", "environment", "says"),
    [
        ([], {}, "COMMAND is missing, one of serve, url, register, list, update, remove"),
        (["lst"], {}, "there is no command 'webhooks lst'; did you mean list"),
        (["register"], {}, "URL is missing"),
        (["register", "http://hooks.example.com"], {}, "https://"),
        (["register", URL, "--event", "generation.complete"], {}, "did you mean generation.completed"),
        (
            ["register", URL, "--provider", "blockadelabs"],
            {},
            "does not have webhooks; allowed: aivis",
        ),
        (["register", URL, "--save"], {}, "give --credentials aivisualstudio=BLOCK"),
        (
            ["register", URL],
            {"AIVISUALSTUDIO_API_KEY": "avs_live_sandbox-readonly"},
            "lacks the scope `webhooks`",
        ),
        (["register", URL], {"AIVISUALSTUDIO_API_KEY": None}, "AIVISUALSTUDIO_API_KEY"),
        (["list", "extra"], {}, "one argument too many"),
        (["update", "wh_1"], {}, "nothing is to be changed"),
        (["update", "wh_1", "--active", "--inactive"], {}, "--active does not go with --inactive"),
        (["update", "wh_1", "--inactive"], {}, "there is no webhook 'wh_1'"),
        (["remove"], {}, "ID is missing"),
        (["remove", "wh_1"], {}, "Webhook not found"),
    ],
)
def test_what_cannot_be_done_is_said(
    bare_shell: Shell, words: list[str], environment: dict[str, str | None], says: str
) -> None:
    assert_refused(bare_shell.run("webhooks", *words, "--json", **environment), says)
    assert listed(bare_shell) == []


def test_a_lost_secret_is_told_with_what_to_do(bare_shell: Shell, providers: RunningSandbox) -> None:
    providers.faults.add(FaultRule("cut_after", provider=PROVIDER, on="other", times=1, skip=1))
    ended = bare_shell.run("webhooks", "register", URL, "--json")
    [hook] = listed(bare_shell)
    assert ended.code == 5
    assert (ended.last["webhook"], ended.last["secret"]) == (hook, None)
    assert f"webhooks remove {hook['id']}" in ended.last["error"]
    assert ended.errors == [f"error: {ended.last['error']}"]


@pytest.fixture(scope="module")
def block(prefect_environment: dict[str, str], providers: RunningSandbox) -> Iterator[None]:
    """A block with the sandbox's key is saved."""
    made = AIVisualStudioCredentials(
        base_url=providers.base_urls[PROVIDER],
        api_key=SecretStr(providers.environment["AIVISUALSTUDIO_API_KEY"]),
    )
    with temporary_settings({PREFECT_API_URL: prefect_environment["PREFECT_API_URL"]}):
        asyncio.run(made.asave("hooks", overwrite=True))
        yield


def saved_secret() -> str | None:
    found: object = asyncio.run(AIVisualStudioCredentials.aload("hooks"))
    assert isinstance(found, AIVisualStudioCredentials)
    assert found.api_key.get_secret_value().startswith("avs_live_")
    return None if found.webhook_secret is None else found.webhook_secret.get_secret_value()


SAVE = ("--credentials", f"{PROVIDER}=hooks", "--save")


@pytest.mark.usefixtures("block")
def test_the_secret_is_saved_in_the_block_and_not_shown(shell: Shell) -> None:
    made = registered(shell, *SAVE)
    first = saved_secret()
    assert first is not None
    assert first.startswith("whsec_")
    assert (made["secret"], made["saved_in"]) == (None, "hooks")
    assert first not in json.dumps(made)

    ended = shell.run("webhooks", "register", f"{URL}/2", *SAVE)
    assert (ended.code, ended.stderr) == (0, "")
    assert ended.stdout.splitlines()[1:] == ["the secret is saved in the credentials block hooks"]
    both = saved_secret()
    assert both is not None
    assert both.split(",")[0] == first
    assert len(both.split(",")) == 2
    assert "whsec_" not in ended.stdout


def test_no_block_no_webhook(shell: Shell, bare_shell: Shell) -> None:
    words = ["--credentials", f"{PROVIDER}=nobody", "--save", "--json"]
    assert_refused(shell.run("webhooks", "register", URL, *words), "there is no credentials block 'nobody'")
    assert listed(bare_shell) == []


async def _swallowed(request: web.Request) -> web.WebSocketResponse:
    """Take in Prefect's events: it complains, now and then, where nobody does."""
    socket = web.WebSocketResponse(protocols=["prefect"])
    await socket.prepare(request)
    await socket.receive_json()
    await socket.send_json({"type": "auth_success"})
    async for _ in socket:
        continue
    return socket


@pytest.mark.usefixtures("block")
async def test_a_secret_that_cannot_be_saved_is_shown_all_the_same(
    shell: Shell, prefect_environment: dict[str, str]
) -> None:
    prefect = prefect_environment["PREFECT_API_URL"]

    async def without_saving(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await _swallowed(request)
        if request.method == "PATCH" and "/block_documents/" in request.path:
            return web.json_response({"detail": "the database is read-only"}, status=403)
        target = prefect.removesuffix("/api") + request.path_qs
        data = await request.read()
        async with (
            ClientSession() as session,
            session.request(request.method, target, data=data, headers=request.headers) as got,
        ):
            return web.Response(body=await got.read(), status=got.status, content_type=got.content_type)

    async with listening(without_saving) as url:
        api = {"PREFECT_API_URL": f"{url}/api", "PYTHONUNBUFFERED": "1"}  # in a process of its own
        words = ("webhooks", "register", URL, "--json", *SAVE)
        ended = await asyncio.to_thread(shell.run, *words, **api)
    assert ended.code == 5
    assert ended.last["secret"].startswith("whsec_")
    assert (ended.last["saved_in"], "not saved in hooks" in ended.last["error"]) == (None, True)
    assert ended.errors == [f"error: {ended.last['error']}"]
