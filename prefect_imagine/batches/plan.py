"""What a shard is going to create: one line an item, written once before anything is spent."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from datetime import datetime
from functools import cached_property
from itertools import chain
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from prefect_imagine.batches.shards import FIRST, shard_path
from prefect_imagine.errors import ConfigurationError, StoreError
from prefect_imagine.providers.models import Estimate, GenerationRequest, digest
from prefect_imagine.stores import Store

FORMAT = 1
_BATCH_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """One way in which an item may be created.

    Attributes:
        provider: by whom.
        model: by which model.
        settings: everything else that shapes the result.
        estimate: what that is expected to cost.
    """

    provider: str
    model: str | None = None
    settings: dict[str, Any]
    estimate: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)  # a pydantic model takes ten times as much memory
class BatchItem:
    """One generation that a batch owes.

    Attributes:
        index: its place in the batch, from 1.
        item_id: names this item and no other, in any batch.
        name: what its output files are called after, where the prompt says so.
        asked: fingerprint of what the person wrote; `request` has the provider's choices filled in.
        request: what is sent.
        estimate: what it is expected to cost.
        alternatives: the ways in which it may be created, one after the other as providers refuse it: first
            the one that stands in the plan as `request`. Empty where there is no other.
        moderation: whether the next one is tried also where the reason was what is asked for.
        chosen: which of them it is created by.
    """

    index: int
    item_id: str
    name: str | None = None
    asked: str
    request: GenerationRequest
    estimate: Estimate
    alternatives: Annotated[tuple[Alternative, ...], Field(exclude_if=lambda value: not value)] = ()
    moderation: Annotated[bool, Field(exclude_if=lambda value: not value)] = False
    chosen: Annotated[int, Field(exclude=True)] = 0

    def by(self, alternative: int) -> BatchItem:
        """The item as it is created by one of its alternatives, from 0."""
        if alternative == self.chosen or not self.alternatives:
            return self
        way = self.alternatives[alternative]
        asked = {"provider": way.provider, "model": way.model, "settings": way.settings}
        request = self.request.model_copy(update=asked)
        return replace(self, request=request, estimate=way.estimate, chosen=alternative)

    @property
    def others(self) -> tuple[Alternative, ...]:
        """The alternatives that may still follow."""
        return self.alternatives[self.chosen + 1 :]

    @property
    def title(self) -> str:
        """What a person recognises it by: index and the start of the prompt."""
        return f"{self.index} {shortened(self.request.prompt)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanLine(BatchItem):
    """A line of a plan.

    Attributes:
        format: of the line.
        batch_id: the batch.
        planned_at: when the shard was planned.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    format: int
    batch_id: str
    planned_at: datetime


_LINE = TypeAdapter(PlanLine)


@dataclass(frozen=True)
class Plan:
    """The items of a shard, in order; their indices run through the batch."""

    batch_id: str
    planned_at: datetime
    items: tuple[BatchItem, ...]
    shard: int = FIRST

    @property
    def path(self) -> str:
        """The shard's folder below the root."""
        return shard_path(self.batch_id, self.shard)

    @cached_property
    def indices(self) -> range:
        """The indices of its items."""
        first = self.items[0].index
        return range(first, first + len(self.items))

    @property
    def providers(self) -> tuple[str, ...]:
        """The providers it uses, in order of first use."""
        return tuple(dict.fromkeys(item.request.provider for item in self.items))

    @property
    def asked(self) -> str:
        """A stable hash of what the person asked for."""
        return asked_hash(item.asked for item in self.items)

    def item(self, index: int) -> BatchItem:
        """The item with this index."""
        return self.items[index - self.items[0].index]


def shortened(prompt: str, width: int = 40) -> str:
    """The start of a prompt on one line."""
    line = " ".join(prompt.split())
    return line if len(line) <= width else line[: width - 1] + "…"


def asked_hash(fingerprints: Iterable[str]) -> str:
    """The hash of a whole batch's fingerprints, in order."""
    return digest(list(fingerprints))


def make_item_id(batch_id: str, index: int, asked: str) -> str:
    """An id that no other item of any batch has."""
    return digest([batch_id, index, asked])[:16]


def check_batch_id(batch_id: str) -> str:
    """The id, if it can name a folder. Raises `ConfigurationError`."""
    if not _BATCH_ID.fullmatch(batch_id):
        raise ConfigurationError(
            f"{batch_id!r} cannot be a batch id: use letters, digits, '.', '_' and '-', at most 120"
        )
    return batch_id


