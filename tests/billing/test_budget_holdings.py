"""Budgets without a run: their periods, and the sequence of what all hold."""

from __future__ import annotations

import random
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import get_args
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from prefect_imagine.billing.budgets.budget import Budget, read_budgets, remove_budget, set_budget
from prefect_imagine.billing.budgets.holdings import NOTHING, Holding, Holdings
from prefect_imagine.billing.budgets.periods import PeriodKind, period_of
from prefect_imagine.billing.budgets.sequence import KEPT, read_holdings, write_holdings
from prefect_imagine.billing.budgets.standing import standings_of
from prefect_imagine.billing.budgets.thresholds import reached
from prefect_imagine.errors import StoreError
from prefect_imagine.sandbox.server.s3 import S3Server
from prefect_imagine.stores import Store, open_store

AT = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


def budget(**more: object) -> Budget:
    return Budget.model_validate(
        {"name": "team", "limits": {"p": 100}, "period": "total", "set_at": AT, **more}
    )


def holding(spent: int, reserved: int = 0, claim: int = 1) -> Holding:
    return Holding(claim=claim, charged={"p": Decimal(spent)}, reserved={"p": Decimal(reserved)})


def change(store: Store, known: Holdings, holder: str, spent: int) -> Holdings | None:
    changed = known.with_holders({holder: holding(spent)})
    return write_holdings(store, "team", "total", known, changed, AT)


def thresholds(holdings: Holdings, denied: Collection[str] = (), **more: object) -> list[int]:
    told = reached(budget(**more), period_of("total", UTC, AT), holdings, denied)
    return [each.percent for each in told]


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return open_store(str(tmp_path / "root"))
    aws: S3Server = request.getfixturevalue("aws")
    return open_store(f"s3://{aws.make_bucket()}/root")


class TestPeriods:
    """They begin at midnight of their zone, also where a day has 23 or 25 hours."""

    @pytest.mark.parametrize(
        ("kind", "name", "hours"),
        [("day", "2026-03-29", 23), ("week", "2026-W13", 7 * 24 - 1), ("month", "2026-03", 31 * 24 - 1)],
    )
    def test_with_the_clocks_put_forward(self, kind: PeriodKind, name: str, hours: int) -> None:
        period = period_of(kind, BERLIN, AT)
        assert period.start is not None
        assert period.end is not None
        assert (period.name, period.end - period.start) == (name, timedelta(hours=hours))
        assert period.holds(AT)
        assert not period.holds(period.end)

    def test_each_moment_belongs_to_one_of_each_kind(self) -> None:
        dice = random.Random(1)
        for _ in range(2000):
            at = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=dice.randrange(10 * 365 * 86400))
            for kind in get_args(PeriodKind):
                period = period_of(kind, BERLIN, at)
                assert period.holds(at)
                if period.end is not None:
                    following = period_of(kind, BERLIN, period.end)
                    assert (following.start, following.name > period.name) == (period.end, True)

    def test_weeks_of_a_year_s_end_are_in_order(self) -> None:
        names = [
            period_of("week", UTC, datetime(2026, 12, 28, tzinfo=UTC) + timedelta(days=7 * n)).name
            for n in range(2)
        ]
        assert names == ["2026-W53", "2027-W01"]


