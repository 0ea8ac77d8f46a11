"""How a batch was handed to a fleet: `<batch>/fleet.json`, and which of its shards have had their run.

    <batch>/fleet.json                        what the runs of shards have to know; replaced by the next one
    <batch>/fleet/<generation>/started        the runs of all shards have been started
    <batch>/fleet/<generation>/<shard>.json   how the run of a shard has ended

It stays. A batch is in a fleet's hands until there is an end for each shard that was handed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Literal

from pydantic import Field, ValidationError

from prefect_imagine.batches.fleet.shares import Portion, committed, shares, suffices
from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.batches.stops import Stop, StopReason
from prefect_imagine.batches.submission import remove_submission
from prefect_imagine.errors import StoreError
from prefect_imagine.providers.credits import Credits, add_credits
from prefect_imagine.providers.models import Frozen
from prefect_imagine.stores import Store


class Dispatch(Frozen):
    """A batch in the hands of a fleet.

    Attributes:
        batch_id: the batch.
        generation: counts how often it was handed over, from 1.
        at: when.
        asked_by: the flow run that handed it over.
        pool: the work pool whose workers run its shards.
        output: what the runs of shards are told of where it lies, as the flow was.
        bucket: the name of an S3Bucket block, if it lies in one.
        credentials: names of credentials blocks by provider.
        options: how it is run. What had failed before is not created again by a shard's run.
        commands_seen: the last command that was given before.
        shards: those that were handed over, by number.
        carried: what all others have cost, in credits by provider.
        source: path or address of what is asked for.
        traceparent: the trace of the run that handed it over, where it was traced.
    """

    format: Literal[1] = 1
    batch_id: str
    generation: int = Field(ge=1)
    at: datetime
    asked_by: str
    pool: str
    output: str
    bucket: str | None = None
    credentials: dict[str, str] = Field(default_factory=dict)
    options: BatchOptions
    commands_seen: int = 0
    shards: dict[int, Portion]
    carried: dict[str, Credits] = Field(default_factory=dict)
    source: str | None = None
    traceparent: str | None = None

    def share(
        self, shard: int, limits: tuple[Credits | None, Mapping[str, Credits]]
    ) -> tuple[Credits | None, dict[str, Credits]]:
        """What one of its shards may cost, where the batch may cost so much, in all and by provider.

        A limit that has come since it was handed over is divided only where it is enough for all: what others
        have spent by now is not known, so that otherwise no shard may spend more than it had then.
        """
        total, by_provider = limits
        own = self.options
        return (
            None if total is None else self._share(shard, total, total == own.max_credits, None),
            {
                name: self._share(shard, limit, limit == own.max_credits_by_provider.get(name), name)
                for name, limit in by_provider.items()
            },
        )

    def _share(self, shard: int, limit: Credits, divided: bool, provider: str | None) -> Credits:
        carried = add_credits(credits for name, credits in self.carried.items() if provider in (None, name))
        if not divided and not suffices(limit, carried, self.shards, provider):
            return committed(self.shards[shard], provider)
        return shares(limit, carried, self.shards, provider)[shard]


class ShardEnd(Frozen):
    """How the run of a shard has ended: nobody goes on with it by itself.

    Attributes:
        at: when.
        stops: why it did not create everything, if so.
        requests: what it has sent to the APIs, by purpose.
    """

    at: datetime
    stops: tuple[Stop, ...] = ()
    requests: dict[str, int] = Field(default_factory=dict)


def read_dispatch(store: Store, batch_id: str) -> Dispatch | None:
    """How a batch was last handed to a fleet; `None` where it never was. Raises `StoreError`, also where it
    cannot be read: whoever runs a shard has to know how."""
    data = store.read(dispatch_key(batch_id))
    return None if data is None else _parsed(store, batch_id, data)


def write_dispatch(store: Store, dispatch: Dispatch) -> bool:
    """Hand a batch over; `False` where somebody else has done so meanwhile. Raises `StoreError`."""
    key, data = dispatch_key(dispatch.batch_id), dispatch.model_dump_json(exclude_none=True).encode()
    found, version = store.read_version(key) or (None, None)
    if found is not None and _parsed(store, dispatch.batch_id, found).generation >= dispatch.generation:
        return found == data
    # A write that the store's client repeated has met itself.
    return store.swap(key, data, version) or store.read(key) == data


def _parsed(store: Store, batch_id: str, data: bytes) -> Dispatch:
    try:
        return Dispatch.model_validate_json(data)
    except ValidationError as error:
        raise StoreError(
            f"{store.address}/{dispatch_key(batch_id)} cannot be read: is it of a later version?"
        ) from error


def put_started(store: Store, dispatch: Dispatch) -> None:
    """Say that the runs of all shards have been started. Raises `StoreError`."""
    store.put(_started_key(dispatch), b"")


def all_started(store: Store, dispatch: Dispatch) -> bool:
    """Whether they have: one that is not there any more has been deleted. Raises `StoreError`."""
    return store.head(_started_key(dispatch)) is not None


def put_end(store: Store, dispatch: Dispatch, shard: int, end: ShardEnd) -> None:
    """Say that the run of a shard has ended. Raises `StoreError`."""
    data = end.model_dump_json(exclude_none=True).encode()
    store.put(_end_key(dispatch, shard), data, "application/json")


def has_ended(store: Store, dispatch: Dispatch, shard: int) -> bool:
    """Whether the run of a shard has ended. Raises `StoreError`."""
    return store.head(_end_key(dispatch, shard)) is not None


def ended_shards(store: Store, dispatch: Dispatch) -> set[int]:
    """The shards whose runs have ended. Raises `StoreError`."""
    prefix = _ends(dispatch)
    names = (found.key.removeprefix(prefix).removesuffix(".json") for found in store.list(prefix))
    return {int(name) for name in names if name.isascii() and name.isdecimal()} & dispatch.shards.keys()


def shards_to_come(store: Store, dispatch: Dispatch) -> list[int]:
    """The shards whose runs have not ended, ascending. Raises `StoreError`."""
    return sorted(dispatch.shards.keys() - ended_shards(store, dispatch))


def read_ends(store: Store, dispatch: Dispatch) -> dict[int, ShardEnd]:
    """How the runs of shards have ended, by number. Raises `StoreError`."""
    found: dict[int, ShardEnd] = {}
    for shard in sorted(ended_shards(store, dispatch)):
        try:
            found[shard] = ShardEnd.model_validate_json(store.read(_end_key(dispatch, shard)) or b"")
        except ValidationError:
            found[shard] = ShardEnd(at=dispatch.at)  # its end counts, whatever it had to say
    return found


def stops_of(ends: Iterable[ShardEnd]) -> list[Stop]:
    """Why creating has ended in some shards: each reason once, as the first of them tells it."""
    first: dict[tuple[StopReason, str | None], Stop] = {}
    for stop in (stop for end in ends for stop in end.stops):
        budget = None if stop.waits_for is None else stop.waits_for.budget
        first.setdefault((stop.reason, budget), stop)
    return list(first.values())


def in_fleet(store: Store, batch_id: str) -> Dispatch | None:
    """How a batch was handed to the fleet that has it in its hands; `None` where none has. Raises
    `StoreError`."""
    dispatch = read_dispatch(store, batch_id)
    return dispatch if dispatch is not None and shards_to_come(store, dispatch) else None


def end_submission(store: Store, batch_id: str) -> None:
    """Say that the books of a batch are closed, unless a fleet has it: then the last of its runs says how it
    has ended. Raises `StoreError`."""
    if in_fleet(store, batch_id) is None:
        remove_submission(store, batch_id)


def dispatch_key(batch_id: str) -> str:
    """Where it lies below the root."""
    return f"{batch_id}/fleet.json"


def _ends(dispatch: Dispatch) -> str:
    return f"{dispatch.batch_id}/fleet/{dispatch.generation:05d}/"


def _end_key(dispatch: Dispatch, shard: int) -> str:
    return f"{_ends(dispatch)}{shard:05d}.json"


def _started_key(dispatch: Dispatch) -> str:
    return f"{_ends(dispatch)}started"
