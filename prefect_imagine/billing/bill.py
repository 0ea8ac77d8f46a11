"""A batch's bill, kept as records come: a change of one item costs no look at the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from prefect_imagine.batches.plan import BatchItem, Plan
from prefect_imagine.batches.state import BatchState, ItemState, Phase
from prefect_imagine.billing.costs import Place, cost_of, model_name, place_of
from prefect_imagine.billing.spans import Spans
from prefect_imagine.billing.usage import BalanceChange, ItemCounts, Tally, Usage, UsageLine
from prefect_imagine.providers.credits import add_credits


@dataclass
class Sums:
    """What some items came to and cost, added up exactly.

    Attributes:
        places: how many are where.
        times: when at least one of those that are stored was under way.
    """

    places: dict[Place, int] = field(default_factory=dict)
    charged: Decimal = Decimal(0)
    estimated: Decimal = Decimal(0)
    possible: Decimal = Decimal(0)
    unpriced: int = 0
    unpriced_items: int = 0
    refund_unknown_items: int = 0
    times: Spans = field(default_factory=Spans)

    def add(self, item: BatchItem, state: ItemState, sign: int = 1) -> None:
        """Count an item as it stands; or, with -1, as it stood no longer."""
        cost, place = cost_of(item, state), place_of(state)
        self.places[place] = self.places.get(place, 0) + sign
        self.charged += sign * cost.charged
        self.estimated += sign * cost.estimated
        self.possible += sign * cost.possible
        self.unpriced += sign * cost.unpriced
        self.unpriced_items += sign * bool(cost.unpriced)
        self.refund_unknown_items += sign * cost.refund_unknown
        if sign > 0 and state.phase is Phase.STORED and state.intent_at and state.stored_at:
            self.times.add(state.intent_at, state.stored_at)

    def merge(self, tally: Tally) -> None:
        """Count items that are all stored, failed or unknown."""
        places: dict[Place, int] = {"stored": tally.stored, "failed": tally.failed, "unknown": tally.unknown}
        for place, count in places.items():
            self.places[place] = self.places.get(place, 0) + count
        self.charged += Decimal(str(tally.charged))
        self.estimated += Decimal(str(tally.estimated))
        self.possible += Decimal(str(tally.possible))
        self.unpriced += tally.unpriced

    @property
    def counts(self) -> ItemCounts:
        """How many items stand where."""
        places = self.places
        return ItemCounts(
            total=sum(places.values()),
            stored=places.get("stored", 0),
            failed=places.get("failed", 0),
            unknown=places.get("unknown", 0),
            under_way=places.get("under_way", 0) + places.get("open", 0),
            planned=places.get("planned", 0),
        )

    def tally(self, name: str) -> Tally:
        """The sums under a name."""
        counts = self.counts
        return Tally(
            name=name,
            items=counts.total,
            stored=counts.stored,
            failed=counts.failed,
            unknown=counts.unknown,
            charged=add_credits([self.charged]),
            estimated=add_credits([self.estimated]),
            possible=add_credits([self.possible]),
            unpriced=self.unpriced,
        )

    def line(self, name: str) -> UsageLine:
        """The sums as a line of the bill."""
        return UsageLine(**self.tally(name).model_dump(), seconds=self.times.seconds)


class Bill:
    """The bill of a batch."""

    def __init__(self, batch_id: str) -> None:
        self._batch_id = batch_id
        self._all = Sums()
        self._by_provider: dict[str, Sums] = {}
        self._by_model: dict[str, Sums] = {}
        self._by_label: dict[str, Sums] = {}
        self._counted: dict[int, ItemState] = {}

    @classmethod
    def of(cls, plan: Plan, state: BatchState) -> Bill:
        """The bill of a batch by its journal."""
        bill = cls(plan.batch_id)
        for item in plan.items:
            bill.update(item, state[item.index])
        return bill

    def update(self, item: BatchItem, state: ItemState) -> None:
        """Take in where an item stands now."""
        before = self._counted.get(item.index)
        if before is state:
            return
        self._counted[item.index] = state
        for sums in self._of(item):
            if before is not None:
                sums.add(item, before, -1)
            sums.add(item, state)

    @property
    def counts(self) -> ItemCounts:
        """How many of the batch's items stand where."""
        return self._all.counts

    @property
    def open(self) -> int:
        """Of those under way, how many were sent and not answered."""
        return self._all.places.get("open", 0)

    def usage(self, as_of: datetime, balances: Iterable[BalanceChange] = ()) -> Usage:
        """The bill as it stands."""
        counts, everything = self.counts, self._all
        return Usage(
            batch_id=self._batch_id,
            as_of=as_of,
            **everything.tally("").model_dump(exclude={"name", "unpriced"}),
            under_way=counts.under_way,
            planned=counts.planned,
            unpriced_items=everything.unpriced_items,
            refund_unknown_items=everything.refund_unknown_items,
            by_provider=_lines(self._by_provider),
            by_model=_lines(self._by_model),
            by_label=_lines(self._by_label),
            balances=tuple(balances),
        )

    def _of(self, item: BatchItem) -> Iterator[Sums]:
        yield self._all
        yield self._by_provider.setdefault(item.request.provider, Sums())
        yield self._by_model.setdefault(model_name(item), Sums())
        for label, value in sorted(item.request.labels.items()):
            yield self._by_label.setdefault(f"{label}={value}", Sums())


def _lines(sums: dict[str, Sums]) -> tuple[UsageLine, ...]:
    return tuple(each.line(name) for name, each in sums.items())
