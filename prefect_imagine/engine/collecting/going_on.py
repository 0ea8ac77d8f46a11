"""Which batches that a budget has stopped may go on."""

from __future__ import annotations

from datetime import datetime

from prefect_imagine.batches.control.wanted import read_wanted
from prefect_imagine.batches.index import leave_out, read_index
from prefect_imagine.batches.lease import running_shard
from prefect_imagine.billing.budgets.waiting import Waiting, may_go_on, read_waiting
from prefect_imagine.errors import StoreError
from prefect_imagine.stores import Store


def batches_to_go_on(store: Store, at: datetime) -> dict[str, Waiting]:
    """The batches that nobody runs or has paused, and whose budget holds enough again; only what is unsettled
    is looked at. One that cannot be read is left out. Raises `StoreError` where the store itself fails."""
    found: dict[str, Waiting] = {}
    for batch_id in read_index(store).unsettled:
        try:
            waiting = read_waiting(store, batch_id)
            if waiting is None or not may_go_on(store, waiting, at):
                continue
            if running_shard(store, batch_id) is None and not read_wanted(store, batch_id).paused:
                found[batch_id] = waiting
        except StoreError as error:
            leave_out(batch_id, error)
    return found
