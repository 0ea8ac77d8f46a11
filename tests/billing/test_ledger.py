"""The bill over many batches equals the bills of the batches, day by day."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, time, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.batches.journal import Journal
from prefect_imagine.batches.plan import BatchItem, Plan, write_plan
from prefect_imagine.batches.records import Claim, Created, Intent
from prefect_imagine.batches.state import BatchState, Charge, ItemState, Phase
from prefect_imagine.billing.account_books import AccountBooks
from prefect_imagine.billing.ledger import Ledger, LedgerLine, daily
from prefect_imagine.billing.spending import CreditReport, spent
from prefect_imagine.providers.balances import AccountBalance
from prefect_imagine.providers.models import Balance, Estimate, GenerationKind, GenerationRequest
from prefect_imagine.stores import open_store
from prefect_imagine.tasks.bookkeeping import read_ledger
from prefect_imagine.tasks.credit_report import render, sparkline

TODAY = date(2026, 3, 20)


def _batch(batch_id: str, *rows: tuple[str, ItemState]) -> tuple[Plan, BatchState]:
    items = [
        BatchItem(
            index=index,
            item_id=f"{batch_id}{index}",
            asked="",
            request=GenerationRequest(
                provider="imaginelab",
                kind=GenerationKind.IMAGE,
                model="m",
                prompt="p",
                labels={"team": label} if label else {},
            ),
            estimate=Estimate(credits=5, source="catalog"),
        )
        for index, (label, _) in enumerate(rows, start=1)
    ]
    states = {index: state for index, (_, state) in enumerate(rows, start=1)}
    return Plan(batch_id, datetime(2026, 3, 1, tzinfo=UTC), tuple(items)), BatchState(states)


def _stored(at: datetime, credits: float | None = 0.1) -> ItemState:
    return ItemState(phase=Phase.STORED, intent_at=at, charges=(Charge("j", credits),))


def _report(ledger: Ledger, *balances: AccountBalance) -> CreditReport:
    return CreditReport(ledger, AccountBooks(balances, _at(20)))


def _at(day: int, hour: int = 12) -> datetime:
    return datetime(2026, 3, day, hour, tzinfo=UTC)


def test_days_go_by_the_local_calendar_and_amounts_stay_exact() -> None:
    ledger = Ledger(date(2026, 3, 18), ZoneInfo("Europe/Berlin"))
    ledger.add(*_batch("a", ("x", _stored(_at(19, 23))), ("x", _stored(_at(19))), ("", _stored(_at(17)))))
    ledger.add(*_batch("b", ("y", _stored(_at(20))), ("", _stored(_at(20), None)), ("", ItemState())))
    lines = {line.day.day: line for line in ledger.by_model}
    assert set(lines) == {19, 20}  # the 17th is before the first day, and what was never tried costs nothing
    assert (lines[19].items, lines[19].charged) == (1, 0.1)
    assert (lines[20].items, lines[20].charged, lines[20].estimated) == (3, 0.2, 5)
    assert [(line.day.day, line.name, line.charged) for line in ledger.by_label] == [
        (20, "team=x", 0.1),
        (20, "team=y", 0.1),
        (19, "team=x", 0.1),
    ]
    assert daily(ledger.by_model, "charged", TODAY, 3) == [0, 0.1, 0.2]


def test_failed_and_unknown_items_are_counted_with_what_they_may_have_cost() -> None:
    ledger = Ledger(date(2026, 3, 1), UTC)
    failed = ItemState(phase=Phase.FAILED, intent_at=_at(20), charges=(Charge("j", 5, "unknown"),))
    unknown = ItemState(phase=Phase.UNKNOWN, intent_at=_at(20))
    ledger.add(*_batch("a", ("", failed), ("", unknown)))
    (line,) = ledger.by_model
    assert (line.failed, line.unknown, line.charged, line.possible) == (1, 1, 5, 5)


def test_the_page_tells_what_is_left_and_how_long_it_lasts() -> None:
    ledger = Ledger(TODAY - timedelta(days=30), UTC)
    for day in range(14, 21):
        ledger.add(*_batch(f"b{day}", ("<b>|`x`", _stored(_at(day), 10))))
    balances = [
        AccountBalance("imaginelab", Balance(provider="imaginelab", credits=100)),
        AccountBalance("imagineapi", None, "the provider reports none"),
    ]
    page = render(_report(ledger, *balances), TODAY)
    assert "| imaginelab | 100 | 10.0 | 10 days |" in page
    assert "| imagineapi | the provider reports none |" in page
    assert "| imaginelab | charged | 10 | 70 | 0 | 70 | ▁▁▁▁▁▁▁███████ |" in page
    assert "team=\\<b\\>\\|\\`x\\`" in page


def test_what_was_spent_is_summed_by_name_and_by_day_without_mixing_providers() -> None:
    ledger = Ledger(date(2026, 3, 18), UTC)
    ledger.add(*_batch("a", ("x", _stored(_at(19))), ("x", _stored(_at(20), 0.2)), ("y", _stored(_at(20)))))
    assert [(line.name, line.items, line.charged) for line in spent(ledger, "label")] == [
        ("team=x", 2, 0.3),
        ("team=y", 1, 0.1),
    ]
    assert [(line.name, line.charged) for line in spent(ledger, "model")] == [("imaginelab/image/m", 0.4)]
    assert [(line.name, line.charged) for line in spent(ledger, "provider")] == [("imaginelab", 0.4)]
    days = [line for line in spent(ledger, "day") if isinstance(line, LedgerLine)]
    assert [(line.day.day, line.name, line.charged) for line in days] == [
        (20, "imaginelab", 0.3),
        (19, "imaginelab", 0.1),
    ]


def test_an_empty_ledger_is_a_page_too() -> None:
    assert render(_report(Ledger(TODAY, UTC)), TODAY).count("Nothing.") == 4
    assert sparkline([0, 0]) == "▁▁"


async def _written(root: Path, batch_id: str, at: datetime) -> None:
    """A batch of one job, all of it written at a moment."""
    plan, _ = _batch(batch_id, ("", ItemState()))
    store, blocking = open_store(str(root)), Blocking(patience=5.0, transfers=1)
    write_plan(store, plan)
    journal = await Journal.open(store, blocking, batch_id, Claim(owner="me", host="here", at=at))
    await journal.append(Intent(item=1, at=at, attempt=1, provider_at=at, boot="b", boot_at=1.0))
    await journal.append(Created(item=1, at=at, attempt=1, id=f"job of {batch_id}", credits=10))
    for file in (root / batch_id).rglob("*.json*"):
        os.utime(file, (at.timestamp(), at.timestamp()))
    blocking.close()
    store.close()


async def test_the_first_day_is_whole(tmp_path: Path) -> None:
    noon_here = timezone(timedelta(hours=12 - datetime.now(UTC).hour))
    now = datetime.now(noon_here)
    midnight = datetime.combine(now.date() - timedelta(days=2), time(), noon_here)
    await _written(tmp_path, "day-before", midnight - timedelta(hours=2))
    await _written(tmp_path, "early", midnight + timedelta(minutes=5))
    await _written(tmp_path, "late", midnight + timedelta(hours=23))
    ledger = (await read_ledger.fn(str(tmp_path), None, 2, now)).ledger
    assert [(line.day, line.items, line.charged) for line in ledger.by_model] == [(midnight.date(), 2, 20)]
    assert ledger.batches == 2, "what cannot count is not even read"
