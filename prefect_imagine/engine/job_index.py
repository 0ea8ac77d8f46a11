"""The jobs of a provider's items, kept as records come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from prefect_imagine.batches.plan import BatchItem
from prefect_imagine.batches.state import ItemState, may_have_unknown_job
from prefect_imagine.clock import boot_seconds
from prefect_imagine.engine.history.identity import RequestIdentity
from prefect_imagine.engine.open_shards import OpenShards
from prefect_imagine.providers.models import Generation


class JobIndex:
    """What is known of the jobs of a provider's items: updated item by item, never computed over all.

    Attributes:
        owned: by id, what the item of each job asked for; of earlier attempts' jobs too.
        order: by id, when in the journal's order each became known.
        asked_at: by id, the provider's time at which each item's present job was asked for, where it came
            with the answer to that: one that was found later may be another one's just like it.
        may_be_unknown: items of which a job may exist that is not known.
        rank: the place in that order of the next job to become known; those from before the run have 0.
    """

    def __init__(self, shards: OpenShards, identity: Callable[[BatchItem], RequestIdentity]) -> None:
        self.owned: dict[str, RequestIdentity] = {}
        self.order: dict[str, int] = {}
        self.asked_at: dict[str, datetime] = {}
        self.may_be_unknown: set[int] = set()
        self.rank = 1
        self._shards = shards
        self._identity = identity
        self._present: dict[int, tuple[str, BatchItem, datetime]] = {}
        self._witness: tuple[str, BatchItem, datetime] | None = None
        self._known_since: dict[str, float] = {}

    def update(self, item: BatchItem, state: ItemState) -> None:
        """Take in where an item stands."""
        for charge in state.charges:
            if charge.id not in self.owned:
                self.owned[charge.id] = self._identity(item)
        if may_have_unknown_job(state):
            self.may_be_unknown.add(item.index)
        else:
            self.may_be_unknown.discard(item.index)
        known = self._present.pop(item.index, None)
        if known is not None:
            self.asked_at.pop(known[0], None)
        if state.id and state.asked_at:
            self._present[item.index] = (state.id, item, state.asked_at)
            # What a damaged journal may have lost was not asked for at the time that stands there.
            if state.asked_at != self._shards.of(item.index).plan.planned_at and not state.unanswered:
                self.asked_at[state.id] = state.asked_at

    def load(self, item: BatchItem, state: ItemState) -> None:
        """Take in where an item stood before this run."""
        self.order.update((charge.id, 0) for charge in state.charges)
        self.update(item, state)

    def became_known(self, job: str) -> None:
        """A job has become known now."""
        self.order[job] = self.rank
        self.rank += 1
        self._known_since[job] = boot_seconds()

    def forget(self, item: BatchItem, state: ItemState) -> None:
        """An item is followed no longer, nor looked for. One job of all those that are forgotten stays known:
        a history that does not show it shows no job of ours."""
        present = self._present.pop(item.index, None)
        if present is not None and self._is_witness(present[0]):
            self._drop(self._witness[0] if self._witness is not None else None)
            self._witness = present
        for charge in state.charges:
            if self._witness is None or charge.id != self._witness[0]:
                self._drop(charge.id)
        self.may_be_unknown.discard(item.index)

    def _is_witness(self, job: str) -> bool:
        """Whether a job has been known for longer than the one that stays known."""
        if self._witness is None:
            return True
        return self._known_since.get(job, 0.0) > self._known_since.get(self._witness[0], 0.0)

    def _drop(self, job: str | None) -> None:
        for known in (self.owned, self.order, self._known_since, self.asked_at):
            known.pop(job or "", None)

    def asked_at_of(self, rows: Iterable[Generation]) -> dict[str, datetime]:
        """The provider's time at which each present job among these was asked for, by id."""
        return {row.id: self.asked_at[row.id] for row in rows if row.id in self.asked_at}

    @property
    def any_known(self) -> bool:
        """Whether any job of ours is known."""
        return bool(self._present) or self._witness is not None

    def known_for(self, seconds: float) -> Iterator[tuple[str, BatchItem, datetime]]:
        """The present jobs that have been known for so long, with their items and the provider's time at
        which each was asked for."""
        moment = boot_seconds() - seconds
        if self._witness is not None and self._known_since.get(self._witness[0], 0.0) < moment:
            yield self._witness
        for present in self._present.values():
            if self._known_since.get(present[0], 0.0) < moment:
                yield present
