"""The journal's records: everything that happens to an item, each a line.

Reading a record that a later version wrote must fail loudly rather than lose money: unknown kinds and
fields are errors, and a changed meaning gets a new `FORMAT`.
"""

from __future__ import annotations

import json
import zlib
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from prefect_imagine.providers.credits import Credits
from prefect_imagine.providers.models import Frozen, GenerationStatus, Output

FORMAT = 1


class Claim(Frozen):
    """A process begins to write here.

    Attributes:
        owner: the process's token, which no other process has.
        host: the name of its machine.
        at: when, by its clock.
        max_credits: the limit of its run.
        max_credits_by_provider: the limits for single providers.
        set_after: of commands up to this one, those that set limits are void: a person has given a run other
            limits since.
    """

    kind: Literal["claim"] = "claim"
    owner: str
    host: str
    at: datetime
    max_credits: Credits | None = None
    max_credits_by_provider: dict[str, Credits] = Field(default_factory=dict)
    set_after: int | None = None


class Obeyed(Frozen):
    """A run has obeyed a command from here on.

    Attributes:
        at: when, by the writer's clock.
        command: its number.
        what: what it was to do: `pause`, `resume`, `set` or `retry`.
        given: by whom it was given, when, and why, in words.
    """

    kind: Literal["obeyed"] = "obeyed"
    at: datetime
    command: int
    what: str
    given: str


class ItemRecord(Frozen):
    """Something that happened to one item.

    Attributes:
        item: its index in the batch.
        at: the writer's clock, for people.
    """

    item: int
    at: datetime


class Intent(ItemRecord):
    """A create is about to be sent.

    Attributes:
        attempt: which attempt of the item it is, from 1.
        provider_at: the provider's clock.
        boot: which start of which machine the process lives in.
        boot_at: seconds since then: they show processes of the same machine, while it runs, how long ago this
            was.
        alternative: in which of the plan's ways, from 0; `None` for the first.
    """

    kind: Literal["intent"] = "intent"
    attempt: int
    provider_at: datetime
    boot: str
    boot_at: float
    alternative: int | None = None


class Created(ItemRecord):
    """The provider answered the create with a job.

    Attributes:
        attempt: which attempt of the item it was.
        id: the provider's id of the job.
        credits: what it cost, where the provider says so.
    """

    kind: Literal["created"] = "created"
    attempt: int
    id: str
    credits: Credits | None = None


class Adopted(ItemRecord):
    """The job of an open attempt was found in the provider's history.

    Attributes:
        attempt: which attempt of the item it was.
        id: the provider's id of the job.
        credits: what it cost, where the provider says so.
    """

    kind: Literal["adopted"] = "adopted"
    attempt: int
    id: str
    credits: Credits | None = None


class Refused(ItemRecord):
    """The provider refused the create; nothing was accepted.

    Attributes:
        attempt: which attempt of the item it was.
        final: whether the provider would refuse it again.
        reason: a stable word for why.
        message: the sentence.
    """

    kind: Literal["refused"] = "refused"
    attempt: int
    final: bool
    reason: str
    message: str


class NotSent(ItemRecord):
    """Not a byte of the create was sent.

    Attributes:
        attempt: which attempt of the item it was.
        message: why not.
    """

    kind: Literal["not_sent"] = "not_sent"
    attempt: int
    message: str


class Unanswered(ItemRecord):
    """No answer to a create is taken any more: whoever claims its job, if there is one, may have it.

    Attributes:
        attempt: which attempt of the item it was.
    """

    kind: Literal["unanswered"] = "unanswered"
    attempt: int


class Absent(ItemRecord):
    """History proves that the create was not accepted.

    Attributes:
        attempt: which attempt of the item it was.
    """

    kind: Literal["absent"] = "absent"
    attempt: int


class Unknown(ItemRecord):
    """Whether the create was accepted cannot be found out. Never sent again unless a person asks for it.

    Attributes:
        attempt: which attempt of the item it was.
        message: why it cannot be found out.
    """

    kind: Literal["unknown"] = "unknown"
    attempt: int
    message: str


