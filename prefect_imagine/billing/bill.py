"""A bill, kept as records come: a change of one item costs no look at the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Literal, get_args

from prefect_imagine.batches.plan import BatchItem, Plan
from prefect_imagine.batches.shard import Way, ways
from prefect_imagine.batches.state import BatchState, ItemState, Phase
from prefect_imagine.billing.costs import Cost, Place, cost_of, model_name, place_of
from prefect_imagine.billing.money import Priced, money_of, priced
from prefect_imagine.billing.spans import Span, Spans
from prefect_imagine.billing.usage import BalanceChange, ItemCounts, Tally, Usage, UsageLine
from prefect_imagine.providers.credits import add_credits
from prefect_imagine.providers.models import CreditPrice

Group = Literal["provider", "model", "label"]
Times = Mapping[Group, Mapping[str, tuple[Span, ...]]]


@dataclass
class Sums:
    """What some items came to and cost, added up exactly.

    Attributes:
        places: how many are where.
        priced: the credits of which a price in money is known, by that.
        times: when at least one of those that are stored was under way.
    """

    places: dict[Place, int] = field(default_factory=dict)
    charged: Decimal = Decimal(0)
    estimated: Decimal = Decimal(0)
    possible: Decimal = Decimal(0)
    unpriced: int = 0
    unpriced_items: int = 0
    refund_unknown_items: int = 0
    priced: dict[CreditPrice, Priced] = field(default_factory=dict)
    times: Spans = field(default_factory=Spans)

    def add(self, way: Way) -> None:
        """Count what an item has cost in one of its ways, and itself where it is the present one."""
        self.count([cost_of(way.item, way.state)], way.state if way.present else None)

    def count(self, costs: Sequence[Cost], state: ItemState | None, sign: int = 1) -> None:
        """Count what an item has cost, in one way or several; or, with -1, count it no longer.

        Args:
            state: where it stands; `None` where it is counted elsewhere.
        """
        unpriced = refund_unknown = False
        for cost in costs:
            self.charged += sign * cost.charged
            self.estimated += sign * cost.estimated
            self.possible += sign * cost.possible
            self.unpriced += sign * cost.unpriced
            unpriced = unpriced or cost.unpriced > 0
            refund_unknown = refund_unknown or cost.refund_unknown
            if cost.price is not None:
                known = self.priced.setdefault(cost.price, Priced())
                known.add(cost.charged, cost.estimated, cost.possible, sign)
        self.unpriced_items += sign * unpriced
        self.refund_unknown_items += sign * refund_unknown
        if state is not None:
            self._count_place(state, sign)

    def _count_place(self, state: ItemState, sign: int) -> None:
        place = place_of(state)
        self.places[place] = self.places.get(place, 0) + sign
        if sign > 0 and state.phase is Phase.STORED and state.intent_at and state.stored_at:
            self.times.add(state.intent_at, state.stored_at)

    def include(self, other: Sums) -> None:
        """Count what other sums count."""
        for place, count in other.places.items():
            self.places[place] = self.places.get(place, 0) + count
        self.charged += other.charged
        self.estimated += other.estimated
        self.possible += other.possible
        self.unpriced += other.unpriced
        self.unpriced_items += other.unpriced_items
        self.refund_unknown_items += other.refund_unknown_items
        for price, each in other.priced.items():
            known = self.priced.setdefault(price, Priced())
            known.add(each.charged, each.estimated, each.possible)
        self.times.include(other.times)

    @classmethod
    def of_settled(cls, tally: Tally, times: Iterable[Span] = ()) -> Sums:
        """The sums of items of which none is under way or planned."""
        return cls(
            places={
                "stored": tally.stored,
                "failed": tally.failed,
                "unknown": tally.unknown,
                "under_way": tally.under_way,
                "withdrawn": tally.withdrawn,
            },
            charged=Decimal(str(tally.charged)),
            estimated=Decimal(str(tally.estimated)),
            possible=Decimal(str(tally.possible)),
            unpriced=tally.unpriced,
            priced=priced(tally.money),
            times=Spans(times),
        )

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
            withdrawn=places.get("withdrawn", 0),
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
            under_way=counts.under_way,
            withdrawn=counts.withdrawn,
            charged=add_credits([self.charged]),
            estimated=add_credits([self.estimated]),
            possible=add_credits([self.possible]),
            unpriced=self.unpriced,
            money=money_of(self.priced),
        )

    def line(self, name: str) -> UsageLine:
        """The sums as a line of the bill."""
        return UsageLine(**self.tally(name).model_dump(), seconds=self.times.seconds)


class Bill:
    """The bill of a shard, or of a batch: of all of its shards together."""

    def __init__(self, batch_id: str) -> None:
        self._batch_id = batch_id
        self._all = Sums()
        self._groups: dict[Group, dict[str, Sums]] = {group: {} for group in get_args(Group)}
        self._counted: dict[int, ItemState] = {}

    @classmethod
    def of(cls, plan: Plan, state: BatchState) -> Bill:
        """The bill of a shard by its journal."""
        bill = cls(plan.batch_id)
        for item in plan.items:
            bill.update(item, state[item.index])
        return bill

    @classmethod
    def of_settled(cls, usage: Usage, times: Times) -> Bill:
        """The bill of a settled shard, as it was written down."""
        bill = cls(usage.batch_id)
        bill._all = Sums.of_settled(Tally(**usage.model_dump(include=set(Tally.model_fields))))
        bill._all.unpriced_items = usage.unpriced_items
        bill._all.refund_unknown_items = usage.refund_unknown_items
        lines: dict[Group, tuple[UsageLine, ...]] = {
            "provider": usage.by_provider,
            "model": usage.by_model,
            "label": usage.by_label,
        }
        for group, each in lines.items():
            known = times.get(group, {})
            bill._groups[group] = {
                line.name: Sums.of_settled(line, known.get(line.name, ())) for line in each
            }
        return bill

    @classmethod
    def total(cls, batch_id: str, bills: Iterable[Bill]) -> Bill:
        """The bill of a batch by those of its shards."""
        bill = cls(batch_id)
        for each in bills:
            bill._all.include(each._all)
            for group, sums in each._groups.items():
                for name, known in sums.items():
                    bill._groups[group].setdefault(name, Sums()).include(known)
        return bill

    def update(self, item: BatchItem, state: ItemState) -> bool:
        """Take in where an item stands now; whether that is new."""
        before = self._counted.get(item.index)
        if before is state:
            return False
        self._counted[item.index] = state
        if state.earlier:
            if before is not None:
                self._count(item, before, -1)
            self._count(item, state)
            return True
        item = item.by(state.alternative)
        cost = (cost_of(item, state),)
        known = (cost_of(item, before),) if before is not None else cost
        for sums in self._of(item):
            if before is not None:
                sums.count(known, before, -1)
            sums.count(cost, state)
        return True

    def _count(self, item: BatchItem, state: ItemState, sign: int = 1) -> None:
        """Count an item with all of its ways. In a group of two of them it is one item."""
        costs: dict[int, list[Cost]] = {}
        groups: dict[int, Sums] = {}
        for way in ways(item, state):
            own = {id(sums): sums for sums in self._of(way.item)}
            groups |= own
            for each in own:
                costs.setdefault(each, []).append(cost_of(way.item, way.state))
        for each, sums in groups.items():
            sums.count(costs[each], state if each in own else None, sign)

    def forget_items(self) -> None:
        """Keep the sums alone: no item will change any more."""
        self._counted.clear()

    @property
    def counts(self) -> ItemCounts:
        """How many of the items stand where."""
        return self._all.counts

    @property
    def open(self) -> int:
        """Of those under way, how many were sent and not answered."""
        return self._all.places.get("open", 0)

    def unfinished(self, provider: str) -> tuple[int, int]:
        """How many of a provider's items are planned, and how many under way and answered."""
        sums = self._groups["provider"].get(provider)
        places = sums.places if sums is not None else {}
        return places.get("planned", 0), places.get("under_way", 0)

    @property
    def committed(self) -> dict[str, Decimal]:
        """Credits that all items have or may have cost, by provider."""
        providers = self._groups["provider"].items()
        return {name: each.charged + each.estimated + each.possible for name, each in providers}

    @property
    def times(self) -> Times:
        """When items were under way that are stored."""
        return {
            group: {name: each.times.all for name, each in sums.items()}
            for group, sums in self._groups.items()
        }

    def usage(self, as_of: datetime, balances: Iterable[BalanceChange] = ()) -> Usage:
        """The bill as it stands."""
        counts, everything = self.counts, self._all
        return Usage(
            batch_id=self._batch_id,
            as_of=as_of,
            **everything.tally("").model_dump(exclude={"name", "unpriced", "under_way"}),
            under_way=counts.under_way,
            planned=counts.planned,
            unpriced_items=everything.unpriced_items,
            refund_unknown_items=everything.refund_unknown_items,
            by_provider=_lines(self._groups["provider"]),
            by_model=_lines(self._groups["model"]),
            by_label=_lines(self._groups["label"]),
            balances=tuple(balances),
        )

    def _of(self, item: BatchItem) -> Iterator[Sums]:
        yield self._all
        yield self._groups["provider"].setdefault(item.request.provider, Sums())
        yield self._groups["model"].setdefault(model_name(item), Sums())
        for label, value in sorted(item.request.labels.items()):
            yield self._groups["label"].setdefault(f"{label}={value}", Sums())


def _lines(sums: dict[str, Sums]) -> tuple[UsageLine, ...]:
    return tuple(each.line(name) for name, each in sums.items())
