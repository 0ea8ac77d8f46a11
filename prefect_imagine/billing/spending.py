"""What all batches under a root cost in the last days, by model, label, provider or day; and what is left."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Literal

from prefect_imagine.batches.index import Unreadable, leave_out
from prefect_imagine.billing.ledger import Ledger, LedgerLine, daily, provider_of
from prefect_imagine.billing.root import books_since
from prefect_imagine.billing.settlement import Settlement
from prefect_imagine.billing.usage import Tally, add_tallies
from prefect_imagine.providers.balances import AccountBalance
from prefect_imagine.providers.credits import add_credits
from prefect_imagine.providers.prices import PriceList
from prefect_imagine.stores import Store

By = Literal["model", "label", "provider", "day"]
WEEK = 7
CLOCKS_DIFFER = timedelta(hours=1)
"""By how much the store's clock may be behind ours."""


def read_ledger(
    store: Store,
    days: float,
    now: datetime,
    unreadable: Unreadable = leave_out,
    *,
    prices: Mapping[str, PriceList] | None = None,
) -> Ledger:
    """What the batches under a root cost in the last whole days, by the calendar of a local time. Raises
    `StoreError` where the store itself fails; a damaged batch is reported and left out.

    Args:
        prices: by provider, what a credit costs of items that were planned when nobody said it.
    """
    assert now.tzinfo is not None
    given = {name: price for name, each in (prices or {}).items() if (price := each.credit_price("given"))}
    ledger = Ledger((now - timedelta(days=days)).date(), now.tzinfo, given)
    first = datetime.combine(ledger.first, time(), now.tzinfo) - CLOCKS_DIFFER
    for found in books_since(store, first, unreadable):
        if isinstance(found, Settlement):
            ledger.add_settled(found)
        else:
            ledger.add(found.plan, found.state)
    return ledger


def spent(ledger: Ledger, by: By) -> list[Tally]:
    """What was spent, by name; and by day the newest first, a line for each provider of it, since one
    provider's credits are not another's."""
    match by:
        case "model":
            return _sums(ledger.by_model, lambda line: line.name)
        case "label":
            return _sums(ledger.by_label, lambda line: line.name)
        case "provider":
            return _sums(ledger.by_model, lambda line: provider_of(line.name))
        case "day":
            return _by_day(ledger.by_model)


def _sums(lines: Iterable[LedgerLine], name_of: Callable[[LedgerLine], str]) -> list[Tally]:
    groups: dict[str, list[LedgerLine]] = {}
    for line in lines:
        groups.setdefault(name_of(line), []).append(line)
    return [add_tallies(name, group) for name, group in sorted(groups.items())]


def _by_day(lines: Iterable[LedgerLine]) -> list[Tally]:
    days: dict[date, list[LedgerLine]] = {}
    for line in lines:
        days.setdefault(line.day, []).append(line)
    return [
        LedgerLine(**tally.model_dump(), day=day)
        for day, group in sorted(days.items(), reverse=True)
        for tally in _sums(group, lambda line: provider_of(line.name))
    ]


@dataclass(frozen=True)
class Left:
    """What is left on an account.

    Attributes:
        credits: `None` where they are not known; `note` says why.
        charged_a_day: credits, on average over the last seven days.
        days: how long what is left lasts at that; `None` where nothing was charged.
    """

    provider: str
    credits: int | float | None
    note: str
    charged_a_day: float
    days: float | None


def left(ledger: Ledger, balances: Sequence[AccountBalance], today: date) -> list[Left]:
    """What is left on accounts, and how long it lasts."""
    return [_left(ledger, each, today) for each in balances]


def _left(ledger: Ledger, known: AccountBalance, today: date) -> Left:
    own = [line for line in ledger.by_model if provider_of(line.name) == known.provider]
    a_day = add_credits(daily(own, "charged", today, WEEK)) / WEEK
    if known.balance is None:
        return Left(known.provider, None, known.note, a_day, None)
    credits = known.balance.credits
    return Left(known.provider, credits, known.note, a_day, credits / a_day if a_day else None)


def described(ledger: Ledger) -> str:
    """How many batches a ledger covers."""
    return "1 batch" if ledger.batches == 1 else f"{ledger.batches} batches"
