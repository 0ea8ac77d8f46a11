"""What a run leaves for whoever says how its batch has ended, where it let the jobs go, or handed the batch
to a fleet: `<batch>/submission.json`.

It is there from the end of such a run until the batch's books are closed.
"""

from __future__ import annotations

import logging
from datetime import datetime

from pydantic import ValidationError

from prefect_imagine.batches.options import Timing
from prefect_imagine.providers.models import Frozen
from prefect_imagine.stores import Store

logger = logging.getLogger(__name__)


class Submission(Frozen):
    """A batch whose jobs were created and let go, or that was handed to a fleet.

    Attributes:
        at: when.
        allowed_failures: how many items may fail before the batch counts as failed.
        timing: how long jobs may take before they count as overdue.
        expected_at: when the last job is expected to end, where that is known.
        traceparent: the trace of the run that let them go, where it was traced.
        generation: the fleet that it was handed to, which creates the rest of it, if so.
    """

    at: datetime
    allowed_failures: int = 0
    timing: Timing
    expected_at: datetime | None = None
    traceparent: str | None = None
    generation: int | None = None


def put_submission(store: Store, batch_id: str, submission: Submission) -> None:
    """Leave it. Raises `StoreError`."""
    data = submission.model_dump_json(exclude_none=True).encode()
    store.put(_key(batch_id), data, "application/json")


def read_submission(store: Store, batch_id: str) -> Submission | None:
    """The one of a batch, if its jobs were let go. Raises `StoreError`."""
    data = store.read(_key(batch_id))
    if data is None:
        return None
    try:
        return Submission.model_validate_json(data)
    except ValidationError:
        logger.warning("%s cannot be read, and is left out", _key(batch_id))
        return None


def remove_submission(store: Store, batch_id: str) -> None:
    """The batch's books are closed. Raises `StoreError`."""
    store.delete(_key(batch_id))


def _key(batch_id: str) -> str:
    return f"{batch_id}/submission.json"