def plan_key(path: str) -> str:
    """Where the plan of a shard lies below the root."""
    return f"{path}/plan.jsonl"


def write_plan(store: Store, plan: Plan) -> bool:
    """Put the plan if there is none yet; `False` if there is another."""
    data = b"".join(_LINE.dump_json(_line(plan, item)) + b"\n" for item in plan.items)
    key = plan_key(plan.path)
    # A write that the store's client repeated has met itself.
    return store.put_new(key, data, "application/jsonl") or store.read(key) == data


def _line(plan: Plan, item: BatchItem) -> PlanLine:
    return PlanLine(format=FORMAT, batch_id=plan.batch_id, planned_at=plan.planned_at, **_values(item))


def read_plan(store: Store, batch_id: str, shard: int = FIRST) -> Plan | None:
    """The plan of a shard, or `None` if there is no such shard. Raises `StoreError` for a damaged one."""
    path = shard_path(check_batch_id(batch_id), shard)
    data = store.read(plan_key(path))
    return None if data is None else _parse(data, f"{store.address}/{path}", batch_id, shard)


def read_planned_at(store: Store, batch_id: str, shard: int = FIRST) -> datetime | None:
    """When a shard was planned, as its plan begins: the first one's time is the batch's. `None` where there
    is none. Raises `StoreError` for a damaged one."""
    path = shard_path(check_batch_id(batch_id), shard)
    pieces = store.pieces(plan_key(path))
    if pieces is None:
        return None
    data = b""
    for piece in pieces:
        data += piece
        if b"\n" in data:
            break
    try:
        return _LINE.validate_python(_current(json.loads(data.partition(b"\n")[0]))).planned_at
    except ValueError as error:
        raise StoreError(f"the plan of {store.address}/{path} cannot be read: {error}") from error


def _parse(data: bytes, place: str, batch_id: str, shard: int) -> Plan:
    try:
        lines = (
            _LINE.validate_python(_current(json.loads(line))) for line in io.BytesIO(data) if line.strip()
        )
        first = next(lines)
        common = _Common()
        items = tuple(common.item(line) for line in chain((first,), lines))
        plan = Plan(batch_id, first.planned_at, items, shard)
    except (ValueError, ValidationError, StopIteration) as error:
        raise StoreError(f"the plan of {place} cannot be read: {error}") from error
    begins = first.index == 1 if shard == FIRST else first.index > 1
    if not begins or [item.index for item in plan.items] != list(plan.indices):
        raise StoreError(f"the plan of {place} is not whole")
    return plan


def read_asked(store: Store, batch_id: str, shard: int, indices: range) -> list[tuple[int, str]]:
    """Index and fingerprint of each item of a shard that is known to have these. Raises `StoreError`."""
    path = shard_path(batch_id, shard)
    place = f"{store.address}/{path}"
    data = store.read(plan_key(path))
    if data is None:
        raise StoreError(f"the plan of {place} is gone")
    try:
        lines = (json.loads(each) for each in data.splitlines() if each)
        asked = [(line["index"], line["asked"]) for line in lines]
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"the plan of {place} cannot be read: {error}") from error
    if [index for index, _ in asked] != list(indices):
        raise StoreError(f"the plan of {place} is not whole")
    return asked


def _current(line: dict[str, object]) -> dict[str, object]:
    if line.get("format") != FORMAT:
        raise ValueError(f"format {line.get('format')!r} is not one that this version reads")
    return line


def _values(item: BatchItem) -> dict[str, Any]:
    return {each.name: getattr(item, each.name) for each in fields(BatchItem)}


class _Common:
    """Holds once what thousands of items of a plan have in common.

    Pydantic gives each request a set of its own with the names of its fields, of some 700 bytes.
    """

    _FIELDS: ClassVar = set(GenerationRequest.model_fields)

    def __init__(self) -> None:
        self._estimates: dict[Estimate, Estimate] = {}
        self._labels: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
        self._no_settings: dict[str, Any] = {}

    def item(self, line: PlanLine) -> BatchItem:
        """The item of a line."""
        estimate = self._estimates.setdefault(line.estimate, line.estimate)
        return BatchItem(**_values(line) | {"request": self._request(line.request), "estimate": estimate})

    def _request(self, request: GenerationRequest) -> GenerationRequest:
        labels = self._labels.setdefault(tuple(request.labels.items()), request.labels)
        common = {"labels": labels, "settings": request.settings or self._no_settings}
        return GenerationRequest.model_construct(self._FIELDS, **(dict(request) | common))
