"""Which jobs and open attempts the other batches under the same root have: theirs are not adopted."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from prefect_imagine.batches.plan import BatchItem, read_plan
from prefect_imagine.batches.reading import folder, possible_batches, read_journal
from prefect_imagine.batches.state import may_have_unknown_job
from prefect_imagine.engine.history.identity import RequestIdentity
from prefect_imagine.errors import StoreError
from prefect_imagine.stores import Store

logger = logging.getLogger(__name__)


@dataclass
class OtherJobs:
    """What other batches hold at one provider.

    Attributes:
        ids: of their known jobs, with the provider's time at which each one's item was last asked for.
        open_classes: what their creates of open or unknown fate asked for.
        incomplete: one of them cannot be read.
    """

    ids: dict[str, datetime | None] = field(default_factory=dict)
    open_classes: set[RequestIdentity] = field(default_factory=set)
    incomplete: bool = False


class OtherBatches:
    """Reads the journals of the other batches under one root, again only where they have grown."""

    def __init__(self, store: Store, batch_id: str, identity: Callable[[BatchItem], RequestIdentity]) -> None:
        self._store = store
        self._batch_id = batch_id
        self._identity = identity
        self._unreadable: set[str] = set()
        self._read: dict[str, tuple[str | None, OtherJobs]] = {}

    def jobs(self, provider: str) -> OtherJobs:
        """All ids and open classes of other batches. Raises `StoreError`."""
        total = OtherJobs()
        for name in possible_batches(self._store):
            if name != self._batch_id:
                found = self._readable(name, provider)
                total.ids.update(found.ids)
                total.open_classes |= found.open_classes
                total.incomplete |= found.incomplete
        return total

    def _readable(self, batch_id: str, provider: str) -> OtherJobs:
        try:
            return self._of(batch_id, provider)
        except StoreError as error:
            if error.retryable:
                raise
            if batch_id not in self._unreadable:
                logger.warning("the neighbouring batch %s cannot be read: %s", batch_id, error)
            self._unreadable.add(batch_id)
            return OtherJobs(incomplete=True)

    def _of(self, batch_id: str, provider: str) -> OtherJobs:
        known = self._read.get(batch_id)
        last = known[0] if known is not None else None
        grown = [found.key for found in self._store.list(folder(batch_id), after=last)]
        if known is not None and not grown:
            return known[1]
        claims = self._look(batch_id, provider)
        self._read[batch_id] = (grown[-1] if grown else last, claims)
        return claims

    def _look(self, batch_id: str, provider: str) -> OtherJobs:
        plan = read_plan(self._store, batch_id)
        state = read_journal(self._store, batch_id).state
        if plan is None:
            return OtherJobs()
        items = [(item, state[item.index]) for item in plan.of(provider)]
        return OtherJobs(
            ids={charge.id: each.asked_at for _, each in items for charge in each.charges},
            open_classes={self._identity(item) for item, each in items if may_have_unknown_job(each)},
        )
