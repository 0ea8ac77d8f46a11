"""Snapshots: where every item stood after a segment, so that a reader need not begin with the first one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from prefect_imagine.batches.records import Claim, Header, Obeyed, seal, to_line
from prefect_imagine.batches.state import ItemState

STANDING = "standing"
_STATE = TypeAdapter(ItemState)


@dataclass(frozen=True)
class Standing:
    """Where one item stands: the fold of all its records. Only snapshots hold it."""

    item: int
    state: ItemState


def encode_snapshot(
    seq: int,
    writer: str,
    claim: Claim | None,
    items: Mapping[int, ItemState],
    obeyed: Iterable[Obeyed] = (),
) -> bytes:
    """A snapshot of all segments up to this one, in the format of a segment."""
    lines = [to_line(claim)] if claim is not None else []
    lines += map(to_line, obeyed)
    lines += (_to_line(index, state) for index, state in items.items())
    return b"".join([to_line(Header(seq=seq, writer=writer, lines=len(lines))), *lines])


def _to_line(index: int, state: ItemState) -> bytes:
    stands = _STATE.dump_json(state, exclude_defaults=True).decode()
    return seal(f'{{"kind":"{STANDING}","item":{index},"state":{stands}}}')


def to_standing(value: dict[str, Any]) -> Standing:
    """The standing of a line's JSON. Raises `ValueError` for one that this version does not know."""
    try:
        if value.keys() - {"kind", "item", "state", "crc"}:
            raise ValueError("unknown fields")
        return Standing(int(value["item"]), _STATE.validate_python(value["state"]))
    except (ValidationError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"a journal record of kind {STANDING!r} cannot be read") from error
