"""Amounts of money beside credits, by the price that a credit had when they were planned.

Amounts are exact, and rounded for people alone. Different currencies, and charged, estimated and possible
amounts, are different things: nothing adds them up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Protocol

from prefect_imagine.providers.credits import Credits, add_credits
from prefect_imagine.providers.models import CreditPrice

_NOTHING = Decimal(0)
_CENT = Decimal("0.01")
_KINDS = {"charged": "", "estimated": " est.", "possible": " possible"}
_SOURCES = {"list": "price list", "provider": "told by the provider", "given": "given afterwards"}


class Money(CreditPrice):
    """What credits of one price cost, in units of its currency.

    Attributes:
        charged: of credits that the provider says it charged.
        estimated: of credits by a price list, where the provider reports none.
        possible: of estimated credits of creates whose outcome is unknown.
    """

    charged: Decimal = _NOTHING
    estimated: Decimal = _NOTHING
    possible: Decimal = _NOTHING

    @property
    def price(self) -> CreditPrice:
        """What one of the credits costs."""
        return CreditPrice(
            currency=self.currency, per_credit=self.per_credit, as_of=self.as_of, source=self.source
        )


class Costs(Protocol):
    """Credits with what they cost in money, as far as that is known."""

    @property
    def charged(self) -> Credits: ...
    @property
    def estimated(self) -> Credits: ...
    @property
    def possible(self) -> Credits: ...
    @property
    def money(self) -> tuple[Money, ...]: ...


class NamedCosts(Costs, Protocol):
    """The same of somebody."""

    @property
    def name(self) -> str: ...


@dataclass
class Priced:
    """Credits of one price, added up exactly."""

    charged: Decimal = _NOTHING
    estimated: Decimal = _NOTHING
    possible: Decimal = _NOTHING

    def add(self, charged: Decimal, estimated: Decimal, possible: Decimal, sign: int = 1) -> None:
        """Count so many more; or, with -1, so many less."""
        self.charged += sign * charged
        self.estimated += sign * estimated
        self.possible += sign * possible


def priced(money: Iterable[Money]) -> dict[CreditPrice, Priced]:
    """The credits of which these are the amounts, by price."""
    return {each.price: Priced(*(getattr(each, kind) / each.per_credit for kind in _KINDS)) for each in money}


def money_of(credits: Mapping[CreditPrice, Priced]) -> tuple[Money, ...]:
    """What credits cost, by their price; none where there is nothing to pay."""
    found = (
        Money(
            **price.model_dump(),
            charged=each.charged * price.per_credit,
            estimated=each.estimated * price.per_credit,
            possible=each.possible * price.per_credit,
        )
        for price, each in credits.items()
        if each.charged or each.estimated or each.possible
    )
    return tuple(sorted(found, key=_place))


def _place(money: Money) -> tuple[object, ...]:
    return (money.currency, money.source, str(money.as_of or ""), money.per_credit)


def add_money(parts: Iterable[Money]) -> tuple[Money, ...]:
    """What all of these cost, by price."""
    sums: dict[CreditPrice, Priced] = {}
    for part in parts:
        for price, each in priced([part]).items():
            sums.setdefault(price, Priced()).add(each.charged, each.estimated, each.possible)
    return money_of(sums)


def lacking(costs: Costs) -> dict[str, Credits]:
    """The charged, estimated and possible credits of which nobody says what they cost in money; only those
    that are not nothing."""
    known = priced(costs.money).values()
    rest = {
        kind: add_credits([getattr(costs, kind), *(-getattr(each, kind) for each in known)])
        for kind in _KINDS
    }
    return {kind: credits for kind, credits in rest.items() if credits}


def with_given(costs: Costs, price: CreditPrice | None) -> tuple[Money, ...]:
    """What credits cost if those cost so much of which nobody else says it."""
    if price is None:
        return costs.money
    rest = lacking(costs)
    given = Priced(*(Decimal(str(rest.get(kind, 0))) for kind in _KINDS))
    return add_money([*costs.money, *money_of({price: given})])


def amount_text(amount: Decimal, currency: str) -> str:
    """An amount for people: rounded to two digits, or to its first two where it would seem nothing."""
    shown = amount.quantize(_CENT, ROUND_HALF_UP)
    if not shown and amount:
        shown = amount.quantize(Decimal(1).scaleb(amount.adjusted() - 1), ROUND_HALF_UP)
    return f"{shown:,f} {currency}"


def money_text(money: Iterable[Money]) -> str:
    """Amounts side by side, with who says what a credit costs, such as `1.20 EUR + 0.05 EUR est. (price
    list)`; nothing where there are none."""
    return ", ".join(
        f"{_side_by_side(amounts, currency)} ({_SOURCES[source]})"
        for (currency, source), amounts in _sums(money).items()
    )


def kind_text(money: Iterable[Money], kind: str) -> list[str]:
    """The amounts of one kind (`charged`, …), such as `1.20 EUR (price list)`."""
    return [
        f"{amount_text(amounts[kind], currency)} ({_SOURCES[source]})"
        for (currency, source), amounts in _sums(money).items()
        if amounts[kind]
    ]


def _sums(money: Iterable[Money]) -> dict[tuple[str, str], dict[str, Decimal]]:
    """Amounts by kind, by currency and by who says what a credit costs."""
    sums: dict[tuple[str, str], dict[str, Decimal]] = {}
    for each in money:
        amounts = sums.setdefault((each.currency, each.source), dict.fromkeys(_KINDS, _NOTHING))
        for kind in _KINDS:
            amounts[kind] += getattr(each, kind)
    return sums


def _side_by_side(amounts: Mapping[str, Decimal], currency: str) -> str:
    shown = (f"{amount_text(amount, currency)}{_KINDS[kind]}" for kind, amount in amounts.items() if amount)
    return " + ".join(shown)


def estimate_money_text(money: Iterable[Money]) -> str:
    """Estimated amounts, with who says what a credit costs since when, such as `0.30 EUR (price list, as of
    2026-11-01)`; nothing where there are none."""
    return ", ".join(
        f"{amount_text(each.estimated, each.currency)} ({_said_by(each)})" for each in add_money(money)
    )


def price_text(price: CreditPrice) -> str:
    """What a credit costs, and who says so since when, such as `0.01 EUR a credit (price list, as of
    2026-11-01)`."""
    return f"{price.per_credit:,f} {price.currency} a credit ({_said_by(price)})"


def _said_by(price: CreditPrice) -> str:
    as_of = f", as of {price.as_of}" if price.as_of is not None else ""
    return f"{_SOURCES[price.source]}{as_of}"


def lacking_text(costs: Costs) -> str:
    """How many credits have no price in money, where others have; or nothing."""
    rest = lacking(costs) if costs.money else {}
    told = " and ".join(f"{credits} {kind}" for kind, credits in rest.items())
    return f"{told} credits have no price in money" if told else ""


def told_by_provider(lines: Iterable[NamedCosts]) -> list[str]:
    """What a credit of each provider costs, and how many have no price in money where others have."""
    return [
        f"{line.name}: {each}"
        for line in lines
        for each in (*map(price_text, line.money), lacking_text(line))
        if each
    ]
