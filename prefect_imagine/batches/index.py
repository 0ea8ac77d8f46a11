"""The batches that lie under one root."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from prefect_imagine.batches.plan import Plan, read_plan
from prefect_imagine.batches.reading import folder, possible_batches, read_journal
from prefect_imagine.batches.state import BatchState, ItemState, Phase
from prefect_imagine.errors import StoreError
from prefect_imagine.stores import Store

logger = logging.getLogger(__name__)

DAY = 24 * 3600.0


def batches_under(store: Store, since: float | None = None) -> Iterator[str]:
    """The ids of the batches under a root, ascending; only those that were written to since then (epoch
    seconds, by the store's own clock). Raises `StoreError`."""
    for name in possible_batches(store):
        written = _written(store, name)
        if written is not None and (since is None or written >= since):
            yield name


def standings_under(store: Store, since: float | None = None) -> Iterator[tuple[Plan, BatchState]]:
    """Plan and state of those batches, one after the other; a damaged one is reported and left out. Raises
    `StoreError` where the store itself fails."""
    for batch_id in batches_under(store, since):
        try:
            plan = read_plan(store, batch_id)
            state = read_journal(store, batch_id).state
        except StoreError as error:
            _leave_out(batch_id, error)
            continue
        if plan is not None:
            yield plan, state


def unsettled_under(store: Store, since: float | None = None) -> Iterator[str]:
    """The ids of those batches that have items to look at again: open, under way, to be stored, unknown."""
    for plan, state in standings_under(store, since):
        if any(_may_change(state[item.index]) for item in plan.items):
            yield plan.batch_id


def _may_change(item: ItemState) -> bool:
    return item.phase in (Phase.OPEN, Phase.CREATED, Phase.FINISHED, Phase.UNKNOWN)


def _written(store: Store, batch_id: str) -> float | None:
    """When a batch was last written to; `None` where there is none, or none that can be read."""
    try:
        return max((found.modified for found in store.list(folder(batch_id))), default=None)
    except StoreError as error:
        _leave_out(batch_id, error)
        return None


def _leave_out(batch_id: str, error: StoreError) -> None:
    if error.retryable:
        raise error
    logger.warning("batch %s cannot be read and is left out: %s", batch_id, error)
