"""Every create that was ever sent for an item, what came of it and what it cost: the fold of a shard's whole
journal.

Snapshots only speed a reader up, and say where items stand; what each attempt came to is in the segments
alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import singledispatch

from prefect_imagine.batches.reading import (
    Reading,
    read_journal,
    read_segments,
    report_damage,
    snapshot_key,
    snapshots_folder,
)
from prefect_imagine.batches.records import (
    Absent,
    Adopted,
    AnyItemRecord,
    AnyRecord,
    Created,
    Finished,
    Intent,
    ItemRecord,
    NotSent,
    Refused,
    Unknown,
)
from prefect_imagine.batches.state import BatchState, Charge, ItemState, Phase
from prefect_imagine.providers.models import GenerationStatus
from prefect_imagine.stores import Store

_READERS = 8


class Outcome(StrEnum):
    """What an attempt has come to."""

    OPEN = "open"
    """Sent, or about to be, and not answered."""
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """The provider ended the job without a result, or it was cancelled."""
    REFUSED = "refused"
    NOT_SENT = "not_sent"
    ABSENT = "absent"
    """The history proves that it was not accepted."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One create of one item.

    Attributes:
        number: which of the item's attempts it is, from 1, in the order of the journal.
        asked_at: when it was about to be sent, by the writer's clock; `None` where the record of it is lost.
        answered_at: when its answer was written down, or what the history showed of it.
        job_id: the provider's id, of one that was accepted.
        reason: a stable word for what went wrong; `message` is the sentence.
        credits: what the provider said it cost; `None` where it is silent.
        refund: of a failed job, as in its record.
        finished_at: when the job ended, by the provider's clock where it says so.
        alternative: in which of the item's ways it was created, from 0.
    """

    item: int
    number: int
    outcome: Outcome = Outcome.OPEN
    asked_at: datetime | None = None
    answered_at: datetime | None = None
    job_id: str | None = None
    reason: str | None = None
    message: str | None = None
    credits: int | float | None = None
    refund: str | None = None
    finished_at: datetime | None = None
    alternative: int = 0


@dataclass
class Chronicle:
    """A shard's whole journal.

    Attributes:
        seq: its last segment; 0 for none.
        state: where all items stand.
        changed: the items of which the segments after a given one tell something.
        attempts: of each item, in order.
    """

    seq: int = 0
    state: BatchState = field(default_factory=BatchState)
    changed: set[int] = field(default_factory=set)
    attempts: dict[int, list[Attempt]] = field(default_factory=dict)


def read_chronicle(store: Store, path: str, after: int = 0) -> Chronicle:
    """Everything that a shard's journal tells, from its first segment on. Raises `StoreError`.

    Where a segment is lost or damaged, items stand as the newest snapshot has it, and jobs that only it knows
    are attempts of which little is known: what all attempts cost is what the bill says in any case.

    Args:
        path: the shard's folder below the root.
        after: the segment up to which the items are known.
    """
    reading = Reading()
    attempts: dict[int, _Attempts] = {}
    changed: set[int] = set()
    with ThreadPoolExecutor(_READERS) as readers:
        for entries in read_segments(store, path, reading, readers):
            for record in _of_items(entries):
                attempts.setdefault(record.item, _Attempts(record.item)).take(record)
                if reading.seq > after:
                    changed.add(record.item)
    report_damage(path, reading)
    if reading.damaged or _is_ahead(store, path, reading.seq):
        reading = read_journal(store, path)
        for item, known in reading.state.items.items():
            attempts.setdefault(item, _Attempts(item)).complete(known)
    told = {item: each.all for item, each in attempts.items()}
    return Chronicle(reading.seq, reading.state, changed, told)


def _is_ahead(store: Store, path: str, seq: int) -> bool:
    """Whether a snapshot tells of segments behind the last one that is there."""
    snapshots = store.list(snapshots_folder(path), after=snapshot_key(path, seq))
    return next(iter(snapshots), None) is not None


def _of_items(entries: Iterable[AnyRecord]) -> Iterator[AnyItemRecord]:
    return (entry for entry in entries if isinstance(entry, ItemRecord))


class _Attempts:
    """The attempts of one item, as records come."""

    def __init__(self, item: int) -> None:
        self._item = item
        self.all: list[Attempt] = []
        self._places: dict[int, int] = {}  # by the journal's number of an attempt
        self._alternative = 0

    def take(self, record: AnyItemRecord) -> None:
        """Take one record in."""
        if isinstance(record, Intent):
            self._alternative = record.alternative or 0
            self._places[record.attempt] = self._append(asked_at=record.at)
        elif isinstance(record, Finished):
            self._change(self._of_job(record.id), record)
        elif isinstance(record, Created | Adopted | Refused | NotSent | Absent | Unknown):
            place = self._places.get(record.attempt)
            if place is None:  # its intent is in a segment that is lost
                place = self._places[record.attempt] = self._append()
            self._change(place, record)

    def complete(self, known: ItemState) -> None:
        """Add the jobs that only a snapshot knows, and the create of which only it knows that it is open."""
        for each in (*known.earlier, known):
            self._alternative = each.alternative
            for charge in each.charges:
                place = self._of_job(charge.id)
                if self.all[place].job_id is None or self.all[place].outcome is Outcome.RUNNING:
                    last = each.id == charge.id
                    self.all[place] = _by_standing(self.all[place], charge, each if last else None)
        missing = _OPEN.get(known.phase)
        if missing is not None and not (self.all and self.all[-1].outcome is missing):
            place = self._append(asked_at=known.intent_at)
            self.all[place] = replace(self.all[place], outcome=missing, message=known.error)

    def _append(self, asked_at: datetime | None = None) -> int:
        number = len(self.all) + 1
        self.all.append(Attempt(self._item, number, asked_at=asked_at, alternative=self._alternative))
        return len(self.all) - 1

    def _change(self, place: int, record: AnyItemRecord) -> None:
        self.all[place] = _resolved(record, self.all[place])

    def _of_job(self, job_id: str) -> int:
        """The place of a job's attempt; where nothing tells which it was, of the last that may be it."""
        for place, attempt in enumerate(self.all):
            if attempt.job_id == job_id:
                return place
        if self.all and self.all[-1].outcome in (Outcome.OPEN, Outcome.UNKNOWN):
            return len(self.all) - 1
        return self._append()


