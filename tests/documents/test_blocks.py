"""No command of the documentation is left out: what can be run is run by a test, and every command line of
ours is read by its own parser."""

from __future__ import annotations

import re
import shlex
from itertools import chain
from pathlib import Path

import pytest

from prefect_imagine.cli.arguments import PROGRAM, parse
from prefect_imagine.cli.examples import _EXAMPLES
from tests.documents.blocks import PAGES, ROOT, Block, blocks_of, name_of

LANGUAGES = {"sh", "python", "console", "text", "json", "yaml", "toml", "nginx", "ini", "csv", ""}
BLOCKS = [block for page in PAGES for block in blocks_of(page)]
_PLUGIN = re.compile(r"\bcog\b")
"""The provider of examples/plugin, whose commands tests/plugin runs."""
SHOWN = {
    "CONTRIBUTING.md": [".venv/bin/python -m pytest", "make lint types test"],
    "README.md": ["make test", "prefect-imagine"],
    "docs/cli.md": ["prefect deploy --all", "prefect-imagine"],
    "docs/dashboard.md": ["GRAFANA_PASSWORD=", "export "],
    "docs/fleet.md": ["make fleet", "docker compose", "prefect", "prefect-imagine status"],
    "docs/observability.md": ["OTEL_TRACES_EXPORTER=none ", "pip install", "python -m timeit"],
    "docs/operations.md": ["docker "],
    "docs/providers.md": ["cd ", "export ", "pip install", "PORT=", "prefect-imagine", "printf "],
    "docs/warehouse.md": ["pip install"],
    "docs/webhooks.md": ["prefect-imagine"],
    "examples/plugin/README.md": ["pip install", "pytest "],
}
"""Commands that no test runs as they stand, by the page and by what they begin with: they need the network, a
container, a person, or hours; tests of their own do the same."""


def test_blocks_name_a_language_that_says_whether_they_are_run() -> None:
    assert {block.language for block in BLOCKS} <= LANGUAGES


def _naming(page: Path) -> list[Path]:
    """The tests that follow pages and name this one."""
    sources = ((path, path.read_text(encoding="utf-8")) for path in (ROOT / "tests").rglob("*.py"))
    follows = re.compile(r"(shell|runnable)_blocks")
    return [path for path, text in sources if follows.search(text) and name_of(page) in text]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(block.is_runnable for block in blocks_of(page))], ids=name_of
)
def test_a_test_follows_every_page_that_has_something_to_run(page: Path) -> None:
    assert _naming(page), (
        f"no test runs the blocks of {name_of(page)}: add it to tests/documents/test_pages.py"
    )


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_that_are_only_shown_are_listed(page: Path) -> None:
    shown = chain.from_iterable(block.commands for block in blocks_of(page) if block.language == "console")
    begins = tuple(SHOWN.get(name_of(page), ()))
    commands = list(shown)
    assert [command for command in commands if not command.startswith(begins)] == []
    assert [begin for begin in begins if not any(each.startswith(begin) for each in commands)] == []


def _own(block: Block) -> list[str]:
    """The command lines of ours in a block, without what a shell does with their output."""
    lines = block.commands if block.language == "console" else block.text.replace("\\\n", " ").splitlines()
    cut = (re.split(r"\s+(?:[|&>#]|\d>)", line)[0].strip().removeprefix("nohup ") for line in lines)
    return [line for line in cut if line.startswith(f"{PROGRAM} ") and not _PLUGIN.search(line)]


COMMANDS = sorted({line for block in BLOCKS if block.language in ("sh", "console") for line in _own(block)})
COMMANDS += [f"{PROGRAM} {words}" for words in chain.from_iterable(_EXAMPLES.values())]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_line_can_be_read(command: str) -> None:
    _, *arguments = shlex.split(command)
    parse(arguments)
