"""Where every item of a batch stands: the fold of its journal."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import singledispatch

from pydantic import ConfigDict

from prefect_imagine.batches.records import (
    Absent,
    Adopted,
    AnyItemRecord,
    AnyRecord,
    Claim,
    Created,
    Failed,
    Finished,
    Instead,
    Intent,
    NotSent,
    Obeyed,
    Refused,
    Restored,
    Retry,
    Stored,
    Unanswered,
    Unknown,
    Unwanted,
    Withdrawn,
)
from prefect_imagine.providers.models import GenerationStatus, Output


class Phase(StrEnum):
    """Where an item stands."""

    PLANNED = "planned"
    OPEN = "open"
    CREATED = "created"
    FINISHED = "finished"
    STORED = "stored"
    FAILED = "failed"
    UNKNOWN = "unknown"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class Charge:
    """One job that was, or may have been, accepted for an item.

    Attributes:
        credits: what the provider said; `None` where it is silent.
        refund: of a failed job; `unknown` where the provider is silent.
        at: when it was asked for, if its item has been asked for again since; otherwise the item tells it.
    """

    id: str
    credits: int | float | None = None
    refund: str | None = None
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ItemState:
    """Where one item stands, and all it has cost.

    Attributes:
        charges: one a job, in order; a retried item has several.
        possible_jobs: earlier attempts whose fate stayed unknown and that were created again.
        possible_at: when those were asked for; of earlier versions' the time is not known.
        asked_at: the provider's time of the last intent; `intent_at` is this side's.
        unanswered: whether no answer to that is taken any more.
        error: the last thing that went wrong, cleared by success.
        reason: a stable word for it.
        retried: why each earlier job failed, or was refused, that was created again, in order.
        retried_by: the run that last had to create it again.
        commanded: the last command by which it was created again: one is obeyed once.
        withdrawn_from: where it stood when it was withdrawn, if it is.
        unwanted: whether it is withdrawn if the create that is open turns out not to have been accepted.
        alternative: in which of the plan's ways it is created, from 0. All of the above is of this one.
        earlier: where it stood in earlier ways when it was given up there, in order.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    phase: Phase = Phase.PLANNED
    attempt: int = 0
    intent: Intent | None = None
    id: str | None = None
    charges: tuple[Charge, ...] = ()
    possible_jobs: int = 0
    possible_at: tuple[datetime, ...] = ()
    outputs: tuple[Output, ...] = ()
    status: GenerationStatus | None = None
    reason: str | None = None
    error: str | None = None
    intent_at: datetime | None = None
    asked_at: datetime | None = None
    unanswered: bool = False
    created_at: datetime | None = None
    finished_at: datetime | None = None
    stored_at: datetime | None = None
    retried: tuple[str, ...] = ()
    retried_by: str = ""
    commanded: int = 0
    withdrawn_from: Phase | None = None
    unwanted: bool = False
    alternative: int = 0
    earlier: tuple[ItemState, ...] = ()

    @property
    def settled(self) -> bool:
        """Whether a further run would leave this item as it is."""
        return self.phase in (Phase.STORED, Phase.FAILED, Phase.UNKNOWN, Phase.WITHDRAWN)

    def charged(self, charge: Charge) -> ItemState:
        """The same with a job's cost added, or replaced by what is known by now."""
        others = tuple(known for known in self.charges if known.id != charge.id)
        return replace(self, charges=(*others, charge))


WITHDRAWABLE = (Phase.PLANNED, Phase.FAILED)
"""Of these nothing is under way, nor may be."""


def may_have_unknown_job(item: ItemState) -> bool:
    """Whether a job may have been accepted for an item in its present way, now or in an earlier attempt, that
    is none of its charges: what a history shows may be that one."""
    return item.phase in (Phase.OPEN, Phase.UNKNOWN) or item.possible_jobs > 0


@dataclass
class BatchState:
    """Where all items of a shard stand. Mutable, and changed only by applying durable records.

    Attributes:
        claim: the last one.
        obeyed: commands that were obeyed, by number.
    """

    items: dict[int, ItemState] = field(default_factory=dict)
    claim: Claim | None = None
    obeyed: dict[int, Obeyed] = field(default_factory=dict)

    def __getitem__(self, index: int) -> ItemState:
        return self.items.get(index, _FRESH)

    def apply(self, record: AnyRecord) -> None:
        """Take one record in."""
        if isinstance(record, Claim):
            self.claim = record
        elif isinstance(record, Obeyed):
            self.obeyed[record.command] = record
        else:
            self.items[record.item] = _apply(record, self[record.item])


_FRESH = ItemState()


@singledispatch
def _apply(record: AnyItemRecord, item: ItemState) -> ItemState:
    raise TypeError(f"no rule for {type(record).__name__}")


