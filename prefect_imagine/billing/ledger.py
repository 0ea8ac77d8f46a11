"""The bill over many batches: what each day cost, by provider and model, and by label."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta, tzinfo

from prefect_imagine.batches.plan import Plan
from prefect_imagine.batches.state import BatchState
from prefect_imagine.billing.usage import Tally, add_tallies, item_cost, model_name, tally_of
from prefect_imagine.providers.credits import add_credits


class LedgerLine(Tally):
    """What one day cost, for one name: `provider/kind/model`, or `label=value`."""

    day: date


_Key = tuple[date, str]


@dataclass
class Ledger:
    """Collects items of many batches into lines, from a first day on, by the calendar of a time zone."""

    first: date
    zone: tzinfo
    batches: int = 0
    _models: dict[_Key, LedgerLine] = field(default_factory=dict)
    _labels: dict[_Key, LedgerLine] = field(default_factory=dict)

    def add(self, plan: Plan, state: BatchState) -> None:
        """Take a batch in. An item counts on the day of its last create."""
        self.batches += 1
        models: defaultdict[_Key, list[Tally]] = defaultdict(list)
        labels: defaultdict[_Key, list[Tally]] = defaultdict(list)
        for item in plan.items:
            known = state[item.index]
            if known.intent_at is None:
                continue
            day = known.intent_at.astimezone(self.zone).date()
            if day < self.first:
                continue
            tally = tally_of(known, item_cost(item, known))
            models[day, model_name(item)].append(tally)
            for label, value in item.request.labels.items():
                labels[day, f"{label}={value}"].append(tally)
        _take_in(self._models, models)
        _take_in(self._labels, labels)

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


def _take_in(lines: dict[_Key, LedgerLine], tallies: Mapping[_Key, list[Tally]]) -> None:
    for (day, name), parts in tallies.items():
        known = [lines[day, name]] if (day, name) in lines else []
        lines[day, name] = LedgerLine(**add_tallies(name, [*known, *parts]).model_dump(), day=day)


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
