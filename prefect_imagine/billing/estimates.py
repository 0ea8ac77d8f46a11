"""What items are expected to cost, added up before they are created."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from prefect_imagine.batches.plan import BatchItem
from prefect_imagine.providers.credits import Credits, add_credits
from prefect_imagine.providers.models import Estimate, GenerationRequest


@dataclass(frozen=True)
class EstimateLine:
    """What the items of one provider and model are expected to cost."""

    provider: str
    kind: str
    model: str
    items: int
    credits: int | float | None
    source: str


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


EstimateKey = tuple[str, str, str, str]
"""Provider, kind, model and the source of the price."""


def estimate_key(request: GenerationRequest, estimate: Estimate) -> EstimateKey:
    """By what estimates are added up."""
    return (request.provider, request.kind.value, request.model or "default", estimate.source)


class Estimates:
    """Adds up what items are expected to cost, by provider, kind, model and the source of the price."""

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
            EstimateLine(provider, kind, model, group.items, group.total, source)
            for (provider, kind, model, source), group in self._groups.items()
        ]


def estimate_lines(items: Iterable[BatchItem]) -> list[EstimateLine]:
    """The estimate of items, by provider, kind and model."""
    estimates = Estimates()
    for item in items:
        estimates.add(estimate_key(item.request, item.estimate), item.estimate.credits)
    return estimates.lines


def estimate_text(lines: Sequence[EstimateLine]) -> str:
    """An estimate in one sentence; credits of different providers are not added up."""
    groups: dict[str, list[EstimateLine]] = {}
    for line in lines:
        groups.setdefault(line.provider, []).append(line)
    told = "; ".join(_told(provider, group) for provider, group in groups.items())
    return f"{sum(line.items for line in lines)} items: {told or 'nothing'}"


def _told(provider: str, lines: Sequence[EstimateLine]) -> str:
    priced = [line.credits for line in lines if line.credits is not None]
    unpriced = sum(line.items for line in lines if line.credits is None)
    amounts = [f"{add_credits(priced)} credits"] if priced else []
    return f"{provider} {' and '.join(amounts + ([f'{unpriced} without a price'] if unpriced else []))}"
