"""What all batches under a root cost in the last days, by model, label, provider or day; and what is left."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Literal

from prefect_imagine.batches.index import Unreadable, leave_out
from prefect_imagine.billing.account_books import AccountBooks, account_books
from prefect_imagine.billing.booked import Booked
from prefect_imagine.billing.budgets.standing import BudgetStanding, read_standings
from prefect_imagine.billing.ledger import Ledger, LedgerLine, daily, provider_of
from prefect_imagine.billing.root import books_since
from prefect_imagine.billing.settlement import Settlement
from prefect_imagine.billing.statements import Statement
from prefect_imagine.billing.usage import Tally, add_tallies
from prefect_imagine.errors import ConfigurationError, StoreError
from prefect_imagine.providers.balances import AccountBalance
from prefect_imagine.providers.credits import add_credits
from prefect_imagine.providers.models import CreditPrice
from prefect_imagine.providers.prices import PriceList
from prefect_imagine.stores import Store

By = Literal["model", "label", "provider", "day"]
WEEK = 7
LEAST_DAYS = 14
"""How many days of books an account is held against at least: refunds and charges come later than creates."""
CLOCKS_DIFFER = timedelta(hours=1)
"""By how much the store's clock may be behind ours."""


def read_ledger(
    store: Store,
    days: float,
    now: datetime,
    unreadable: Unreadable = leave_out,
    *,
    prices: Mapping[str, PriceList] | None = None,
    beside: Sequence[Booked] = (),
) -> Ledger:
    """What the batches under a root cost in the last whole days, by the calendar of a local time. A damaged
    batch is reported and left out.

    Args:
        prices: by provider, what a credit costs of items that were planned when nobody said it.
        beside: take in the same batches, and those further back that they ask for.

    Raises:
        StoreError: the store itself fails.
        ConfigurationError: one of the prices does not say what a credit costs.
    """
    assert now.tzinfo is not None
    first = first_moment(days, now)
    ledger = Ledger(first.date(), now.tzinfo, _given(prices or {}))
    collectors: list[Ledger | Booked] = [ledger, *beside]
    earliest = min([first, *(each.since for each in beside)])
    for found in books_since(store, earliest - CLOCKS_DIFFER, unreadable):
        for each in collectors:
            if isinstance(found, Settlement):
                each.add_settled(found)
            else:
                each.add(found.plan, found.state)
    return ledger


def _given(prices: Mapping[str, PriceList]) -> dict[str, CreditPrice]:
    known = {name: each.credit_price("given") for name, each in prices.items()}
    silent = [name for name, price in known.items() if price is None]
    if silent:
        raise ConfigurationError(
            f"prices of {', '.join(silent)} do not say what a credit costs: give currency and per_credit"
        )
    return {name: price for name, price in known.items() if price is not None}


def first_moment(days: float, now: datetime) -> datetime:
    """When the first of the last whole days began, by the calendar of a local time."""
    return datetime.combine((now - timedelta(days=days)).date(), time(), now.tzinfo)


@dataclass(frozen=True)
class CreditReport:
    """What a credit report says.

    Attributes:
        accounts: what is left on accounts, held against the books.
        left_out: why batches could not be read, by their ids; they are in none of the sums.
        budgets: where those of the root stand.
    """

    ledger: Ledger
    accounts: AccountBooks
    left_out: Mapping[str, str] = field(default_factory=dict)
    budgets: Sequence[BudgetStanding] = ()

    @property
    def statements(self) -> list[Statement]:
        """What became of the balances since the last report."""
        return self.accounts.statements(self.left_out)

    def note(self, store: Store) -> None:
        """Note where the accounts stand, for the next report to begin there. Raises `StoreError`."""
        self.accounts.note(store, self.left_out)


def read_report(
    store: Store,
    days: float,
    now: datetime,
    unreadable: Unreadable = leave_out,
    *,
    balances: Sequence[AccountBalance] = (),
    told_at: datetime | None = None,
    prices: Mapping[str, PriceList] | None = None,
) -> CreditReport:
    """What the batches under a root cost in the last whole days, and what is left on accounts. It changes
    nothing. Raises what `read_ledger` does.

    Args:
        balances: what is left on accounts; they were read before the books are.
        told_at: when that was, by this side's clock.
        prices: by provider, what a credit costs of items that were planned when nobody said it.
    """
    left_out: dict[str, str] = {}

    def note(batch_id: str, error: StoreError) -> None:
        unreadable(batch_id, error)
        left_out[batch_id] = str(error)

    first = first_moment(max(days, LEAST_DAYS), now)
    accounts = account_books(store, balances, told_at or now, first)
    ledger = read_ledger(store, days, now, note, prices=prices, beside=accounts.collectors)
    return CreditReport(ledger, accounts, left_out, read_standings(store, told_at or now))


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