@_apply.register
def _(record: Intent, item: ItemState) -> ItemState:
    way = record.alternative or 0
    return replace(
        item if way == item.alternative else _otherwise(item, way),  # what led there may be lost
        phase=Phase.OPEN,
        attempt=record.attempt,
        intent=record,
        intent_at=record.at,
        asked_at=record.provider_at,
        unanswered=False,
        id=None,
        status=None,
        outputs=(),
        reason=None,
        error=None,
        withdrawn_from=None,
    )


@_apply.register(Created)
@_apply.register(Adopted)
def _(record: Created | Adopted, item: ItemState) -> ItemState:
    known = replace(
        item, phase=Phase.CREATED, id=record.id, intent=None, reason=None, error=None, created_at=record.at
    )
    return known.charged(Charge(record.id, record.credits))


@_apply.register
def _(record: Refused, item: ItemState) -> ItemState:
    known = replace(item, intent=None, reason=record.reason, error=record.message)
    return replace(known, phase=Phase.FAILED) if record.final else _not_accepted(known)


@_apply.register
def _(record: NotSent, item: ItemState) -> ItemState:
    return _not_accepted(replace(item, intent=None, reason="not_sent", error=record.message))


@_apply.register
def _(_record: Unanswered, item: ItemState) -> ItemState:
    return replace(item, unanswered=True)


@_apply.register
def _(record: Absent, item: ItemState) -> ItemState:
    return _not_accepted(replace(item, intent=None, reason=None, error=None))


def _not_accepted(item: ItemState) -> ItemState:
    """It stands to be created again, unless nobody wants it any more."""
    if item.unwanted:
        return replace(item, phase=Phase.WITHDRAWN, withdrawn_from=Phase.PLANNED, unwanted=False)
    return replace(item, phase=Phase.PLANNED)


@_apply.register
def _(record: Unknown, item: ItemState) -> ItemState:
    return replace(item, phase=Phase.UNKNOWN, reason="unknown", error=record.message)


@_apply.register
def _(record: Finished, item: ItemState) -> ItemState:
    before = [each for each in item.earlier if any(charge.id == record.id for charge in each.charges)]
    if before and record.id != item.id:  # told once more, of a way that was given up
        told = tuple(each.charged(_charge(record, each)) if each in before else each for each in item.earlier)
        return replace(item, earlier=told)
    done = record.status is GenerationStatus.SUCCEEDED
    return replace(
        item,
        phase=Phase.FINISHED if done else Phase.FAILED,
        status=record.status,
        outputs=record.outputs,
        reason=record.reason,
        error=record.message,
        created_at=record.created_at or item.created_at,
        finished_at=record.finished_at or record.at,
    ).charged(_charge(record, item))


def _charge(record: Finished, item: ItemState) -> Charge:
    """What a job is known to have cost once it has ended."""
    known = next((charge for charge in item.charges if charge.id == record.id), Charge(record.id))
    reported = record.credits if record.credits is not None else known.credits
    return Charge(record.id, reported, record.refund, known.at)


@_apply.register
def _(record: Stored, item: ItemState) -> ItemState:
    return replace(
        item, phase=Phase.STORED, outputs=record.outputs, reason=None, error=None, stored_at=record.at
    )


@_apply.register
def _(record: Failed, item: ItemState) -> ItemState:
    return replace(item, reason=record.reason, error=record.message)


@_apply.register
def _(record: Instead, item: ItemState) -> ItemState:
    return _otherwise(item, record.alternative)


def _otherwise(item: ItemState, alternative: int) -> ItemState:
    """It stands to be created in another way."""
    return ItemState(
        attempt=item.attempt,
        retried_by=item.retried_by,
        commanded=item.commanded,
        alternative=alternative,
        earlier=(*item.earlier, replace(item, earlier=())),
    )


@_apply.register
def _(record: Retry, item: ItemState) -> ItemState:
    if item.alternative:  # whoever wants it again begins with what was asked for
        return _otherwise(_again(record, item), 0)
    return _again(record, item)


def _again(record: Retry, item: ItemState) -> ItemState:
    unknown, at = item.phase is Phase.UNKNOWN, item.intent_at
    failed = (item.reason or "",) if item.phase is Phase.FAILED else ()
    return replace(
        item,
        phase=Phase.PLANNED,
        intent=None,
        id=None,
        status=None,
        outputs=(),
        charges=tuple(replace(each, at=each.at or at) for each in item.charges),
        possible_jobs=item.possible_jobs + unknown,
        possible_at=(*item.possible_at, at) if unknown and at is not None else item.possible_at,
        retried=(*item.retried, *failed),
        retried_by=record.asked_by,
        commanded=max(item.commanded, record.command or 0),
        unwanted=False,
    )


@_apply.register
def _(_record: Withdrawn, item: ItemState) -> ItemState:
    return replace(item, phase=Phase.WITHDRAWN, withdrawn_from=item.withdrawn_from or item.phase)


@_apply.register
def _(_record: Unwanted, item: ItemState) -> ItemState:
    return replace(item, unwanted=True)


@_apply.register
def _(_record: Restored, item: ItemState) -> ItemState:
    return replace(item, phase=item.withdrawn_from or item.phase, withdrawn_from=None, unwanted=False)
