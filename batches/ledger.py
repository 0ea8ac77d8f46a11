"""The bill over many batches: what each day cost, by provider and model, and by label."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta, tzinfo

from prefect_imagine.batches.plan import BatchItem, Plan
from prefect_imagine.batches.state import BatchState, ItemState
from prefect_imagine.batches.usage import item_cost, model_name, outcome
from prefect_imagine.providers.credits import Credits, add_credits
from prefect_imagine.providers.models import Frozen


class LedgerLine(Frozen):
    """What one day cost, for one name: `provider/kind/model`, or `label=value`.

    Charged: as the provider said. Estimated: by a price list, where it is silent. Possible: estimated, for
    creates whose fate is unknown. Unpriced: jobs that are in none of the sums.
    """

    day: date
    name: str
    items: int = 0
    stored: int = 0
    failed: int = 0
    unknown: int = 0
    charged: Credits = 0
    estimated: Credits = 0
    possible: Credits = 0
    unpriced: int = 0


@dataclass
class Ledger:
    """Collects items of many batches into lines, from a first day on, by the calendar of a time zone."""

    first: date
    zone: tzinfo
    batches: int = 0
    _models: dict[tuple[date, str], LedgerLine] = field(default_factory=dict)
    _labels: dict[tuple[date, str], LedgerLine] = field(default_factory=dict)

    def add(self, plan: Plan, state: BatchState) -> None:
        """Take a batch in. An item counts on the day of its last create."""
        self.batches += 1
        for item in plan.items:
            known = state[item.index]
            if known.intent_at is None:
                continue
            day = known.intent_at.astimezone(self.zone).date()
            if day >= self.first:
                self._add(day, item, known)

    def _add(self, day: date, item: BatchItem, known: ItemState) -> None:
        _count(self._models, day, model_name(item), item, known)
        for label, value in item.request.labels.items():
            _count(self._labels, day, f"{label}={value}", item, known)

    @property
    def by_model(self) -> list[LedgerLine]:
        """Lines of models, the newest day first."""
        return _sorted(self._models.values())

    @property
    def by_label(self) -> list[LedgerLine]:
        """Lines of labels, the newest day first; an item with two labels is in two of them."""
        return _sorted(self._labels.values())

    @property
    def providers(self) -> list[str]:
        """Who was used."""
        return sorted({provider_of(line) for line in self._models.values()})


def _count(
    lines: dict[tuple[date, str], LedgerLine], day: date, name: str, item: BatchItem, known: ItemState
) -> None:
    line = lines.get((day, name), LedgerLine(day=day, name=name))
    cost = item_cost(item, known)
    ended = outcome(known)
    lines[day, name] = line.model_copy(
        update={
            "items": line.items + 1,
            "stored": line.stored + (ended == "stored"),
            "failed": line.failed + (ended == "failed"),
            "unknown": line.unknown + (ended == "unknown"),
            "charged": add_credits([line.charged, cost.charged]),
            "estimated": add_credits([line.estimated, cost.estimated]),
            "possible": add_credits([line.possible, cost.possible]),
            "unpriced": line.unpriced + cost.unpriced,
        }
    )


def _sorted(lines: Iterable[LedgerLine]) -> list[LedgerLine]:
    return sorted(lines, key=lambda line: (-line.day.toordinal(), line.name))


def provider_of(line: LedgerLine) -> str:
    """The provider of a model's line."""
    return line.name.partition("/")[0]


def daily(lines: Sequence[LedgerLine], amount: str, last: date, days: int) -> list[int | float]:
    """One kind of credits (`charged`, `estimated`, …) of each of so many days, up to the last."""
    return [
        add_credits(getattr(line, amount) for line in lines if line.day == last - timedelta(days=back))
        for back in reversed(range(days))
    ]