class Finished(ItemRecord):
    """The provider is done with the job.

    Attributes:
        id: the provider's id of the job.
        status: how it ended.
        credits: what it cost, where the provider says so.
        refund: of a failed one, what the record says of its cost.
        outputs: where the provider offers them.
        reason: a stable word for what went wrong.
        message: the sentence.
        created_at: when the job was created, by the provider's record.
        finished_at: when it ended, by the provider's record.
    """

    kind: Literal["finished"] = "finished"
    id: str
    status: GenerationStatus
    credits: Credits | None = None
    refund: Literal["none", "full", "partial", "unknown"] | None = None
    outputs: tuple[Output, ...] = ()
    reason: str | None = None
    message: str | None = None
    created_at: datetime | None = None
    finished_at: datetime | None = None


class Stored(ItemRecord):
    """All outputs are in the store, whole.

    Attributes:
        outputs: where they are in the store, with their sizes and hashes.
    """

    kind: Literal["stored"] = "stored"
    outputs: tuple[Output, ...]


class Failed(ItemRecord):
    """Following or storing a paid job failed for now; a later run goes on with the same job.

    Attributes:
        reason: a stable word for why.
        message: the sentence.
    """

    kind: Literal["failed"] = "failed"
    reason: str
    message: str


class Retry(ItemRecord):
    """A person wants a failed or unknown item created again.

    Attributes:
        asked_by: the run that they started.
        command: the number of the command by which they said so.
    """

    kind: Literal["retry"] = "retry"
    asked_by: str = ""
    command: int | None = None


class Withdrawn(ItemRecord):
    """What was asked for is not asked for any more, and had not been created, or had failed."""

    kind: Literal["withdrawn"] = "withdrawn"


class Unwanted(ItemRecord):
    """What was asked for is not asked for any more, while it is not known whether its create was accepted, or
    while its job may fail. If it was not accepted, it is withdrawn; if it fails, nothing follows."""

    kind: Literal["unwanted"] = "unwanted"


class Restored(ItemRecord):
    """What was withdrawn, or unwanted, is asked for again."""

    kind: Literal["restored"] = "restored"


class Instead(ItemRecord):
    """What a provider has refused, or failed, is created in another way from here on.

    Attributes:
        alternative: which one of the plan's, from 0.
    """

    kind: Literal["instead"] = "instead"
    alternative: int


class Header(Frozen):
    """The first line of every segment.

    Attributes:
        format: of its records.
        seq: its number, from 1 without a gap.
        writer: the token of the process that wrote it.
        lines: how many follow.
    """

    kind: Literal["segment"] = "segment"
    format: int = FORMAT
    seq: int
    writer: str
    lines: int


AnyItemRecord = (
    Intent
    | Created
    | Adopted
    | Refused
    | NotSent
    | Unanswered
    | Absent
    | Unknown
    | Finished
    | Stored
    | Failed
    | Retry
    | Withdrawn
    | Unwanted
    | Restored
    | Instead
)
AnyRecord = Claim | Obeyed | AnyItemRecord
Record = Annotated[AnyRecord, Field(discriminator="kind")]
_RECORD: TypeAdapter[AnyRecord] = TypeAdapter(Record)


def to_line(record: Frozen) -> bytes:
    """A record as one line of JSON that ends with the CRC-32 of what stands before it."""
    return seal(record.model_dump_json(exclude_none=True))


def seal(body: str) -> bytes:
    """A JSON object as a line that ends with the CRC-32 of what stands before it."""
    return f'{body[:-1]},"crc":"{zlib.crc32(body.encode()):08x}"}}\n'.encode()


def unwrap_line(line: bytes) -> dict[str, Any] | None:
    """The JSON of a line, or `None` where the line is torn or altered."""
    body, mark, rest = line.rstrip(b"\n").rpartition(b',"crc":"')
    whole = body + b"}"
    if not mark or rest != f'{zlib.crc32(whole):08x}"}}'.encode():
        return None
    loaded = json.loads(whole)
    return loaded if isinstance(loaded, dict) else None


def to_record(value: dict[str, Any]) -> AnyRecord:
    """The record of a line's JSON. Raises `ValueError` for one that this version does not know."""
    try:
        return _RECORD.validate_python(value)
    except ValidationError as error:
        raise ValueError(f"a journal record of kind {value.get('kind')!r} cannot be read") from error
