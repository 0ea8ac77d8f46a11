"""What went wrong with a batch, by reason, with examples."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from prefect_imagine.batches.plan import BatchItem
from prefect_imagine.batches.shard import Shard
from prefect_imagine.batches.state import ItemState
from prefect_imagine.billing.costs import outcome, total_cost
from prefect_imagine.providers.credits import Credits, add_credits
from prefect_imagine.providers.models import Frozen

EXAMPLES = 3


class FailureLine(Frozen):
    """The items of one provider that failed, or whose fate is unknown, for one reason.

    Attributes:
        charged: credits that they cost all the same, as the provider said.
        examples: a few of them: index and prompt, shortened.
        message: what was said of the first.
    """

    provider: str
    reason: str
    items: int
    charged: Credits
    examples: tuple[str, ...]
    message: str


@dataclass
class _Group:
    message: str
    items: int = 0
    charged: Decimal = Decimal(0)
    examples: list[str] = field(default_factory=list)


class Failures:
    """Collects what is not stored and why, shard by shard."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str], _Group] = {}

    def take(self, shard: Shard) -> None:
        """Take in the items of a shard that failed, or whose fate is unknown."""
        for item, known in shard.standings():
            if outcome(known) in ("failed", "unknown"):
                self._add(item, known)

    def _add(self, item: BatchItem, known: ItemState) -> None:
        key = (item.request.provider, known.reason or "unknown")
        group = self._groups.setdefault(key, _Group(known.error or ""))
        group.items += 1
        group.charged += total_cost(item, known).charged
        if len(group.examples) < EXAMPLES:
            group.examples.append(item.title)

    @property
    def lines(self) -> list[FailureLine]:
        """What is not stored and why, the commonest reason first."""
        lines = [
            FailureLine(
                provider=provider,
                reason=reason,
                items=group.items,
                charged=add_credits([group.charged]),
                examples=tuple(group.examples),
                message=group.message,
            )
            for (provider, reason), group in self._groups.items()
        ]
        return sorted(lines, key=lambda line: -line.items)
