"""What a batch has to become for it to hold just what is asked for: pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prefect_imagine.batches.state import WITHDRAWABLE, Phase
from prefect_imagine.prompts.requested import RequestedItem
from prefect_imagine.prompts.spool import Asked

_KEPT_FIRST = (
    Phase.STORED,
    Phase.FINISHED,
    Phase.CREATED,
    Phase.OPEN,
    Phase.UNKNOWN,
    Phase.PLANNED,
    Phase.FAILED,
    Phase.WITHDRAWN,
)
"""Of several items for the same row, those are kept that most has become of."""


@dataclass(frozen=True)
class Difference:
    """What is asked for, beside what a batch holds.

    Attributes:
        new: what no item of the batch was made for, in order.
        kept: how many items of the batch are asked for, those that are restored left out.
        withdrawn: the items that are not asked for any more, and of which nothing has become.
        gone: all items that are not asked for any more and may yet be created, those withdrawn among them:
            one whose create is open is withdrawn once it turns out not to have been accepted, and one whose
            job fails is not created in another way.
        restored: items that had been withdrawn and are asked for again.
        surplus: how many items are not asked for, whatever has become of them, but for those that had been
            withdrawn before.
        compared: whether anything is asked for: a batch that is gone on with as it is was not compared.
    """

    new: Asked = ()
    kept: int = 0
    withdrawn: frozenset[int] = frozenset()
    gone: frozenset[int] = frozenset()
    restored: frozenset[int] = frozenset()
    surplus: int = 0
    compared: bool = False

    @property
    def unchanged(self) -> bool:
        """Whether there is nothing to be made of it."""
        return not (len(self.new) or self.withdrawn or self.restored)

    @property
    def same(self) -> bool:
        """Whether the batch holds just what is asked for."""
        return not (len(self.new) or self.restored or self.surplus)


UNCHANGED = Difference()


class _New:
    """What is asked for beyond what a batch holds: found again each time it is looked through.

    Args:
        held: by fingerprint, how many of what is asked for the batch has items of.
    """

    def __init__(self, asked: Asked, held: Mapping[str, int], count: int) -> None:
        self._asked = asked
        self._held = held
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[RequestedItem]:
        left = dict(self._held)
        for each in self._asked:
            fingerprint = each.fingerprint
            if left.get(fingerprint, 0) > 0:
                left[fingerprint] -= 1
            else:
                yield each


@dataclass
class Holdings:
    """What a batch holds: by fingerprint of what was asked, its items and where each stands."""

    _items: dict[str, list[tuple[int, Phase]]] = field(default_factory=dict)

    def add(self, index: int, asked: str, phase: Phase) -> None:
        """Take an item in."""
        self._items.setdefault(asked, []).append((index, phase))

    def difference(self, asked: Asked) -> Difference:
        """What is asked for, beside these items. The order of rows does not matter; the same row three times
        is three items."""
        left = {
            fingerprint: sorted(items, key=lambda item: (_KEPT_FIRST.index(item[1]), item[0]), reverse=True)
            for fingerprint, items in self._items.items()
        }
        held: Counter[str] = Counter()
        kept = new = 0
        restored: set[int] = set()
        for fingerprint in (each.fingerprint for each in asked) if left else ():
            items = left.get(fingerprint)
            if not items:
                new += 1
                continue
            held[fingerprint] += 1
            index, phase = items.pop()
            if phase is Phase.WITHDRAWN:
                restored.add(index)
            else:
                kept += 1
        return Difference(
            new=_New(asked, held, new) if left else asked,
            kept=kept,
            withdrawn=frozenset(_those(left.values(), WITHDRAWABLE)),
            gone=frozenset(_those(left.values(), (*WITHDRAWABLE, Phase.OPEN, Phase.UNKNOWN, Phase.CREATED))),
            restored=frozenset(restored),
            compared=True,
            surplus=sum(1 for _ in _those(left.values(), tuple(set(Phase) - {Phase.WITHDRAWN}))),
        )


def _those(left: Iterable[list[tuple[int, Phase]]], phases: tuple[Phase, ...]) -> Iterator[int]:
    return (index for items in left for index, phase in items if phase in phases)
