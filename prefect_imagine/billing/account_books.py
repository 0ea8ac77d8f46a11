"""The accounts of a credit report: what is left on each, where the last report left it, and what the books
say since then."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from prefect_imagine.batches.accounts.marks import (
    MOST_LEFT_OUT,
    BalanceMark,
    put_mark,
    read_mark,
)
from prefect_imagine.batches.accounts.record import believed, read_account_records
from prefect_imagine.billing.booked import Booked
from prefect_imagine.billing.statements import Seen, Statement, statement
from prefect_imagine.providers.balances import AccountBalance
from prefect_imagine.providers.models import Balance
from prefect_imagine.stores import Store

NOT_TOLD = "not told: its 0 is also what a key that may not see the balance is answered"


@dataclass(frozen=True)
class _Known:
    """An account with a balance.

    Attributes:
        mark: where the last report left it.
        then: collects the same items as that.
        now: collects those of the next mark.
    """

    identity: str
    balance: Balance
    mark: BalanceMark | None
    then: Booked
    now: Booked


@dataclass(frozen=True)
class AccountBooks:
    """Accounts that are held against the books, once those have been read.

    Attributes:
        balances: what is left on all accounts; 0 only where it may be believed.
        at: when that was told.
    """

    balances: Sequence[AccountBalance]
    at: datetime
    _known: Sequence[_Known] = ()
    _creates: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def told(self) -> dict[str, Balance]:
        """The balances that are known, by provider."""
        return {each.provider: each.balance for each in self.balances if each.balance is not None}

    @property
    def collectors(self) -> list[Booked]:
        """What takes the books in while they are read."""
        return [collector for each in self._known for collector in (each.now, each.then)]

    def statements(self, left_out: Collection[str] = ()) -> list[Statement]:
        """What became of the balances since the last report.

        Args:
            left_out: batches that could not be read.
        """
        return [statement(each.mark, self._seen(each, left_out)) for each in self._known]

    def note(self, store: Store, left_out: Collection[str] = ()) -> None:
        """Note how the accounts stand, for the next report to begin there. Raises `StoreError`.

        Args:
            left_out: batches that could not be read.
        """
        for each in self._known:
            provider = each.balance.provider
            mark = BalanceMark(
                provider=provider,
                balance=each.balance.credits,
                at=self.at,
                since=each.now.since,
                books=each.now.of(provider),
                creates=self._creates.get(provider, {}),
                left_out=tuple(sorted(left_out)[:MOST_LEFT_OUT]),
            )
            put_mark(store, each.identity, mark)

    def _seen(self, each: _Known, left_out: Collection[str]) -> Seen:
        provider = each.balance.provider
        return Seen(
            provider=provider,
            identity=each.identity,
            balance=each.balance.credits,
            books=each.then.of(provider),
            creates=self._creates.get(provider, {}),
            left_out=sorted(left_out)[:MOST_LEFT_OUT],
        )


def account_books(
    store: Store, balances: Sequence[AccountBalance], at: datetime, first: datetime
) -> AccountBooks:
    """The accounts of a report, of which those that were used under the root are held against the books that
    are read next. Raises `StoreError`.

    Args:
        balances: what is left on them.
        at: when that was told; the books are read later.
        first: the moment from which the report counts.
    """
    told = [_told(store, each) for each in balances]
    if all(each.balance is None for each in told):
        return AccountBooks(told, at)
    creates: dict[str, dict[str, int]] = {}
    for identity, record in read_account_records(store).items():
        creates.setdefault(record.provider, {})[identity] = record.requests.get("create", 0)
    known = []
    for each in told:
        if each.balance is not None and each.identity in creates.get(each.provider, {}):
            mark = read_mark(store, each.identity)
            then, now = Booked(mark.since if mark is not None else first, at), Booked(first, at)
            known.append(_Known(each.identity, each.balance, mark, then, now))
    return AccountBooks(told, at, known, creates)


def _told(store: Store, each: AccountBalance) -> AccountBalance:
    if each.balance is None or believed(store, each.identity, each.balance.credits):
        return each
    return replace(each, balance=None, note=NOT_TOLD)
