"""A settled shard in one object: its bill, by when it was spent, and the ids of its jobs.

It says up to which segment of the journal it holds: where another follows, somebody has gone on with the
shard, and it says nothing any more. So it can be written at any time, and is never wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Literal

from pydantic import ValidationError

from prefect_imagine.batches.plan import Plan
from prefect_imagine.batches.reading import segment_key
from prefect_imagine.batches.shard import Shard, Way
from prefect_imagine.batches.shards import shard_path
from prefect_imagine.batches.state import BatchState, ItemState, Phase, may_have_unknown_job
from prefect_imagine.billing.bill import Bill, Group, Sums
from prefect_imagine.billing.costs import model_name
from prefect_imagine.billing.outcomes import Outcomes, OutcomeSums
from prefect_imagine.billing.spans import Span
from prefect_imagine.billing.usage import Tally, Usage
from prefect_imagine.providers.models import Frozen
from prefect_imagine.stores import Store

_FINAL = (Phase.STORED, Phase.FAILED, Phase.WITHDRAWN)
QUARTER = 15 * 60
"""Seconds: every time zone's days begin with a quarter of an hour."""


class Spent(Tally):
    """What the items that were last created in one quarter of an hour came to and cost.

    Attributes:
        at: when it begins.
        by: whether the name is a model's (`provider/kind/model`) or a label's (`label=value`).
    """

    at: datetime
    by: Literal["model", "label"]


class Settlement(Frozen):
    """A settled shard.

    Attributes:
        batch_id: the batch.
        shard: which of its shards, from 1.
        seq: the last segment of the journal that it holds.
        last_create: when an item was last asked for, by the provider's clock or by this side's, whichever is
            later; `None` where none was.
        usage: its bill.
        times: when items were under way that are stored, as in the bill.
        failed: the indices of the items that failed.
        withdrawn: of those that were withdrawn.
        outcomes: what its generations came to.
        spent: what was spent when, by model and by label.
        jobs: by provider, the ids of all its jobs, with the provider's time (epoch seconds) at which the item
            of each was last asked for, where that was answered.
    """

    format: Literal[3] = 3
    batch_id: str
    shard: int
    seq: int
    last_create: datetime | None = None
    usage: Usage
    times: dict[Group, dict[str, tuple[Span, ...]]]
    failed: tuple[int, ...] = ()
    withdrawn: tuple[int, ...] = ()
    spent: tuple[Spent, ...]
    outcomes: tuple[Outcomes, ...]
    jobs: dict[str, dict[str, float | None]]

    @property
    def path(self) -> str:
        """The shard's folder below the root."""
        return shard_path(self.batch_id, self.shard)

    @property
    def bill(self) -> Bill:
        """The shard's bill."""
        return Bill.of_settled(self.usage, self.times)


def is_final(state: ItemState) -> bool:
    """Whether nothing but a person's wish can change an item any more."""
    return state.phase in _FINAL and not any(map(may_have_unknown_job, (state, *state.earlier)))


def settle(plan: Plan, state: BatchState, seq: int, bill: Bill, as_of: datetime) -> Settlement | None:
    """The settlement of a shard; `None` where it is not settled."""
    states = [state[item.index] for item in plan.items]
    if not all(map(is_final, states)):
        return None
    created = list(Shard(plan, state).ways())
    asked = [at for way in created for at in (way.state.asked_at, way.state.intent_at) if at is not None]
    jobs: dict[str, dict[str, float | None]] = {}
    for way in created:
        asked_at = None if way.state.unanswered else way.state.asked_at
        for charge in way.state.charges:
            own = jobs.setdefault(way.item.request.provider, {})
            own[charge.id] = asked_at.timestamp() if asked_at is not None else None
    return Settlement(
        batch_id=plan.batch_id,
        shard=plan.shard,
        seq=seq,
        last_create=max(asked, default=None),
        usage=bill.usage(as_of),
        times=bill.times,
        failed=_those_in(Phase.FAILED, plan, state),
        withdrawn=_those_in(Phase.WITHDRAWN, plan, state),
        spent=tuple(_spent(created)),
        outcomes=_outcomes(plan, state),
        jobs=jobs,
    )


def _those_in(phase: Phase, plan: Plan, state: BatchState) -> tuple[int, ...]:
    return tuple(item.index for item in plan.items if state[item.index].phase is phase)


def _outcomes(plan: Plan, state: BatchState) -> tuple[Outcomes, ...]:
    sums = OutcomeSums()
    for item in plan.items:
        sums.update(item, state[item.index])
    return sums.outcomes


def _spent(created: Iterable[Way]) -> Iterator[Spent]:
    models: dict[tuple[datetime, str], Sums] = {}
    labels: dict[tuple[datetime, str], Sums] = {}
    for way in created:
        if way.state.intent_at is None:
            continue
        second = int(way.state.intent_at.timestamp())
        quarter = datetime.fromtimestamp(second - second % QUARTER, UTC)
        models.setdefault((quarter, model_name(way.item)), Sums()).add(way)
        for label, value in way.item.request.labels.items():
            labels.setdefault((quarter, f"{label}={value}"), Sums()).add(way)
    for (at, name), sums in models.items():
        yield Spent(at=at, by="model", **sums.tally(name).model_dump())
    for (at, name), sums in labels.items():
        yield Spent(at=at, by="label", **sums.tally(name).model_dump())


def settlement_key(path: str) -> str:
    """Where the settlement of a shard lies below the root."""
    return f"{path}/settled.json"


def write_settlement(store: Store, settlement: Settlement) -> None:
    """Put a settlement, replacing an older one. Raises `StoreError`."""
    key = settlement_key(settlement.path)
    store.put(key, settlement.model_dump_json(exclude_none=True).encode(), "application/json")


def read_settlement(store: Store, path: str) -> Settlement | None:
    """A shard's settlement; `None` where there is none that holds. Raises `StoreError`."""
    data = store.read(settlement_key(path))
    if data is None:
        return None
    try:
        found = Settlement.model_validate_json(data)
    except ValidationError:
        return None  # another version's: the journal says the same
    copied = found.path != path
    gone_on = store.head(segment_key(path, found.seq + 1)) is not None
    return None if copied or gone_on else found
