"""What is written down of a shard before a run creates anything of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from prefect_imagine.batches.plan import BatchItem, Plan
from prefect_imagine.batches.records import (
    AnyItemRecord,
    Intent,
    Restored,
    Retry,
    Unwanted,
    Withdrawn,
)
from prefect_imagine.batches.state import WITHDRAWABLE, ItemState, Phase
from prefect_imagine.clock import utc_now
from prefect_imagine.engine.open_shards import OpenShard
from prefect_imagine.engine.planning.again import Again
from prefect_imagine.engine.planning.difference import Difference
from prefect_imagine.engine.ways.possible import possible_intent


@dataclass(frozen=True)
class Wishes:
    """What a person who has seen a batch wants of its items.

    Attributes:
        again: what is to be created once more.
        seen: where those stood that may be created again; what has failed since then is not.
        asked_by: names the run that they started.
    """

    again: Again
    difference: Difference = field(default_factory=Difference)
    seen: Mapping[int, ItemState] = field(default_factory=dict)
    asked_by: str = ""

    def records(self, item: BatchItem, state: ItemState) -> list[AnyItemRecord]:
        """What is to be written down of an item that stands so."""
        index, phase = item.index, state.phase
        entries: list[AnyItemRecord] = []
        if index in self.difference.gone:
            return self._away(item, state)
        if state.unwanted and self.difference.compared:
            return [Restored(item=index, at=utc_now())]
        if index in self.difference.restored and phase is Phase.WITHDRAWN:
            entries.append(Restored(item=index, at=utc_now()))
            phase = state.withdrawn_from or phase
        by = self.again.by(index, phase, state)
        if by is not None and state == self.seen.get(index) and not self._known(state):
            entries.append(Retry(item=index, at=utc_now(), asked_by=self.asked_by, command=by.command))
        return entries

    def _away(self, item: BatchItem, state: ItemState) -> list[AnyItemRecord]:
        """What is to be written down of an item that is not asked for any more."""
        if state.phase in WITHDRAWABLE:
            return [Withdrawn(item=item.index, at=utc_now())]
        may_follow = state.phase is Phase.CREATED and bool(item.alternatives)
        if (state.phase is Phase.OPEN or may_follow) and not state.unwanted:
            return [Unwanted(item=item.index, at=utc_now())]
        return []

    def _known(self, state: ItemState) -> bool:
        """Whether this run has created an item again before it crashed."""
        return bool(self.asked_by) and state.retried_by == self.asked_by


async def record_wishes(shard: OpenShard, wishes: Wishes) -> frozenset[int]:
    """Write down what has to be known before anything is created: what is wanted, and what a damaged journal
    may have lost. Gives the items that had been withdrawn before they were created, as far as one can see:
    they are looked for, and are not to be created."""
    journal = shard.journal
    entries: list[AnyItemRecord] = []
    gone: set[int] = set()
    for item in shard.plan.items:
        state = journal.state[item.index]
        wanted = wishes.records(item, state)
        if journal.damaged and not wanted and state.withdrawn_from is Phase.PLANNED:
            gone.add(item.index)
            wanted.append(_possible(shard.plan, state, item.index))
            entries += wanted
            continue
        if journal.damaged and _is_planned_after(wanted, state):
            # One that is gone is withdrawn once it turns out not to have been created.
            wanted = [entry for entry in wanted if not isinstance(entry, Withdrawn)]
            wanted.append(_possible(shard.plan, state, item.index))
        entries += wanted
    if entries:
        await journal.append(*entries)
    if journal.damaged:
        shard.doubtful = frozenset(item.index for item in shard.plan.items if item.alternatives)
        await journal.snapshot(force=True)
    return frozenset(gone)


def _is_planned_after(wanted: list[AnyItemRecord], state: ItemState) -> bool:
    """Whether an item stands to be created once these records are written, or would if it were not gone."""
    if any(isinstance(entry, Retry) for entry in wanted):
        return True
    restored = any(isinstance(entry, Restored) for entry in wanted)
    return (state.withdrawn_from if restored else state.phase) is Phase.PLANNED


def _possible(plan: Plan, state: ItemState, index: int) -> Intent:
    return possible_intent(plan, index, state.attempt + 1, state.alternative)
