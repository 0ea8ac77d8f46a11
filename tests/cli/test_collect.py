"""`generate --detach`, `collect`, and a receiver of webhooks beside them, each a process."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefect_imagine.sandbox import RunningSandbox
from tests.cli.commands import Shell
from tests.cli.conftest import LATENCY
from tests.conftest import KINDS

pytestmark = pytest.mark.long

SECRET = {"PREFECT_IMAGINE_WEBHOOK_SECRET": "a secret that nobody can guess"}
LINES = [
    *({"prompt": f"film {number}", "provider": "aivisualstudio", "kind": "video"} for number in range(3)),
    *({"prompt": f"sky {number}", "provider": "blockadelabs"} for number in range(3)),
]


@pytest.fixture(autouse=True)
def slow_jobs(providers: RunningSandbox) -> Iterator[None]:
    providers.reset()
    providers.configure(latency=dict.fromkeys(KINDS, (3600.0, 3600.0)))
    yield
    providers.configure(latency=LATENCY)


def rows(shell: Shell, name: str) -> Path:
    return shell.write(f"{name}.jsonl", "\n".join(map(json.dumps, LINES)))


def test_what_was_let_go_is_collected(shell: Shell, providers: RunningSandbox) -> None:
    submitted = shell.run("generate", rows(shell, "films"), "--detach", "--json")
    assert submitted.code == 0, submitted.stderr
    assert submitted.last["submitted"] is True
    assert submitted.last["items"]["under_way"] == len(LINES)
    assert "prefect-imagine collect --output" in submitted.stderr
    early = shell.run("collect", "--json")
    assert (early.code, early.last["batches"][0]["under_way"]) == (0, len(LINES))
    providers.advance(7200)
    found = shell.run("collect", "--json")
    assert found.code == 0, found.stderr
    [batch] = found.last["batches"]
    assert (batch["closed"], batch["summary"]["items"]["stored"]) == (True, len(LINES))
    again = shell.run("collect")
    assert (again.code, "nothing is under way" in again.stderr) == (0, True)
    status = shell.run("status", "films", "--json")
    assert status.code == 0


def test_without_a_key_it_says_so(shell: Shell, providers: RunningSandbox) -> None:
    shell.run("generate", rows(shell, "keyless"), "--detach", "--output", "keyless-root")
    ended = shell.run("collect", "--output", "keyless-root", "--json", AIVISUALSTUDIO_API_KEY=None)
    assert ended.code == 5
    assert "AIVISUALSTUDIO_API_KEY" in ended.last["error"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("collect", "--days", "0"), "days are above 0"),
        (("collect", "--deadline", "video"), "must be kind=seconds"),
        (("collect", "--deadline", "film=3"), "must be kind=seconds"),
        (("webhooks", "url", "imaginelab", "--base", "https://h.example"), "delivers nothing"),
        (("webhooks", "url", "imagineapi"), "PREFECT_IMAGINE_WEBHOOK_URL"),
        (("webhooks", "url", "imagineapi", "--base", "https://h.example"), "PREFECT_IMAGINE_WEBHOOK_SECRET"),
        (("webhooks", "serve"), "PREFECT_IMAGINE_WEBHOOK_SECRET"),
        (("generate", "x.txt", "--webhook-url", "hooks"), "must be http(s)://"),
    ],
)
def test_what_is_wrong_is_said(bare_shell: Shell, words: tuple[str, ...], said: str) -> None:
    ended = bare_shell.run(*words)
    assert ended.code == 2
    assert said in ended.stderr


def test_an_address_is_printed(bare_shell: Shell) -> None:
    words = ("webhooks", "url", "imagineapi", "--base", "https://h.example/in/")
    account, batch = (
        bare_shell.run(*words, **SECRET),
        bare_shell.run(*words[:3], "night.1", *words[3:], **SECRET),
    )
    assert account.stdout.startswith("https://h.example/in/imagineapi/")
    assert batch.stdout.strip().endswith(".night.1")
    assert account.stdout.strip() not in batch.stdout
    signed = bare_shell.run("webhooks", "url", "aivisualstudio", "--base", "https://h.example", "--json")
    assert signed.last == {
        "provider": "aivisualstudio",
        "url": "https://h.example/aivisualstudio",
        "error": None,
    }


def test_a_port_that_is_taken_is_said(bare_shell: Shell) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = bare_shell.run("webhooks", "serve", "--port", port, **SECRET)
    assert ended.code == 2
    assert "cannot be listened on" in ended.stderr
