"""`credits`: what the credit report shows, on a terminal and as CSV and JSON, without Prefect and keys."""

from __future__ import annotations

import csv
import io
import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from prefect_imagine.sandbox import RunningSandbox
from prefect_imagine.tasks.bookkeeping import read_ledger
from prefect_imagine.tasks.credit_report import render
from tests.cli.commands import Ended, Shell, assert_refused

SUMS = ("charged", "estimated", "possible")


def rows(provider: str, count: int, **labels: str) -> str:
    lines = [
        {"prompt": f"{provider} {each}", "provider": provider, "labels": labels} for each in range(count)
    ]
    return "".join(f"{json.dumps(line)}\n" for line in lines)


@pytest.fixture(scope="module")
def root(shell: Shell) -> Path:
    """Two batches over three providers, one of which tells no cost, with an item that failed."""
    first = rows("imaginelab", 3, team="=a|b", **{"=1+1": "x"}) + rows("aivisualstudio", 2, team="c")
    refused = json.dumps({"prompt": "forbidden-content", "provider": "imaginelab", "labels": {"team": "c"}})
    second = rows("blockadelabs", 2, team="c") + refused
    for name, text in (("one", first), ("two", second)):
        ended = shell.run(
            "generate", shell.write(f"{name}.jsonl", text), "--price", "blockadelabs=2", "--json"
        )
        assert ended.code in (0, 1), ended.stderr
    return shell.folder / "outputs"


def told(keyless: Shell, root: Path, *words: str) -> Ended:
    ended = keyless.run("credits", "--output", root, *words)
    assert ended.code == 0, ended.stderr
    return ended


def lines_by(keyless: Shell, root: Path, by: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = told(keyless, root, "--by", by, "--json").last["lines"]
    return found


def test_the_sums_are_the_providers_books(keyless: Shell, root: Path, providers: RunningSandbox) -> None:
    charged = providers.report(jobs=False)["charged"]
    lines = {line["provider"]: line for line in lines_by(keyless, root, "provider")}
    assert set(lines) == {"imaginelab", "aivisualstudio", "blockadelabs"}
    assert lines["imaginelab"]["charged"] == charged["imaginelab"] > 0
    assert lines["aivisualstudio"]["charged"] == charged["aivisualstudio"] > 0
    assert (lines["blockadelabs"]["charged"], lines["blockadelabs"]["estimated"]) == (0, 4)
    assert (lines["imaginelab"]["items"], lines["imaginelab"]["failed"]) == (4, 1)
    days = lines_by(keyless, root, "day")
    for provider, line in lines.items():
        of_provider = [each for each in days if each["provider"] == provider]
        assert {name: sum(each[name] for each in of_provider) for name in SUMS} == {
            name: line[name] for name in SUMS
        }


async def test_it_shows_what_the_credit_report_shows(keyless: Shell, root: Path) -> None:
    now = datetime.now(UTC)
    page = render(await read_ledger.fn(str(root), None, 30, now), now.date())
    for by in ("model", "label"):
        section = page.partition(f"## Spent by {by}\n")[2].partition("\n## ")[0]
        table = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
        head, _, *cells = [[cell.replace("\\|", "|").replace("\\", "") for cell in line] for line in table]
        shown = [dict(zip(head, line, strict=True)) for line in cells]
        assert shown
        lines = lines_by(keyless, root, by)
        assert shown == [{name: str(line[name.replace(" ", "_")]) for name in head} for line in lines]


def test_people_see_a_table_of_the_days_that_are_meant(keyless: Shell, root: Path) -> None:
    shown = told(keyless, root, "--by", "label", "--days", "1", "--time-zone", "Pacific/Kiritimati")
    title, head, _, *lines = shown.stdout.splitlines()
    today = (datetime.now(UTC) + timedelta(hours=14)).date()
    assert title.startswith(
        f"Credits by label, from {today - timedelta(days=1)} to {today} (Pacific/Kiritimati)"
    )
    assert title.endswith(", 2 batches")
    assert head.split() == ["label", "items", "stored", "failed", "under", "way", *SUMS, "unpriced"]
    assert [line.split()[0] for line in lines] == ["=1+1=x", "team==a|b", "team=c"]
    assert "an item with two labels is in two lines" in shown.stderr


@pytest.mark.parametrize("by", ["model", "label", "provider", "day"])
def test_csv_has_the_same_lines(keyless: Shell, root: Path, by: str) -> None:
    ended = told(keyless, root, "--by", by, "--csv")
    found = list(csv.DictReader(io.StringIO(ended.stdout, newline=""), strict=True))
    lines = [{name: str(value) for name, value in line.items()} for line in lines_by(keyless, root, by)]
    for line in lines:
        line[by] = line[by].replace("=1+1=x", "'=1+1=x")  # which a spreadsheet would compute
    assert found == lines
    assert "Credits by" in ended.stderr


def test_balances_are_asked_for_on_request_alone(
    keyless: Shell, shell: Shell, root: Path, providers: RunningSandbox
) -> None:
    assert "balances" not in told(keyless, root, "--json").last
    assert told(keyless, root, "--balances", "--json").last["balances"] == []
    ended = shell.run("credits", "--output", root, "--balances", "--json")
    found = {each["provider"]: each for each in ended.last["balances"]}
    assert found["imaginelab"]["credits"] == 100_000 - providers.report(jobs=False)["charged"]["imaginelab"]
    assert found["imaginelab"]["charged_a_day"] > 0
    assert (found["imagineapi"]["credits"], found["imagineapi"]["note"]) == (
        None,
        "the provider reports none",
    )
    assert "lasts" in ended.stderr


def test_a_batch_that_cannot_be_read_is_told_and_in_no_sum(
    keyless: Shell, root: Path, tmp_path: Path
) -> None:
    copied = shutil.copytree(root, tmp_path / "root")
    (copied / "broken").mkdir()
    shutil.copytree(copied / "one" / "journal", copied / "broken" / "journal")
    (copied / "broken" / "plan.jsonl").write_text("{")
    ended = keyless.run("credits", "--output", copied, "--json")
    assert ended.code == 1
    assert [each["batch_id"] for each in ended.last["left_out"]] == ["broken"]
    assert len(ended.errors) == 1
    assert ended.last["lines"] == told(keyless, root, "--json").last["lines"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--by", "colour"), "there is no grouping 'colour'"),
        (("--days", "0"), "days are above 0"),
        (("--days", "1e9"), "days are above 0"),
        (("--time-zone", "Mars"), "there is no time zone 'Mars'"),
        (("--json", "--csv"), "--json does not go with --csv"),
    ],
)
def test_bad_input_is_refused(keyless: Shell, words: tuple[str, ...], says: str) -> None:
    assert_refused(keyless.run("credits", *words, "--json"), says)


def test_no_batches_are_no_lines(keyless: Shell, tmp_path: Path) -> None:
    assert lines_by(keyless, tmp_path, "provider") == []
