"""What generations have cost and come to, by model, as counters need it: apart, what can still change.

A job's cost is final once the job has ended: until then a failure may refund it, and a provider that told
nothing of it may still do so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal

from prefect_imagine.batches.plan import BatchItem
from prefect_imagine.batches.shard import Way, ways
from prefect_imagine.batches.state import ItemState, Phase
from prefect_imagine.billing.costs import Cost, Place, cost_of, model_name, place_of
from prefect_imagine.billing.outcomes import Outcomes, OutcomeSums
from prefect_imagine.billing.settlement import Settlement
from prefect_imagine.billing.usage import Tally

_NOTHING = Decimal(0)
_FINAL: tuple[Place, ...] = ("stored", "failed", "unknown", "withdrawn")


@dataclass
class ModelFigures:
    """The figures of one model, added up exactly.

    Attributes:
        charged: credits of jobs that have ended, as the provider told them.
        estimated: by a price list, of jobs that have ended and of which the provider told nothing.
        charged_under_way, estimated_under_way: the same of jobs that have not ended.
        possible: estimated, for creates of unknown outcome.
        unpriced: jobs that are in none of these sums.
        places: how many items are where.
    """

    charged: Decimal = _NOTHING
    estimated: Decimal = _NOTHING
    charged_under_way: Decimal = _NOTHING
    estimated_under_way: Decimal = _NOTHING
    possible: Decimal = _NOTHING
    unpriced: int = 0
    places: Counter[Place] = field(default_factory=Counter)

    @classmethod
    def of_tally(cls, tally: Tally) -> ModelFigures:
        """Those of items of which none is under way or planned."""
        return cls(
            charged=Decimal(str(tally.charged)),
            estimated=Decimal(str(tally.estimated)),
            possible=Decimal(str(tally.possible)),
            unpriced=tally.unpriced,
            places=Counter({place: getattr(tally, place) for place in _FINAL}),
        )

    def count(self, way: Way, sign: int = 1) -> None:
        """Count what an item has cost in one of its ways, and itself where it is the present one; or, with
        -1, count it no longer."""
        cost, running = cost_of(way.item, way.state), _running_cost(way.item, way.state)
        self.charged += sign * (cost.charged - running.charged)
        self.estimated += sign * (cost.estimated - running.estimated)
        self.charged_under_way += sign * running.charged
        self.estimated_under_way += sign * running.estimated
        self.possible += sign * cost.possible
        self.unpriced += sign * cost.unpriced
        self.places[place_of(way.state)] += sign * way.present

    def include(self, other: ModelFigures) -> None:
        """Count what others count."""
        self.charged += other.charged
        self.estimated += other.estimated
        self.charged_under_way += other.charged_under_way
        self.estimated_under_way += other.estimated_under_way
        self.possible += other.possible
        self.unpriced += other.unpriced
        self.places.update(other.places)


def _running_cost(item: BatchItem, state: ItemState) -> Cost:
    """What the job costs that an item waits for."""
    running = [each for each in state.charges if state.phase is Phase.CREATED and each.id == state.id]
    return cost_of(item, ItemState(phase=Phase.CREATED, charges=tuple(running)))


class Figures:
    """The figures of items of many models; a change of one item costs no look at the others."""

    def __init__(self) -> None:
        self._models: dict[str, ModelFigures] = {}
        self._outcomes = OutcomeSums()

    @classmethod
    def of_settled(cls, settlement: Settlement) -> Figures:
        """Those of a settled shard."""
        figures = cls()
        figures._models = {line.name: ModelFigures.of_tally(line) for line in settlement.usage.by_model}
        figures._outcomes.include(settlement.outcomes)
        return figures

    def update(self, item: BatchItem, state: ItemState, known: ItemState | None) -> None:
        """Take in where an item stands now.

        Args:
            known: where it stood when it was taken in before.
        """
        for way in ways(item, known) if known is not None else ():
            self._of(model_name(way.item)).count(way, -1)
        for way in ways(item, state):
            self._of(model_name(way.item)).count(way)
        self._outcomes.update(item, state, known)

    def include(self, other: Figures) -> None:
        """Add what others have added up."""
        for name, known in other._models.items():
            self._of(name).include(known)
        self._outcomes.include(other.outcomes)

    def renamed(self, name_of: Callable[[str], str]) -> Figures:
        """The same by other names of models, those added up that come to share one."""
        figures = Figures()
        for name, each in self._models.items():
            figures._of(name_of(name)).include(each)
        outcomes = (each.model_copy(update={"name": name_of(each.name)}) for each in self.outcomes)
        figures._outcomes.include(outcomes)
        return figures

    def ended(self) -> Figures:
        """Of these what nothing changes any more: costs of ended jobs and outcomes, but no items."""
        figures = Figures()
        for name, each in self._models.items():
            figures._models[name] = ModelFigures(charged=each.charged, estimated=each.estimated)
        figures._outcomes.include(self.outcomes)
        return figures

    @property
    def outcomes(self) -> tuple[Outcomes, ...]:
        """What generations came to, a model each."""
        return self._outcomes.outcomes

    def __iter__(self) -> Iterator[tuple[str, ModelFigures]]:
        """Models (`provider/kind/model`) and their figures."""
        return iter(self._models.items())

    def _of(self, name: str) -> ModelFigures:
        return self._models.setdefault(name, ModelFigures())
