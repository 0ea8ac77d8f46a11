"""What credits cost in money: on the command line, in the bill, in the report, and over all batches."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from prefect_imagine.sandbox import RunningSandbox
from tests.cli.commands import Shell, assert_refused

EURO = ("--credit-price", "imaginelab=0.012EUR@2026-11-01", "--credit-price", "blockadelabs=0.5USD")
LINES: list[dict[str, Any]] = [
    {"prompt": "a heron", "provider": "imaginelab", "count": 3, "labels": {"team": "birds"}},
    {"prompt": "a pond", "provider": "blockadelabs", "labels": {"team": "birds"}},
]
LAB = {
    "provider": "imaginelab",
    "currency": "EUR",
    "per_credit": "0.012",
    "as_of": "2026-11-01",
    "source": "list",
}
SKYBOX = {
    "provider": "blockadelabs",
    "currency": "USD",
    "per_credit": "0.5",
    "as_of": None,
    "source": "list",
}


def exact(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same with amounts as numbers, whatever their digits."""
    kinds = ("charged", "estimated", "possible")
    return [
        {name: Decimal(value) if name in kinds else value for name, value in entry.items()}
        for entry in entries
    ]


@pytest.fixture(scope="module")
def root(shell: Shell, providers: RunningSandbox) -> Path:
    """A batch with prices of credits, a batch without, and one of which half has them."""
    providers.reset()
    file = shell.write("birds.jsonl", "\n".join(map(json.dumps, LINES)))
    plain = shell.write("plain.jsonl", json.dumps(LINES[0] | {"count": 1}))
    half = shell.write("half.jsonl", json.dumps(LINES[0] | {"count": 1}))
    for words in ((file, "--price", "blockadelabs=2", *EURO), (plain,), (half,)):
        assert shell.run("generate", *words).code == 0
    shell.write("half.jsonl", json.dumps(LINES[0] | {"count": 3}))
    assert shell.run("generate", half, *EURO).code == 0
    return shell.folder / "outputs"


def test_a_dry_run_tells_amounts_beside_credits(bare_shell: Shell, providers: RunningSandbox) -> None:
    file = bare_shell.write("dry.jsonl", "\n".join(map(json.dumps, LINES)))
    words = ("generate", file, "--price", "blockadelabs=2", *EURO, "--dry-run", "--json")
    ended = bare_shell.run(*words)
    assert ended.code == 0, ended.stderr
    assert exact(ended.last["money"]) == [
        {**LAB, "charged": 0, "estimated": Decimal("0.18")},
        {**SKYBOX, "charged": 0, "estimated": 1},
    ]
    assert "0.18 EUR (price list, as of 2026-11-01)" in ended.stderr
    assert "1.00 USD (price list)" in ended.stderr


def test_without_a_price_of_credits_nothing_is_said_of_money(bare_shell: Shell) -> None:
    ended = bare_shell.run("generate", bare_shell.write("no.txt", "a fox\n"), "--provider", "imaginelab",
                           "--dry-run", "--json")  # fmt: skip
    assert "money" not in ended.last
    assert "money" not in ended.stderr


def test_the_bill_holds_what_was_charged_by_the_price_of_then(
    shell: Shell, root: Path, providers: RunningSandbox
) -> None:
    bill = json.loads((root / "birds" / "usage.json").read_text())
    lab, skybox = bill["by_provider"]
    assert exact([lab["money"][0] | {"provider": "imaginelab"}]) == [
        {**LAB, "charged": Decimal("0.18"), "estimated": 0, "possible": 0}
    ]
    assert exact([skybox["money"][0] | {"provider": "blockadelabs"}]) == [
        {**SKYBOX, "charged": 0, "estimated": 1, "possible": 0}
    ]
    same = shell.run("resume", "birds", "--credit-price", "imaginelab=9EUR", "--json")
    assert exact(same.last["money"]) == [
        {**LAB, "charged": Decimal("0.18"), "estimated": 0},
        {**SKYBOX, "charged": 0, "estimated": 1},
    ]
    assert "0.18 EUR (price list)" in same.stderr
    assert "imaginelab: 0.012 EUR a credit (price list, as of 2026-11-01)" in same.stderr


def test_credits_without_a_price_are_counted_beside(root: Path) -> None:
    page = (root / "half" / "report.html").read_text()
    assert "0.12 EUR (price list)" in page
    assert "imaginelab: 5 charged credits have no price in money" in page
    assert "a credit" not in (root / "plain" / "report.html").read_text()


def test_over_all_batches_amounts_are_added_by_currency_and_source(
    keyless: Shell, root: Path, providers: RunningSandbox
) -> None:
    charged = providers.report(jobs=False)["charged"]["imaginelab"]
    words = ("credits", "--output", root)
    ended = keyless.run(*words, "--json")
    skybox, lab = ended.last["lines"]
    assert lab["charged"] == charged == 35
    assert [(each["currency"], each["source"], Decimal(each["charged"])) for each in lab["money"]] == [
        ("EUR", "list", Decimal("0.3"))
    ]
    assert [(each["currency"], Decimal(each["estimated"])) for each in skybox["money"]] == [
        ("USD", Decimal(1))
    ]
    assert "imaginelab: 10 charged credits have no price in money" in ended.stderr
    given = keyless.run(*words, "--credit-price", "imaginelab=0.1EUR", "--json")
    assert [(each["source"], Decimal(each["charged"])) for each in given.last["lines"][1]["money"]] == [
        ("given", Decimal(1)),
        ("list", Decimal("0.3")),
    ]
    assert "1.00 EUR (given afterwards), 0.30 EUR (price list)" in given.stderr
    assert "no price in money" not in given.stderr


def test_a_spreadsheet_gets_a_column_for_each_currency_and_source(keyless: Shell, root: Path) -> None:
    ended = keyless.run("credits", "--output", root, "--by", "label", "--csv")
    [line] = csv.DictReader(io.StringIO(ended.stdout, newline=""), strict=True)
    assert line["label"] == "team=birds"
    assert [Decimal(line[name]) for name in ("charged_EUR_list", "estimated_USD_list")] == [Decimal("0.3"), 1]
    assert Decimal(line["charged_USD_list"]) == 0


@pytest.mark.parametrize(
    ("price", "says"),
    [
        ("imaginelab=5", "imaginelab=0.01EUR"),
        ("nobody=0.01EUR", "PROVIDER=VALUE"),
        ("imaginelab=0EUR", "per_credit"),
        ("imaginelab=0.01eur", "currency"),
        ("imaginelab=0.01EUR@soon", "as_of"),
        ("imaginelab=1.2.3EUR", "per_credit"),
    ],
)
def test_a_price_that_says_nothing_is_refused(bare_shell: Shell, price: str, says: str) -> None:
    file = bare_shell.write("bad.txt", "a fox\n")
    words = ("generate", file, "--provider", "imaginelab", "--credit-price", price, "--dry-run", "--json")
    assert_refused(bare_shell.run(*words), says)
