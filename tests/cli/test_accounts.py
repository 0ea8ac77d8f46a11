"""`models`, `balance`, `--help` and `--version`: no Prefect server, and nothing spent."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator

import pytest

from prefect_imagine.cli.arguments import parse
from prefect_imagine.sandbox import RunningSandbox
from tests.cli.commands import Shell
from tests.providers.clients import PROVIDERS

COMMANDS = (
    "generate", "resume", "status", "report", "cancel", "reconcile", "find", "credits", "models", "balance",
    "limits", "webhooks", "setup-automations", "demo", "sandbox",
)  # fmt: skip
GROUPED = ("webhooks register", "webhooks list", "webhooks update", "webhooks remove")


@pytest.fixture(autouse=True)
def nothing_created(providers: RunningSandbox) -> Iterator[None]:
    yield
    assert providers.report()["jobs"] == []


@pytest.mark.parametrize(
    ("provider", "model", "kind", "credits"),
    [
        ("aivisualstudio", "minimax/hailuo-2.3-fast", "video", 450),
        ("imaginelab", "lyra-voice-2", "voice", 3),
        ("blockadelabs", "stable-skybox", "image", None),
    ],
)
def test_models_are_listed(
    bare_shell: Shell, provider: str, model: str, kind: str, credits: int | None
) -> None:
    ended = bare_shell.run("models", provider, "--json")
    assert ended.code == 0, ended.stderr
    assert ended.last["provider"] == provider
    (found,) = [each for each in ended.last["models"] if each["id"] == model]
    assert (found["kind"], found["credits"]) == (kind, credits)

    table = bare_shell.run("models", provider).stdout.splitlines()
    assert table[0] == f"Models of {provider}"
    assert any(line.startswith(f"{model} ") for line in table)


def test_a_balance_is_told(bare_shell: Shell) -> None:
    assert bare_shell.run("balance", "imaginelab").stdout == "imaginelab: 100000 credits\n"
    ended = bare_shell.run("balance", "imaginelab", "--json")
    assert (ended.code, ended.last) == (0, {"provider": "imaginelab", "credits": 100_000})


@pytest.mark.parametrize(
    "command", [(), *(tuple(command.split()) for command in (*COMMANDS, *GROUPED))], ids=" ".join
)
def test_help_fits_a_terminal(bare_shell: Shell, command: tuple[str, ...]) -> None:
    ended = bare_shell.run(*command, "--help", COLUMNS="80")
    assert (ended.code, ended.stderr) == (0, "")
    assert ended.stdout.startswith("usage: prefect-imagine")
    assert max(map(len, ended.stdout.splitlines())) <= 80
    if not command:
        assert all(f"\n  {name} " in ended.stdout for name in COMMANDS)
        assert "exit codes:\n  0 all stored " in ended.stdout
    examples = ended.stdout.partition("\nexamples:\n")[2].partition("\n\n")[0].splitlines()
    assert len(examples) >= 2
    for example in examples:
        name, *words = shlex.split(example)
        assert name == "prefect-imagine"
        called = parse(words).command
        assert called is not None
        assert " ".join(words).startswith(called)
        assert called.startswith(" ".join(command))


@pytest.mark.parametrize(
    ("command", "offered"),
    [
        ("models", {"imaginelab", "blockadelabs", "aivisualstudio"}),
        ("balance", {"imaginelab"}),
        ("webhooks list", {"aivisualstudio"}),
    ],
)
def test_only_providers_that_have_the_call_are_offered(
    bare_shell: Shell, command: str, offered: set[str]
) -> None:
    told = bare_shell.run(*command.split(), "--help").stdout.partition("examples:")[0]
    assert {name for name in PROVIDERS if name in told} == offered


def test_the_version_is_told(bare_shell: Shell) -> None:
    from importlib.metadata import version

    ended = bare_shell.run("--version")
    assert (ended.code, ended.stdout) == (0, f"prefect-imagine {version('prefect-imagine')}\n")


def test_a_reader_that_has_seen_enough_causes_no_noise(bare_shell: Shell) -> None:
    process = bare_shell.start("models", "imaginelab", "--json")
    assert process.stdout is not None
    process.stdout.close()
    _, stderr = process.communicate(timeout=60)
    assert stderr == b""


def test_no_credential_is_in_what_models_print(bare_shell: Shell, providers: RunningSandbox) -> None:
    ended = bare_shell.run("models", "imaginelab", "--json")
    printed = json.dumps(ended.last) + ended.stderr
    assert providers.environment["IMAGINELAB_PASSWORD"] not in printed
