"""What items are expected to cost, added up before they are created."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from prefect_imagine.batches.plan import BatchItem
from prefect_imagine.billing.money import Money, Priced, estimate_money_text, money_of
from prefect_imagine.providers.credits import Credits, add_credits
from prefect_imagine.providers.models import CreditPrice, Estimate, GenerationRequest


@dataclass(frozen=True)
class EstimateLine:
    """What the items of one provider and model are expected to cost."""

    provider: str
    kind: str
    model: str
    items: int
    credits: int | float | None
    source: str
    credit_price: CreditPrice | None = None

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


EstimateKey = tuple[str, str, str, str, CreditPrice | None]
"""Provider, kind, model, the source of the price in credits, and what a credit costs."""


def estimate_key(request: GenerationRequest, estimate: Estimate) -> EstimateKey:
    """By what estimates are added up."""
    model = request.model or "default"
    return (request.provider, request.kind.value, model, estimate.source, estimate.credit_price)


class Estimates:
    """Adds up what items are expected to cost, by provider, kind, model and prices."""

    def __init__(self) -> None:
        self._groups: dict[EstimateKey, _Group] = {}

    def add(self, key: EstimateKey, credits: Credits | None) -> None:
        """Take one in; `None` for one without a price."""
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
            EstimateLine(provider, kind, model, group.items, group.total, source, credit_price)
            for (provider, kind, model, source, credit_price), group in self._groups.items()
        ]


def estimate_lines(items: Iterable[BatchItem]) -> list[EstimateLine]:
    """The estimate of items, by provider, kind and model."""
    estimates = Estimates()
    for item in items:
        estimates.add(estimate_key(item.request, item.estimate), item.estimate.credits)
    return estimates.lines


def estimate_text(lines: Sequence[EstimateLine]) -> str:
    """An estimate in one sentence, with its amounts in money where they are known; credits of different
    providers are not added up."""
    groups: dict[str, list[EstimateLine]] = {}
    for line in lines:
        groups.setdefault(line.provider, []).append(line)
    told = "; ".join(_told(provider, group) for provider, group in groups.items())
    return f"{sum(line.items for line in lines)} items: {told or 'nothing'}"


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
