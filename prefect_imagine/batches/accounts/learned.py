"""What runs have learned of a key's limits, under the root that they store in: `.imagine/rates/`.

A hint for the next run, on whatever machine: it begins there, and finds out what has changed. Never a lock.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from pydantic import ValidationError

from prefect_imagine.clock import utc_now
from prefect_imagine.providers.limits.measuring import Measured
from prefect_imagine.providers.models import Frozen, GenerationKind
from prefect_imagine.stores import Store

OUTDATED = timedelta(days=30)


class Latency(Frozen):
    """How long jobs of a kind and model take.

    Attributes:
        kind: of the jobs.
        model: of the jobs; `None` for all of the kind.
        seconds: from create to end.
    """

    kind: GenerationKind
    model: str | None = None
    seconds: float


class LearnedLimits(Frozen):
    """What a run has learned of a key.

    Attributes:
        at: when.
        rate: the limit, where no headers tell it; `None` where none was met.
        max_pending: jobs that may be pending at once; `None` where no such limit was met.
        latencies: how long its jobs take.
    """

    at: datetime
    rate: Measured | None = None
    max_pending: int | None = None
    latencies: tuple[Latency, ...] = ()


def _key(identity: str) -> str:
    return f".imagine/rates/{identity}.json"


def read_learned(store: Store, identity: str) -> LearnedLimits | None:
    """What was learned of an account in the last month; `None` where nothing was. Raises `StoreError`."""
    try:
        found = LearnedLimits.model_validate_json(store.read(_key(identity)) or b"")
    except ValidationError:
        return None
    return found if utc_now() - found.at < OUTDATED else None


def write_learned(store: Store, identity: str, learned: LearnedLimits) -> None:
    """Put what was learned of an account, replacing what was known before. Raises `StoreError`."""
    data = learned.model_dump_json(exclude_none=True).encode()
    store.put(_key(identity), data, "application/json")
