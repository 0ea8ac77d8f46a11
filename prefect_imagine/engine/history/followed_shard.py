"""A shard that another process runs: which jobs and open creates it has at one provider, by reading on in its
journal."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from itertools import chain

from prefect_imagine.batches.plan import BatchItem
from prefect_imagine.batches.reading import Reading, read_on
from prefect_imagine.batches.records import ItemRecord
from prefect_imagine.billing.root import Unsettled
from prefect_imagine.billing.settlement import is_final
from prefect_imagine.engine.history.identity import RequestIdentity
from prefect_imagine.engine.history.rivals import OpenCreate, open_creates
from prefect_imagine.stores import Store


class FollowedShard:
    """What a shard holds at one provider. A look costs by what has been written since the last one.

    Attributes:
        ids: of its known jobs, with the provider's time at which each one's item was last asked for; `None`
            where that was not answered: another one's job may have been found for it.
    """

    def __init__(
        self, found: Unsettled, provider: str, identity: Callable[[BatchItem], RequestIdentity]
    ) -> None:
        self.ids: dict[str, datetime | None] = {}
        self._path = found.path
        self._reading = Reading(found.state, found.seq)
        # Of the plan no more is kept than what tells one request from another.
        self._requests: dict[tuple[int, int], tuple[RequestIdentity, str]] = {}
        for item in found.plan.items:
            for way in map(item.by, range(max(1, len(item.alternatives)))):
                if way.request.provider == provider:
                    self._requests[item.index, way.chosen] = identity(way), way.request.fingerprint
        self._open: dict[int, tuple[OpenCreate, ...]] = {}
        self._unfinished: set[int] = set()
        self._indices = found.plan.indices
        self._take(self._indices)

    @property
    def creates(self) -> list[OpenCreate]:
        """Its creates of open or unknown fate."""
        return list(chain.from_iterable(self._open.values()))

    @property
    def seq(self) -> int:
        """The last segment that was read."""
        return self._reading.seq

    def read_on(self, store: Store) -> bool:
        """Take in what has been written since; `False` where it has to be read anew, because it may have
        settled, or not all of it could be read. Raises `StoreError`."""
        try:
            entries = read_on(store, self._path, self._reading)
        except BaseException:
            self._take(self._indices)  # what it has read of it counts
            raise
        self._take({entry.item for entry in entries if isinstance(entry, ItemRecord)})
        return bool(self._unfinished) and not self._reading.damaged

    def _take(self, items: Iterable[int]) -> None:
        for index in items:
            state = self._reading.state[index]
            (self._unfinished.discard if is_final(state) else self._unfinished.add)(index)
            own = [
                (each, self._requests[index, each.alternative])
                for each in (*state.earlier, state)
                if (index, each.alternative) in self._requests
            ]
            for each, _ in own:
                asked_at = None if each.unanswered else each.asked_at
                self.ids.update((charge.id, asked_at) for charge in each.charges)
            creates = tuple(create for each, request in own for create in open_creates(each, *request))
            if creates:
                self._open[index] = creates
            else:
                self._open.pop(index, None)