_OPEN: Mapping[Phase, Outcome] = {Phase.OPEN: Outcome.OPEN, Phase.UNKNOWN: Outcome.UNKNOWN}
_STANDING: Mapping[Phase, Outcome] = {
    Phase.CREATED: Outcome.RUNNING,
    Phase.FINISHED: Outcome.SUCCEEDED,
    Phase.STORED: Outcome.SUCCEEDED,
}


def _by_standing(attempt: Attempt, charge: Charge, known: ItemState | None) -> Attempt:
    """An attempt by what a snapshot says of its job. `known`: of the item, if it is its last one; an earlier
    one has failed."""
    told = replace(attempt, job_id=charge.id, credits=charge.credits, refund=charge.refund)
    if known is None:
        return replace(told, outcome=Outcome.FAILED)
    return replace(
        told,
        outcome=_STANDING.get(known.phase, Outcome.FAILED),
        asked_at=attempt.asked_at or known.intent_at,
        answered_at=attempt.answered_at or known.created_at,
        finished_at=known.finished_at,
        reason=known.reason,
        message=known.error,
    )


@singledispatch
def _resolved(record: AnyItemRecord, attempt: Attempt) -> Attempt:
    raise TypeError(f"no rule for {type(record).__name__}")


@_resolved.register(Created)
@_resolved.register(Adopted)
def _(record: Created | Adopted, attempt: Attempt) -> Attempt:
    return replace(
        attempt,
        outcome=Outcome.RUNNING,
        answered_at=record.at,
        job_id=record.id,
        credits=record.credits,
        reason=None,
        message=None,
    )


@_resolved.register
def _(record: Refused, attempt: Attempt) -> Attempt:
    return replace(
        attempt,
        outcome=Outcome.REFUSED,
        answered_at=record.at,
        reason=record.reason,
        message=record.message,
    )


@_resolved.register
def _(record: NotSent, attempt: Attempt) -> Attempt:
    return replace(attempt, outcome=Outcome.NOT_SENT, reason="not_sent", message=record.message)


@_resolved.register
def _(record: Absent, attempt: Attempt) -> Attempt:
    return replace(attempt, outcome=Outcome.ABSENT, answered_at=record.at, reason=None, message=None)


@_resolved.register
def _(record: Unknown, attempt: Attempt) -> Attempt:
    return replace(attempt, outcome=Outcome.UNKNOWN, reason="unknown", message=record.message)


@_resolved.register
def _(record: Finished, attempt: Attempt) -> Attempt:
    done = record.status is GenerationStatus.SUCCEEDED
    return replace(
        attempt,
        outcome=Outcome.SUCCEEDED if done else Outcome.FAILED,
        job_id=record.id,
        credits=record.credits if record.credits is not None else attempt.credits,
        refund=record.refund,
        reason=record.reason,
        message=record.message,
        finished_at=record.finished_at or record.at,
    )
