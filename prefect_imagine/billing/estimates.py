"""What items are expected to cost, added up before they are created."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from prefect_imagine.batches.plan import BatchItem
from prefect_imagine.billing.money import Money, Priced, estimate_money_text, money_of
from prefect_imagine.providers.credits import Credits, add_credits
from prefect_imagine.providers.models import CreditPrice, Estimate


@dataclass(frozen=True)
class EstimateLine:
    """What the items of one provider and model are expected to cost.

    Attributes:
        items: how many creates.
        if_refused: whether those are sent only where others are refused, or fail: then the items are counted
            there, and this is the most that they cost beside it.
    """

    provider: str
    kind: str
    model: str
    items: int
    credits: int | float | None
    source: str
    credit_price: CreditPrice | None = None
    if_refused: bool = False

    @property
    def counted(self) -> int:
        """How many items it adds to those of other lines."""
        return 0 if self.if_refused else self.items

    @property
    def basis(self) -> str:
        """Where its price comes from, and when it is due."""
        return f"{self.source}, if refused" if self.if_refused else self.source

    @property
    def money(self) -> tuple[Money, ...]:
        """What that is in money, where the price of a credit is known."""
        if self.credit_price is None or not self.credits:
            return ()
        return money_of({self.credit_price: Priced(estimated=Decimal(str(self.credits)))})


@dataclass
class _Group:
    items: int = 0
    credits: Decimal = Decimal(0)
    priced: bool = True

    def include(self, other: _Group) -> None:
        self.items += other.items
        self.credits += other.credits
        self.priced = self.priced and other.priced

    @property
    def total(self) -> Credits | None:
        return add_credits([self.credits]) if self.priced else None


class EstimateKey(NamedTuple):
    """By what estimates are added up."""

    provider: str
    kind: str
    model: str
    source: str
    credit_price: CreditPrice | None
    if_refused: bool


class Expected(NamedTuple):
    """What one create is expected to cost; `None` where it has no price."""

    key: EstimateKey
    credits: Credits | None


def expected_credits(expected: Iterable[Expected]) -> dict[str, Credits]:
    """What creates are expected to cost, by provider; one without a price counts for nothing."""
    sums: dict[str, Decimal] = {}
    for each in expected:
        provider = each.key.provider
        sums[provider] = sums.get(provider, Decimal(0)) + Decimal(str(each.credits or 0))
    return {provider: add_credits([credits]) for provider, credits in sums.items()}


def expected_of(item: BatchItem) -> tuple[Expected, ...]:
    """What an item is expected to cost, at its dearest: its create, and all that may follow where providers
    refuse it, or fail it and do not give the credits back."""
    kind = item.request.kind.value
    own = _expected(item.request.provider, kind, item.request.model, item.estimate)
    others = (_expected(each.provider, kind, each.model, each.estimate, True) for each in item.others)
    return (own, *others)


def _expected(
    provider: str, kind: str, model: str | None, estimate: Estimate, if_refused: bool = False
) -> Expected:
    source, price = estimate.source, estimate.credit_price
    key = EstimateKey(provider, kind, model or "default", source, price, if_refused)
    return Expected(key, estimate.credits)


class Estimates:
    """Adds up what items are expected to cost, by provider, kind, model and prices."""

    def __init__(self) -> None:
        self._groups: dict[EstimateKey, _Group] = {}

    def add(self, expected: Iterable[Expected]) -> None:
        """Take an item in."""
        for key, credits in expected:
            group = self._groups.setdefault(key, _Group())
            group.items += 1
            if credits is None:
                group.priced = False
            else:
                group.credits += Decimal(str(credits))

    def beside(self, first: Estimates) -> Estimates:
        """These, after those that come first."""
        total = Estimates()
        for each in (first, self):
            for key, group in each._groups.items():
                total._groups.setdefault(key, _Group()).include(group)
        return total

    @property
    def lines(self) -> list[EstimateLine]:
        """One a group, in the order of their first items."""
        return [
            EstimateLine(
                key.provider,
                key.kind,
                key.model,
                group.items,
                group.total,
                key.source,
                key.credit_price,
                key.if_refused,
            )
            for key, group in sorted(self._groups.items(), key=lambda each: each[0].if_refused)
        ]


def estimate_lines(items: Iterable[BatchItem]) -> list[EstimateLine]:
    """The estimate of items, by provider, kind and model."""
    estimates = Estimates()
    for item in items:
        estimates.add(expected_of(item))
    return estimates.lines


def estimate_text(lines: Sequence[EstimateLine]) -> str:
    """An estimate in one sentence, with its amounts in money where they are known; credits of different
    providers are not added up."""
    told = _told_by_provider(line for line in lines if not line.if_refused)
    more = _told_by_provider(line for line in lines if line.if_refused)
    said = [told or "nothing", *([f"if refused, at most {more} more"] if more else [])]
    return f"{sum(line.counted for line in lines)} items: {'; '.join(said)}"


def _told_by_provider(lines: Iterable[EstimateLine]) -> str:
    groups: dict[str, list[EstimateLine]] = {}
    for line in lines:
        groups.setdefault(line.provider, []).append(line)
    return "; ".join(_told(provider, group) for provider, group in groups.items())


def _told(provider: str, lines: Sequence[EstimateLine]) -> str:
    priced = [line.credits for line in lines if line.credits is not None]
    unpriced = sum(line.items for line in lines if line.credits is None)
    amounts = [f"{add_credits(priced)} credits{_money_told(lines)}"] if priced else []
    return f"{provider} {' and '.join(amounts + ([f'{unpriced} without a price'] if unpriced else []))}"


def _money_told(lines: Sequence[EstimateLine]) -> str:
    """Such as `, 0.30 EUR (price list, as of 2026-11-01)`, with how many credits that leaves out."""
    told = estimate_money_text(each for line in lines for each in line.money)
    out = add_credits(line.credits or 0 for line in lines if not line.money)
    return f", {told}{f' without {out} of them' if out else ''}" if told else ""
