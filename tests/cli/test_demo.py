"""`demo`: one command that leaves batches which can be looked at, apart from those that cost money."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.commands import Shell, assert_contract, assert_refused


@pytest.mark.long
@pytest.mark.parametrize("words", [(), ("--s3",)], ids=["folder", "s3"])
def test_a_demo_leaves_a_report_that_can_be_opened(shell: Shell, words: tuple[str, ...]) -> None:
    ended = shell.run("demo", *words, "--json")
    assert ended.code == 0, ended.stderr
    found = assert_contract(ended)
    report = Path(found["report"])
    assert report == shell.folder / "outputs-demo" / found["batch_id"] / "report.html"
    shown = set(re.findall(r'(?:src|href)="(outputs/[^"]+)"', report.read_text()))
    assert len(shown) >= found["items"]["stored"] == 24
    assert all((report.parent / each).is_file() for each in shown)
    assert Path(found["manifest"]).is_file()
    assert not (shell.folder / "outputs").exists()


def test_the_copy_of_what_the_server_held_is_a_folder(bare_shell: Shell) -> None:
    assert_refused(bare_shell.run("demo", "--s3", "--output", "s3://bucket/a", "--json"), "--output")
