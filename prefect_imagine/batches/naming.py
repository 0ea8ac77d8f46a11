"""The id of a batch that nobody has named."""

from __future__ import annotations

import re
import uuid
from datetime import date
from pathlib import Path

from prefect_imagine.batches.plan import asked_hash
from prefect_imagine.prompts.spool import Asked

LONGEST_STEM = 60
_HASHED = r"-[0-9a-f]{12}(-[0-9a-f]{6})?"


def default_batch_id(source: str | None, asked: Asked, *, again: bool = False) -> str:
    """The source's name and a hash of what is asked for: the same again is the same batch.

    Args:
        source: a prompts file's path or address; `None` for prompts without one.
        again: make an id that no batch has.
    """
    hashed = asked_hash(each.fingerprint for each in asked)[:12]
    return f"{_name_of(source)}-{hashed}" + (_unique() if again else "")


def batch_id_of_file(source: str, day: date | None, *, again: bool = False) -> str:
    """The id of the batch that a prompts file describes, whatever it holds by now: its name without the
    extension.

    Args:
        day: of which its prompts speak, so that each day's are a batch of their own.
        again: make an id that no batch has.
    """
    return (
        _name_of(source) + (f"-{day.isoformat()}" if day is not None else "") + (_unique() if again else "")
    )


def is_hashed_id_of(source: str, batch_id: str) -> bool:
    """Whether the first edition may have named a batch of this file so."""
    return re.fullmatch(re.escape(_name_of(source)) + _HASHED, batch_id) is not None


def _name_of(source: str | None) -> str:
    stem = "prompts" if source is None else Path(source).stem
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._") or "batch"
    return name[:LONGEST_STEM]


def _unique() -> str:
    return f"-{uuid.uuid4().hex[:6]}"
