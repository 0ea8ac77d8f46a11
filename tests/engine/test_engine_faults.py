"""Each fault, one at a time, of all providers at once: every prompt is paid once, stored whole and billed
exactly."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from prefect_imagine.batches.options import Timing
from prefect_imagine.providers.transport import http
from prefect_imagine.sandbox import FaultRule, RateLimit, RunningSandbox
from prefect_imagine.stores import open_store
from tests.engine.engine_runs import Ended, Row, Runs, numbered, rows_of

PROVIDERS = ("imaginelab", "blockadelabs", "imagineapi", "aivisualstudio")
UNHURRIED = Timing(deadline=3.0, create=3.0, settle=0.5)
"""Where creates are counted, none may be lost to a machine that is busy."""


@pytest.fixture
def runs(sandbox: RunningSandbox, tmp_path: Path) -> Runs:
    sandbox.configure(rate_limits={"aivisualstudio": RateLimit()})  # its window of a minute
    return Runs(sandbox, open_store(str(tmp_path / "root")))


def each(count: int) -> list[Row]:
    """So many different prompts for each provider."""
    return [row for provider in PROVIDERS for row in numbered(provider, count)]


def spoil(runs: Runs, fault: str, on: str = "create", **more: Any) -> None:
    """Let each provider have this fault."""
    for provider in PROVIDERS:
        runs.sandbox.faults.add(FaultRule(fault, provider, on, **more))


def assert_ended_well(runs: Runs, ended: Ended, creates: int | None = None) -> None:
    """Everything is stored and right, and each provider has had so many creates."""
    assert ended.summary.exit_code == 0, ended.summary
    if creates is not None:
        assert ended.summary.requests.create == creates * len(PROVIDERS)
        assert runs.creates() == dict.fromkeys(PROVIDERS, creates)
    runs.check()


@pytest.mark.parametrize("fault", ["error_after", "cut_after", "garbage_after"])
async def test_an_answer_lost_after_acceptance(runs: Runs, fault: str) -> None:
    spoil(runs, fault, times=2, skip=1)
    assert_ended_well(runs, await runs.run(each(4), timing=UNHURRIED), creates=4)


@pytest.mark.parametrize("status", [400, 409, 422])
async def test_a_failure_after_acceptance_that_comes_as_a_refusal(runs: Runs, status: int) -> None:
    spoil(runs, "error_after", times=2, status=status)
    assert_ended_well(runs, await runs.run(each(3), timing=UNHURRIED), creates=3)
    again = await runs.run(retry_failed=True)
    assert again.summary.requests.create == 0


@pytest.mark.parametrize("fault", ["error_before", "cut_before"])
async def test_an_answer_lost_before_acceptance(runs: Runs, fault: str) -> None:
    spoil(runs, fault, times=2, skip=1)
    assert_ended_well(runs, await runs.run(each(4), timing=UNHURRIED), creates=6)


@pytest.mark.parametrize("seconds", [0.8, 2.0], ids=["in time", "after the client has given up"])
async def test_slow_acceptance(runs: Runs, seconds: float) -> None:
    spoil(runs, "slow_accept", seconds=seconds, times=2)
    # Acceptance is within the create timeout by the provider's promise; only its answer is late.
    timing = Timing(deadline=1.0, create=1.0, settle=2.0)
    assert_ended_well(runs, await runs.run(each(3), timing=timing))


@pytest.mark.parametrize(
    ("fault", "on", "more"),
    [
        ("rate_limited", "create", {"times": 1, "seconds": 1}),
        ("rate_limited", "list", {"times": 1, "seconds": 1}),
        ("error_before", "list", {"times": 2}),
        ("error_before", "read", {"times": 2}),
        ("garbage_after", "list", {"times": 2}),
        ("cut_after", "list", {"times": 2}),
        ("cut_after", "read", {"times": 2}),
    ],
)
async def test_passing_trouble(runs: Runs, fault: str, on: str, more: dict[str, Any]) -> None:
    spoil(runs, fault, on, **more)
    assert_ended_well(runs, await runs.run(each(3)))


@pytest.mark.parametrize(
    "fault", ["html", "truncated", "cut_body", "empty", "wrong_type", "no_length", "expired_url"]
)
async def test_a_spoilt_download(runs: Runs, fault: str) -> None:
    spoil(runs, fault, "media", times=2)
    assert_ended_well(runs, await runs.run(each(3), timing=UNHURRIED), creates=3)


async def test_a_download_that_stays_spoilt_is_stored_by_a_later_run(runs: Runs) -> None:
    rows = numbered("aivisualstudio", 2)
    runs.sandbox.faults.add(FaultRule("truncated", on="media", match="picture 1"))
    ended = await runs.run(rows)
    assert (ended.summary.exit_code, ended.summary.items.stored, ended.summary.items.failed) == (1, 1, 1)
    assert len(runs.outputs()) == 1, "nothing that is not whole"
    runs.sandbox.faults.clear()
    ended = await runs.run(rows)
    assert (ended.summary.exit_code, ended.summary.requests.create) == (0, 0)
    runs.check()


async def test_an_expired_token_is_renewed(runs: Runs) -> None:
    runs.sandbox.faults.add(FaultRule("expired_token", "imaginelab", "create", times=2))
    runs.sandbox.faults.add(FaultRule("expired_token", "imaginelab", "list", times=1))
    ended = await runs.run(numbered("imaginelab", 4))
    assert ended.summary.exit_code == 0
    runs.check()


async def test_a_history_that_lags_less_than_settle(runs: Runs) -> None:
    runs.sandbox.configure(history_lag_seconds=0.9)
    spoil(runs, "cut_after", times=2)
    timing = Timing(deadline=0.5, create=1.0, settle=1.0)
    assert_ended_well(runs, await runs.run(each(3), timing=timing), creates=3)


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_clock_that_is_an_hour_off(runs: Runs, hours: int) -> None:
    runs.sandbox.configure(clock_offset_seconds=3600.0 * hours)
    spoil(runs, "cut_after", times=1)
    spoil(runs, "cut_before", times=1, skip=1)
    assert_ended_well(runs, await runs.run(each(3), timing=UNHURRIED), creates=4)


async def test_the_same_prompt_three_times(runs: Runs) -> None:
    spoil(runs, "cut_after", times=1, skip=1)
    spoil(runs, "cut_before", times=1, skip=2)
    rows = [row for provider in PROVIDERS for row in rows_of(provider, "same", "same", "same")]
    assert_ended_well(runs, await runs.run(rows))
    for provider in PROVIDERS:
        assert runs.accepted(provider) == {"same": 3}


@pytest.mark.parametrize("mode", ["missing", "capped"])
async def test_a_history_that_cannot_tell_leaves_the_item_unknown(runs: Runs, mode: str) -> None:
    runs.sandbox.configure(history_mode="bare" if mode == "missing" else mode)
    if mode == "capped":  # twenty others' jobs are all that is shown
        await runs.run(numbered("imaginelab", 21), batch="before")
    runs.sandbox.configure(history_mode=mode)
    runs.sandbox.faults.add(FaultRule("cut_before", "imaginelab", "create", times=1))
    rows = rows_of("imaginelab", "a", "b")
    ended = await runs.run(rows)
    assert (ended.summary.exit_code, ended.summary.items.unknown, ended.summary.items.stored) == (1, 1, 1)
    assert ended.summary.credits.possible > 0
    again = await runs.run(rows)
    assert (again.summary.exit_code, again.summary.requests.create) == (1, 0), "never sent again"
    accepted = runs.accepted("imaginelab")
    assert accepted.get("a", 0) + accepted.get("b", 0) == 1
    final = await runs.run(rows, recreate_unknown=True)
    assert final.summary.exit_code == 0
    runs.check()


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_process_that_freezes_between_head_and_body_sends_nothing_late(
    runs: Runs, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request has two parts: the deadline must hold for the one that completes it."""
    ask = http._Sending.__call__
    parts: Counter[http._Sending] = Counter()

    def freeze(self: http._Sending) -> None:
        parts[self] += 1
        if parts[self] == 2 and len(parts) == 1:
            time.sleep(1.2)  # the whole process stands still
        ask(self)

    monkeypatch.setattr(http._Sending, "__call__", freeze)
    await runs.run(numbered(provider, 1))
    segments = [runs.store.read(found.key) or b"" for found in runs.store.list("batch/journal/")]
    assert 2 in parts.values()
    assert b'"not_sent"' in b"".join(segments), (
        "it was sent after its deadline, when another process may have sent it again"
    )
    runs.check()


@pytest.mark.parametrize(("times", "fetches"), [(2, 0), (4, 1)])
async def test_a_cdn_that_has_an_output_late_costs_no_request_a_try(
    runs: Runs, times: int, fetches: int
) -> None:
    runs.sandbox.faults.add(FaultRule("error_before", "imaginelab", "media", times=times, status=404))
    ended = await runs.run(numbered("imaginelab", 1))
    assert (ended.summary.exit_code, ended.summary.requests.fetch) == (0, fetches)
    runs.check()
