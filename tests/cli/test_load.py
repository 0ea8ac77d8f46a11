"""`load`: what is new into a DuckDB file, and what providers list otherwise."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import duckdb
import pytest

from prefect_imagine.batches.reading import segment_key
from prefect_imagine.batches.records import Header, to_line
from prefect_imagine.sandbox import RunningSandbox
from prefect_imagine.stores import open_store
from tests.cli.commands import Shell, assert_refused
from tests.engine.engine_runs import Runs, numbered
from tests.engine.test_root_index import settled_batch


@pytest.fixture(scope="module")
def root(providers: RunningSandbox, bare_shell: Shell) -> Path:
    """A root with a batch of six items."""
    folder = bare_shell.folder / "art"
    runs = Runs(providers, open_store(str(folder)))
    asyncio.run(runs.run([*numbered("imaginelab", 4), *numbered("aivisualstudio", 2)]))
    return folder


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "art.duckdb"


def test_what_is_new_is_loaded_and_told(bare_shell: Shell, root: Path, file: Path) -> None:
    words = ("load", "--output", root, "--database", file, "--json")
    first = bare_shell.run(*words, "--provider", "imaginelab", "--provider", "imagineapi")
    assert (first.code, first.errors) == (0, [])
    assert first.last["rows"]["generations"] == 6
    assert first.last["rows"]["imaginelab_generations"] == 4
    assert {name: first.last[name] for name in ("destination", "dataset", "differences", "error")} == {
        "destination": "duckdb",
        "dataset": "imagine",
        "differences": [],
        "error": None,
    }
    again = bare_shell.run(*words)
    assert (again.code, again.last["rows"]) == (0, {})
    assert "nothing is new" in again.stderr
    full = bare_shell.run("load", "--output", root, "--database", file, "--full", "--no-prompts")
    assert (full.code, full.stderr) == (0, "")
    assert [line.split() for line in full.stdout.splitlines() if "attempts" in line] == [["attempts", "6"]]
    with duckdb.connect(str(file)) as connection:
        found = connection.execute("select sum(charged), count(prompt) from imagine.generations").fetchall()
    assert found == [(30, 0)]


def test_what_providers_list_otherwise_is_shown(
    bare_shell: Shell, tmp_path: Path, root: Path, file: Path
) -> None:
    """Of a root where nothing is, no batch knows any job."""
    empty = tmp_path / "empty"
    shown = bare_shell.run("load", "--output", empty, "--database", file, "--provider", "aivisualstudio")
    assert shown.code == 0
    assert "Providers list otherwise" in shown.stdout
    [line] = [line.split() for line in shown.stdout.splitlines() if "no batch knows it" in line]
    assert line == ["aivisualstudio", "no", "batch", "knows", "it", "2"]


def test_what_could_not_be_read_is_told_and_so_is_an_empty_root(
    bare_shell: Shell, tmp_path: Path, file: Path
) -> None:
    store = open_store(str(tmp_path / "root"))
    words = ("load", "--output", tmp_path / "root", "--database", file, "--json")
    empty = bare_shell.run(*words)
    assert (empty.code, empty.last["rows"]) == (0, {})
    assert "there are no batches" in empty.stderr
    settled_batch(store, "whole")
    settled_batch(store, "newer")
    store.put(segment_key("newer", 2), to_line(Header(format=9, seq=2, writer="w", lines=0)))
    ended = bare_shell.run(*words)
    assert (ended.code, ended.last["rows"]["generations"]) == (1, 1)
    why = "the journal has format 9: a newer version wrote it"
    assert ended.last["left_out"] == [{"batch_id": "newer", "error": why}]
    assert ended.last["error"] in ended.stderr
    assert "batch newer cannot be read" in ended.last["error"]


def test_a_provider_that_fails_is_told_and_the_rest_is_loaded(
    bare_shell: Shell, root: Path, file: Path
) -> None:
    words = ("load", "--output", root, "--database", file, "--provider", "imaginelab", "--json")
    ended = bare_shell.run(*words, IMAGINELAB_TOKEN="wrong", IMAGINELAB_EMAIL=None, IMAGINELAB_PASSWORD=None)
    assert ended.code == 5
    assert ended.last["rows"]["generations"] == 6
    assert "imaginelab" in ended.last["error"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--database", "imagine.duckdb"], "would be ambiguous"),
        (["--destination", "postgres", "--database", "x"], "for duckdb and filesystem alone"),
        (["--destination", "nowhere"], "nowhere"),
        (["--provider", "imaginlab"], "there is no provider 'imaginlab'"),
        (["--output", ""], "--output is empty"),
    ],
)
def test_bad_input(bare_shell: Shell, words: list[str], says: str) -> None:
    assert_refused(bare_shell.run("load", *words, "--json"), says)


def test_a_file_that_is_no_database(bare_shell: Shell, root: Path, file: Path) -> None:
    file.write_text("a letter to a friend")
    ended = bare_shell.run("load", "--output", root, "--database", file, "--json")
    assert ended.code == 5
    assert str(file) in ended.last["error"]


def test_without_the_extra_it_says_what_to_install(
    bare_shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [each for each in sys.modules if each.startswith("prefect_imagine.warehouse")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "dlt", None)
    assert_refused(bare_shell.run("load", "--json"), "pip install 'prefect-imagine[warehouse]'")
