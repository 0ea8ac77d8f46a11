"""`credits --balances` holds what became of an account against the books: the sandbox's own are the judge."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from prefect_imagine.batches.accounts.marks import BALANCES
from prefect_imagine.sandbox import RunningSandbox
from prefect_imagine.sandbox.core.faults import FaultRule
from tests.cli.commands import Ended, Shell

OPENING = 1000
Told = dict[str, Any]


@pytest.fixture(autouse=True)
def fresh(providers: RunningSandbox) -> Iterator[None]:
    providers.reset()
    providers.configure(credits={"imaginelab": OPENING})
    yield
    providers.faults.clear()


@pytest.fixture
def account(providers: RunningSandbox) -> dict[str, str]:
    """The keys of an account that no other test uses."""
    return providers.environment_of(uuid4().hex[:8])


@pytest.fixture
def spend(shell: Shell, account: dict[str, str]) -> Callable[..., Ended]:
    """Makes some pictures, for 5 credits each, under a root."""

    def spend(root: Path, count: int, *words: str, code: int = 0, keys: dict[str, str] = account) -> Ended:
        line = {"prompt": "a fox", "provider": "imaginelab", "count": count}
        file = shell.write(f"{uuid4().hex}.jsonl", json.dumps(line))
        ended = shell.run("generate", file, "--output", root, *words, "--json", **keys)
        assert ended.code == code, ended.stderr
        return ended

    return spend


@pytest.fixture
def report(bare_shell: Shell, account: dict[str, str], tmp_path: Path) -> Callable[..., Told]:
    """What a report says of the account."""

    def report(*words: str, root: Path = tmp_path, keys: dict[str, str] = account) -> Told:
        ended = bare_shell.run("credits", "--balances", "--output", root, *words, "--json", **keys)
        assert ended.code == 0, ended.stderr
        for each in ended.last["statements"]:
            assert f"imaginelab: {each['note']}" in ended.stderr
        return ended.last

    return report


def only(told: Told) -> Told:
    [statement] = told["statements"]
    return dict(statement)


def rest(told: Told) -> tuple[int, int | None, int | None]:
    """What the books charged, what they do not explain, and what was added."""
    return only(told)["charged"], only(told)["unexplained"], only(told)["added"]


def test_the_books_of_all_batches_explain_the_fall_of_a_balance(
    spend: Callable[..., Ended], report: Callable[..., Told], tmp_path: Path
) -> None:
    assert report()["statements"] == []  # the account was never used here
    assert not list(tmp_path.rglob("*"))
    spend(tmp_path, 1)
    first = only(report())
    assert (first["balance"], first["since"], first["unexplained"]) == (OPENING - 5, None, None)
    spend(tmp_path, 2)
    spend(tmp_path, 1)
    told = report()
    assert rest(told) == (15, 0, 0)
    assert (only(told)["before"], only(told)["balance"]) == (OPENING - 5, OPENING - 20)
    assert "the balance fell by 15, and the books charged 15 credits: 0 are unexplained" in only(told)["note"]
    assert rest(report("--days", "1")) == (0, 0, 0)
    [mark] = (tmp_path / BALANCES).iterdir()
    assert mark.stat().st_size < 1000


def test_a_purchase_elsewhere_is_unexplained_once(
    spend: Callable[..., Ended], report: Callable[..., Told], tmp_path: Path
) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    spend(here, 1)
    before = report(root=here)["statements"][0]
    spend(here, 1)
    spend(elsewhere, 2)
    told = report(root=here)
    assert rest(told) == (5, 10, 0)
    note = only(told)["note"]
    assert note.endswith("10 are unexplained: use of the account elsewhere")
    assert before["since"] is None
    assert only(told)["since"] is not None
    assert rest(report(root=here)) == (0, 0, 0)


def test_a_top_up_is_no_negative_spending(
    spend: Callable[..., Ended], report: Callable[..., Told], providers: RunningSandbox, tmp_path: Path
) -> None:
    spend(tmp_path, 1)
    report()
    providers.configure(credits={"imaginelab": OPENING + 500})
    spend(tmp_path, 1)
    told = report()
    assert rest(told) == (5, 0, 500)
    assert "the balance rose by 495" in only(told)["note"]
    assert "500 were added, or came back: a top-up or refunds that no record shows" in only(told)["note"]


def test_a_refund_that_comes_after_a_report_is_in_the_difference(
    spend: Callable[..., Ended],
    report: Callable[..., Told],
    shell: Shell,
    account: dict[str, str],
    providers: RunningSandbox,
    tmp_path: Path,
) -> None:
    providers.configure(latency={"image": (3600, 3600)})
    providers.faults.add(FaultRule("job_fails", times=1))
    try:
        spend(tmp_path, 3, "--detach")
        assert only(report())["balance"] == OPENING - 15
        providers.advance(4000)
        ended = shell.run("collect", "--output", tmp_path, "--json", **account)
        assert ended.code in (0, 1), ended.stderr
    finally:
        providers.configure(latency={"image": (0.05, 0.2)})
    told = report()
    assert only(told)["balance"] == OPENING - 10
    assert rest(told) == (-5, 0, 0)
    assert "the balance rose by 5, and the books gave 5 credits back: 0 are unexplained" in only(told)["note"]


def test_jobs_under_way_are_named_where_something_is_unexplained(
    spend: Callable[..., Ended], report: Callable[..., Told], providers: RunningSandbox, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    spend(here, 1)
    report(root=here)
    spend(tmp_path / "elsewhere", 1)
    providers.configure(latency={"image": (3600, 3600)})
    try:
        spend(here, 2, "--detach")
    finally:
        providers.configure(latency={"image": (0.05, 0.2)})
    told = report(root=here)
    assert rest(told) == (10, 5, 0)
    assert (
        "charges of the moment (2 jobs were under way now) or use of the account elsewhere"
        in (only(told)["note"])
    )


def test_what_two_accounts_were_charged_is_not_told_apart(
    spend: Callable[..., Ended], report: Callable[..., Told], providers: RunningSandbox, tmp_path: Path
) -> None:
    other = providers.environment_of(uuid4().hex[:8])
    spend(tmp_path, 1)
    spend(tmp_path, 1, keys=other)
    report()
    spend(tmp_path, 1)
    assert rest(report()) == (5, 0, 0)  # of the other account nothing new was asked
    spend(tmp_path, 1)
    spend(tmp_path, 1, keys=other)
    told = report()
    assert rest(told) == (10, None, None)
    assert "1 more of imaginelab's accounts was used here" in only(told)["note"]


def test_zero_of_a_key_that_may_not_see_its_balance_is_not_told(
    spend: Callable[..., Ended],
    report: Callable[..., Told],
    bare_shell: Shell,
    providers: RunningSandbox,
    tmp_path: Path,
) -> None:
    blind = providers.environment_of(f"{uuid4().hex[:8]}-blind")
    ended = spend(tmp_path, 1, keys=blind)
    assert "credits before" not in ended.stderr
    told = report(keys=blind)
    [balance] = [each for each in told["balances"] if each["provider"] == "imaginelab"]
    assert (balance["credits"], balance["note"].partition(":")[0]) == (None, "not told")
    assert told["statements"] == []
    ended = bare_shell.run("balance", "imaginelab", "--json", **blind)
    assert ended.last["note"].startswith("0 is also what a key that may not see")


def test_zero_of_an_account_that_had_more_is_empty(
    spend: Callable[..., Ended], report: Callable[..., Told], providers: RunningSandbox, tmp_path: Path
) -> None:
    providers.configure(credits={"imaginelab": 10})
    ended = spend(tmp_path, 2)
    assert "10 credits before, 0 after" in ended.stderr
    told = report()
    [balance] = [each for each in told["balances"] if each["provider"] == "imaginelab"]
    assert balance["credits"] == only(told)["balance"] == 0
