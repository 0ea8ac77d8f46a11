"""What a run leaves that a budget has stopped: `<batch>/waiting.json`, by which `reconcile` goes on with the
batch once the budget holds enough again.

It is there from the end of such a run until a later one ends otherwise.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Literal

from pydantic import ValidationError

from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.batches.stops import WaitsFor
from prefect_imagine.billing.budgets.budget import read_budgets
from prefect_imagine.billing.budgets.sequence import read_holdings
from prefect_imagine.providers.credits import add_credits
from prefect_imagine.providers.models import Frozen
from prefect_imagine.stores import Store

logger = logging.getLogger(__name__)


class Waiting(Frozen):
    """A batch that a budget has stopped.

    Attributes:
        at: when.
        waits_for: the budget, and what the next create needs of it.
        options: how the batch is to be run. What had failed before is not created again.
    """

    format: Literal[1] = 1
    at: datetime
    waits_for: WaitsFor
    options: BatchOptions


def put_waiting(store: Store, batch_id: str, waiting: Waiting) -> None:
    """Leave it. Raises `StoreError`."""
    once = {"batch_id": batch_id, "retry_failed": False, "recreate_unknown": False, "frozen": False}
    kept = waiting.model_copy(update={"options": waiting.options.model_copy(update=once)})
    store.put(_key(batch_id), kept.model_dump_json(exclude_none=True).encode(), "application/json")


def read_waiting(store: Store, batch_id: str) -> Waiting | None:
    """The one of a batch, if a budget has stopped it. Raises `StoreError`."""
    data = store.read(_key(batch_id))
    if data is None:
        return None
    try:
        return Waiting.model_validate_json(data)
    except ValidationError:
        logger.warning("%s cannot be read, and is left out", _key(batch_id))
        return None


def remove_waiting(store: Store, batch_id: str) -> None:
    """The batch waits for no budget any more. Raises `StoreError`."""
    store.delete(_key(batch_id))


def may_go_on(store: Store, waiting: Waiting, at: datetime) -> bool:
    """Whether the budget that a batch waits for holds enough for its next create by now, or is gone. Raises
    `StoreError`."""
    wanted = waiting.waits_for
    budget = next((each for each in read_budgets(store) if each.name == wanted.budget), None)
    limit = budget.limits.get(wanted.provider) if budget is not None else None
    if budget is None or limit is None:
        return True
    holdings = read_holdings(store, budget.key, budget.period_of(at).name)
    return add_credits([limit, -holdings.of(wanted.provider)]) >= wanted.credits


def _key(batch_id: str) -> str:
    return f"{batch_id}/waiting.json"
