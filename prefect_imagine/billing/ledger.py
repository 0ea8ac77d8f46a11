"""The bill over many batches: what each day cost, by provider and model, and by label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, tzinfo

from prefect_imagine.batches.plan import Plan
from prefect_imagine.batches.shard import Shard
from prefect_imagine.batches.state import BatchState
from prefect_imagine.billing.bill import Sums
from prefect_imagine.billing.costs import model_name
from prefect_imagine.billing.money import with_given
from prefect_imagine.billing.settlement import Settlement
from prefect_imagine.billing.usage import Tally
from prefect_imagine.providers.credits import add_credits
from prefect_imagine.providers.models import CreditPrice


class LedgerLine(Tally):
    """What one day cost, for one name: `provider/kind/model`, or `label=value`."""

    day: date


_Key = tuple[date, str]


@dataclass
class Ledger:
    """Collects items of many batches into lines, from a first day on, by the calendar of a time zone.

    Attributes:
        given: what a credit of these providers costs where nobody said it when the items were planned.
    """

    first: date
    zone: tzinfo
    given: Mapping[str, CreditPrice] = field(default_factory=dict)
    _batches: set[str] = field(default_factory=set)
    _models: dict[_Key, Sums] = field(default_factory=dict)
    _labels: dict[_Key, Sums] = field(default_factory=dict)

    def add(self, plan: Plan, state: BatchState) -> None:
        """Take a shard in. An item counts on the day of its last create, and what it has cost in
        other ways on those of the last creates there."""
        created = [(at, way) for way in Shard(plan, state).ways() if (at := way.state.intent_at) is not None]
        self._count(plan.batch_id, max((at for at, _ in created), default=None))
        for at, way in created:
            day = at.astimezone(self.zone).date()
            if day < self.first:
                continue
            self._models.setdefault((day, model_name(way.item)), Sums()).add(way)
            for label, value in way.item.request.labels.items():
                self._labels.setdefault((day, f"{label}={value}"), Sums()).add(way)

    def add_settled(self, settlement: Settlement) -> None:
        """Take a settled shard in."""
        self._count(settlement.batch_id, settlement.last_create)
        for each in settlement.spent:
            day = each.at.astimezone(self.zone).date()
            lines = self._models if each.by == "model" else self._labels
            if day >= self.first:
                lines.setdefault((day, each.name), Sums()).include(Sums.of_settled(each))

    def _count(self, batch_id: str, last_create: datetime | None) -> None:
        if last_create is None or last_create.astimezone(self.zone).date() >= self.first:
            self._batches.add(batch_id)

    @property
    def batches(self) -> int:
        """How many it holds something of."""
        return len(self._batches)

    @property
    def by_model(self) -> list[LedgerLine]:
        """Lines of models, the newest day first."""
        return [
            line.model_copy(update={"money": with_given(line, self.given.get(provider_of(line.name)))})
            for line in _lines(self._models)
        ]

    @property
    def by_label(self) -> list[LedgerLine]:
        """Lines of labels, the newest day first; an item with two labels is in two of them. Whose credits
        they are nobody knows: no given price is theirs."""
        return _lines(self._labels)

    @property
    def providers(self) -> list[str]:
        """Who was used."""
        return sorted({provider_of(name) for _, name in self._models})


def _lines(sums: Mapping[_Key, Sums]) -> list[LedgerLine]:
    lines = (LedgerLine(**each.tally(name).model_dump(), day=day) for (day, name), each in sums.items())
    return sorted(lines, key=lambda line: (-line.day.toordinal(), line.name))


def provider_of(name: str) -> str:
    """The provider of a model's line, by its name."""
    return name.partition("/")[0]


def daily(lines: Sequence[LedgerLine], amount: str, last: date, days: int) -> list[int | float]:
    """One kind of credits (`charged`, `estimated`, …) of each of so many days, up to the last."""
    return [
        add_credits(getattr(line, amount) for line in lines if line.day == last - timedelta(days=back))
        for back in reversed(range(days))
    ]
