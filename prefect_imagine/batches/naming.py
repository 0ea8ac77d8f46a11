"""The id of a batch that nobody has named: what it is made of, so that the same again is the same batch."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from pathlib import Path

from prefect_imagine.batches.plan import asked_hash
from prefect_imagine.prompts.requested import RequestedItem

LONGEST_STEM = 60


def default_batch_id(source: str | None, asked: Sequence[RequestedItem], *, again: bool = False) -> str:
    """The source's name and a hash of what is asked for.

    Args:
        source: a prompts file's path or address; `None` for prompts without one.
        again: make an id that no batch has.
    """
    stem = "prompts" if source is None else Path(source).stem
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._") or "batch"
    hashed = asked_hash(each.fingerprint for each in asked)[:12]
    return f"{name[:LONGEST_STEM]}-{hashed}" + (f"-{uuid.uuid4().hex[:6]}" if again else "")