class TestBudgets:
    """What may be set, and that nobody forgets what cannot be read."""

    @pytest.mark.parametrize(
        "wrong",
        [
            {"name": "a/b"},
            {"name": ""},
            {"limits": {}},
            {"limits": {"p": -1}},
            {"time_zone": "Mars/Base"},
            {"period": "year"},
        ],
    )
    def test_what_makes_no_sense_is_refused(self, wrong: dict[str, object]) -> None:
        with pytest.raises(ValidationError):
            budget(**wrong)

    def test_they_are_set_replaced_and_removed(self, store: Store) -> None:
        set_budget(store, budget())
        set_budget(store, budget(name="other", labels={"client": "acme"}))
        set_budget(store, budget(limits={"p": 5}))
        assert [(each.name, each.limits["p"]) for each in read_budgets(store)] == [
            ("other", 100),
            ("team", 5),
        ]
        assert remove_budget(store, "team")
        assert not remove_budget(store, "team")
        assert [each.name for each in read_budgets(store)] == ["other"]

    def test_one_that_cannot_be_read_stops_everybody(self, store: Store) -> None:
        store.put(".imagine/budgets.json", b'{"format": 2}')
        with pytest.raises(StoreError, match="nothing may be created"):
            read_budgets(store)

    def test_labels_have_to_be_there_all(self) -> None:
        wanted = budget(labels={"client": "acme", "team": "birds"})
        assert wanted.concerns("p", {"client": "acme", "team": "birds", "more": "x"})
        assert not wanted.concerns("p", {"client": "acme"})
        assert not wanted.concerns("q", {"client": "acme", "team": "birds"})


class TestSequence:
    """No change is lost, and none is made to what somebody else has changed."""

    def test_who_comes_too_late_changes_nothing(self, store: Store) -> None:
        first = change(store, NOTHING, "a", 1)
        assert first is not None
        assert change(store, NOTHING, "b", 1) is None
        assert read_holdings(store, "team", "total") == first
        assert read_holdings(store, "team", "total", first) is first

    def test_many_at_once_lose_nothing(self, store: Store) -> None:
        each, workers = 12, 6

        def add(number: int) -> None:
            known = NOTHING
            for count in range(1, each + 1):
                written = None
                while written is None:
                    known = read_holdings(store, "team", "total", known)
                    written = change(store, known, f"w{number}", count)
                known = written

        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(add, range(workers)))
        found = read_holdings(store, "team", "total")
        assert (found.seq, int(found.of("p"))) == (each * workers, each * workers)

    def test_who_sleeps_until_its_place_is_removed_changes_nothing(self, store: Store) -> None:
        slept = known = Holdings()
        for count in range(KEPT + 5):
            written = write_holdings(
                store, "team", "total", known, known.with_holders({"a": holding(count)}), AT
            )
            assert written is not None
            known = written
            if count == 1:
                slept = known
        assert store.read(".imagine/budgets/team/total/0000000003.json") is None, "its place is free"
        assert change(store, slept, "b", 50) is None
        assert read_holdings(store, "team", "total") == known
        assert len(list(store.list(".imagine/budgets/team/total/"))) == KEPT

    def test_a_damaged_one_is_no_empty_one(self, store: Store) -> None:
        store.put(".imagine/budgets/team/total/0000000001.json", b"{")
        with pytest.raises(StoreError, match="cannot be read"):
            read_holdings(store, "team", "total")

    def test_what_is_told_of_it(self, store: Store) -> None:
        holdings = NOTHING.with_holders({"a": holding(60, 10), "b": holding(20)})
        [line] = standings_of(budget(), holdings, AT + timedelta(days=8))
        assert (line.charged, line.reserved, line.left, line.spent) == (80, 10, 10, 80)
        assert line.used_up_at == AT + timedelta(days=10)


class TestThresholds:
    """Each is announced once in a period, and nothing when nothing may be spent anyway."""

    def test_all_that_were_jumped_over(self) -> None:
        holdings = NOTHING.with_holders({"a": holding(96)})
        assert [each.percent for each in reached(budget(), period_of("total", UTC, AT), holdings)] == [
            50,
            80,
            95,
        ]
        holdings = holdings.with_warning("p", 80)
        assert [each.percent for each in reached(budget(), period_of("total", UTC, AT), holdings)] == [95]

    def test_what_no_create_fits_into_is_used_up(self) -> None:
        assert thresholds(NOTHING.with_holders({"a": holding(60)}), denied={"p"}) == [50, 100]

    def test_a_limit_of_nothing_is_reached_by_a_denial_alone(self) -> None:
        assert thresholds(NOTHING, limits={"p": 0}) == []
        assert thresholds(NOTHING, denied={"p"}, limits={"p": 0}) == [100]
