"""What people read: tables that fit 80 columns, and are whole where nothing has to fit."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

from prefect_imagine.billing.usage import ItemCounts, Usage, UsageLine
from prefect_imagine.cli.output import contract, nothing_done, print_json, show_usage
from prefect_imagine.reports.summary import CreditCounts, RequestCounts, Summary
from tests.cli.commands import read_terminal

LONGEST = "aivisualstudio/infographic/black-forest-labs/flux-1.1-pro-ultra-with-raw-mode"


def line(name: str = LONGEST, **numbers: int | float | None) -> UsageLine:
    nothing = dict.fromkeys(
        ("items", "stored", "failed", "unknown", "charged", "estimated", "possible", "unpriced"), 0
    )
    return UsageLine.model_validate({"name": name, **nothing, **numbers})


def usage(*lines: UsageLine) -> Usage:
    counts = dict.fromkeys(
        ("items", "stored", "failed", "unknown", "planned", "charged", "estimated", "possible"), 0
    )
    return Usage.model_validate(
        {
            "batch_id": "b",
            "as_of": datetime(2025, 3, 1, tzinfo=UTC),
            **counts,
            "unpriced_items": 2,
            "refund_unknown_items": 1,
            "by_provider": (),
            "by_model": lines,
            "by_label": (),
        }
    )


def summary(**more: object) -> Summary:
    values = {
        "batch_id": "b",
        "items": ItemCounts(total=7, stored=3, failed=2, unknown=1, planned=1),
        "credits": CreditCounts(charged=1, estimated=2, possible=3),
        "unpriced_items": 2,
        "requests": RequestCounts(),
        "manifest": "/x/manifest.jsonl",
        "report": "/a/rather/long/path/that/people/copy/" + "x" * 80 + "/report.html",
        **more,
    }
    return Summary.model_validate(values)


def printed(capsys: pytest.CaptureFixture[str], *lines: UsageLine, **more: object) -> list[str]:
    show_usage(usage(*lines), summary(**more), to_stderr=False)
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("numbers", "cell"),
    [
        ({}, "0"),
        ({"charged": 30}, "30"),
        ({"estimated": 4}, "4 est."),
        ({"unpriced": 5}, "5 unpriced"),
        (
            {"charged": 30, "estimated": 0.5, "possible": 5, "unpriced": 2},
            "30 + 0.5 est. + 5 possible + 2 unpriced",
        ),
    ],
)
def test_kinds_of_credits_stand_side_by_side(
    capsys: pytest.CaptureFixture[str], numbers: dict[str, Any], cell: str
) -> None:
    row = printed(capsys, line(items=2, stored=2, seconds=1.23, **numbers))[3]
    assert row.split("  ")[-2:] == [cell, "    1.2"] or f" {cell}  " in row


def test_a_pipe_gets_whole_rows(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, line(items=10, stored=7, charged=1))
    assert "flux-1.1-pro-ultra-with-raw-mode" in lines[3]
    assert "7 of 10" in lines[3]
    assert "3 of 7 stored, 2 failed, 1 unknown, 1 planned" in lines


def test_paths_and_reasons_are_never_broken(capsys: pytest.CaptureFixture[str]) -> None:
    reason = "a [red]reason[/] of many words " * 10
    lines = printed(capsys, line(), error=reason.strip())
    assert f"report: {summary().report}" in lines
    assert f"stopped: {reason.strip()}" in lines


def test_a_terminal_of_80_columns_folds_nothing_but_the_model() -> None:
    rows = [
        line(items=1000, stored=990, charged=12345.67, seconds=1234.5),
        line("blockadelabs/image/stable-skybox", items=4, stored=4, unpriced=4, seconds=9.8),
        line("imaginelab/video/seedance-2.0-lite", items=4, stored=4, charged=15, seconds=9.8),
    ]
    lines = on_a_terminal(usage(*rows))
    assert max(len(each) for each in lines if not each.startswith("report")) <= 80
    assert "provider" in lines[1]
    assert "seconds" in lines[1]
    (skybox,) = [each for each in lines if each.startswith("blockadelabs")]
    assert skybox.split() == ["blockadelabs", "image", "stable-skybox", "4", "4", "unpriced", "9.8"]
    (first,) = [each for each in lines if each.startswith("aivisualstudio")]
    assert first.rstrip().endswith("1234.5")
    assert "12345.67" in first
    assert "990 of 1000" in first


def on_a_terminal(bill: Usage) -> list[str]:
    """What a process prints where stdout is a terminal of 80 columns."""
    code = """
import sys
from prefect_imagine.reports.summary import Summary
from prefect_imagine.billing.usage import Usage
from prefect_imagine.cli.output import show_usage
bill, end = sys.argv[1:]
show_usage(Usage.model_validate_json(bill), Summary.model_validate_json(end), to_stderr=False)
"""
    ours, theirs = pty.openpty()
    arguments = [sys.executable, "-c", code, bill.model_dump_json(), summary().model_dump_json()]
    environment = {**os.environ, "COLUMNS": "80", "TERM": "dumb"}
    process = subprocess.Popen(arguments, stdout=theirs, env=environment)
    os.close(theirs)
    seen = read_terminal(ours)
    assert process.wait() == 0
    return seen.decode().replace("\r\n", "\n").splitlines()


def test_the_contract_s_object_has_no_more_than_it_promises() -> None:
    assert contract(summary())["credits"] == {"charged": 1, "estimated": 2}
    assert "exit_code" not in contract(nothing_done("why", 2))


def test_an_object_is_one_line_that_any_terminal_takes(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"error": "line\nbreak, ünicode and \udce9"})
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert printed.isascii()


@pytest.mark.parametrize("to_stderr", [False, True])
def test_a_closed_pager_does_not_change_how_a_command_ends(to_stderr: bool) -> None:
    program = (
        "from tests.cli.test_output import *\n"
        "input()\n"
        f"for _ in range(2): show_usage(usage(line()), summary(), to_stderr={to_stderr})\n"
        "print_json({})"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        if to_stderr:
            process.stderr.close()
        process.stdin.write(b"\n")
        process.stdin.close()
        assert to_stderr or process.stderr.read() == b""
        assert process.wait(120) == 0
