"""What stops or spoils a run, and what a script is told: failures, budgets, empty accounts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import pytest

from prefect_imagine.sandbox import RunningSandbox
from prefect_imagine.sandbox.core.faults import FaultRule
from tests.cli.commands import Shell, assert_contract

LINES = [{"prompt": f"picture {number}"} for number in range(6)]


@pytest.fixture(autouse=True)
def fresh(providers: RunningSandbox) -> Iterator[None]:
    providers.reset()
    yield
    providers.faults.clear()


def prompts_of(providers: RunningSandbox) -> Counter[str]:
    return Counter(job["prompt"] for job in providers.report()["jobs"])


def test_a_failed_item_fails_alone_and_is_retried_when_told_to(
    shell: Shell, providers: RunningSandbox
) -> None:
    providers.faults.add(FaultRule("job_fails", match="picture 3", times=1))
    file = shell.write("some fail.jsonl", "\n".join(map(json.dumps, LINES)))
    words = ("generate", file, "--provider", "aivisualstudio", "--json")
    first = shell.run(*words)
    assert first.code == 1, first.stderr
    found = assert_contract(first)
    assert found["items"] == {
        "total": 6,
        "stored": 5,
        "failed": 1,
        "unknown": 0,
        "under_way": 0,
        "planned": 0,
        "withdrawn": 0,
    }
    assert found["credits"]["charged"] == sum(providers.report()["charged"].values()) == 25
    assert "5 of 6 stored, 1 failed" in first.stderr

    same = shell.run(*words)
    assert (same.code, same.last["items"], same.last["requests"]["create"]) == (1, found["items"], 0)

    again = shell.run("resume", found["batch_id"], "--retry-failed", "--json")
    assert again.code == 0, again.stderr
    assert again.last["items"]["stored"] == 6
    assert again.last["requests"]["create"] == 1
    assert again.last["credits"]["charged"] == sum(providers.report()["charged"].values()) == 30
    assert prompts_of(providers) == {**dict.fromkeys((line["prompt"] for line in LINES), 1), "picture 3": 2}


def test_a_budget_is_kept_and_a_larger_one_goes_on(shell: Shell, providers: RunningSandbox) -> None:
    file = shell.write("dear.jsonl", "\n".join(map(json.dumps, LINES)))
    words = ("generate", file, "--provider", "aivisualstudio", "--json", "--max-credits")
    first = shell.run(*words, "14")
    assert first.code == 3, first.stderr
    found = assert_contract(first)
    assert "max_credits" in found["error"]
    assert found["items"] == {
        "total": 6,
        "stored": 2,
        "failed": 0,
        "unknown": 0,
        "under_way": 0,
        "planned": 4,
        "withdrawn": 0,
    }
    assert found["credits"]["charged"] == sum(providers.report()["charged"].values()) == 10
    assert "2 of 6 stored, 4 planned" in first.stderr

    rest = shell.run(*words, "30")
    assert rest.code == 0, rest.stderr
    assert rest.last["items"]["stored"] == 6
    assert rest.last["requests"]["create"] == 4
    assert set(prompts_of(providers).values()) == {1}
    assert sum(providers.report()["charged"].values()) == 30


def test_a_budget_for_nothing_creates_nothing(shell: Shell, providers: RunningSandbox) -> None:
    file = shell.write("nothing.txt", "a fox\n")
    ended = shell.run("generate", file, "--provider", "imagineapi", "--price", "imagineapi=2", "--json",
                      "--max-credits", "1.99")  # fmt: skip
    assert ended.code == 3
    assert assert_contract(ended)["items"]["planned"] == 1
    assert providers.report()["jobs"] == []


def test_an_empty_account_stops_creating_and_stores_what_flies(
    shell: Shell, providers: RunningSandbox
) -> None:
    file = shell.write("poor.jsonl", "\n".join(map(json.dumps, LINES)))
    words = ("generate", file, "--provider", "imaginelab", "--json")
    providers.configure(credits={"imaginelab": 12})
    try:
        first = shell.run(*words)
    finally:
        providers.configure(credits={"imaginelab": 100_000})
    assert first.code == 3, first.stderr
    found = assert_contract(first)
    assert found["items"] == {
        "total": 6,
        "stored": 2,
        "failed": 0,
        "unknown": 0,
        "under_way": 0,
        "planned": 4,
        "withdrawn": 0,
    }
    assert found["error"]
    assert found["credits"]["charged"] == sum(providers.report()["charged"].values()) == 10

    rest = shell.run("resume", found["batch_id"], "--json")
    assert (rest.code, rest.last["items"]["stored"]) == (0, 6), rest.stderr
    assert set(prompts_of(providers).values()) == {1}


def test_a_lost_answer_is_paid_once(shell: Shell, providers: RunningSandbox) -> None:
    providers.faults.add(FaultRule("cut_after", on="create", match="picture 2", times=1))
    file = shell.write("lost.jsonl", "\n".join(map(json.dumps, LINES)))
    ended = shell.run("generate", file, "--provider", "imagineapi", "--price", "imagineapi=1", "--json")
    assert ended.code == 0, ended.stderr
    assert assert_contract(ended)["items"]["stored"] == 6
    assert set(prompts_of(providers).values()) == {1}
