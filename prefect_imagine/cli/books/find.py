"""`find`: which batch and item a file came from. It needs no Prefect server and no key."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from prefect_imagine.batches.plan import shortened
from prefect_imagine.cli import output
from prefect_imagine.cli.addresses import absolute
from prefect_imagine.cli.options import DEFAULT_OUTPUT, Json, Output
from prefect_imagine.errors import ConfigurationError
from prefect_imagine.redaction import printable
from prefect_imagine.reports.find import Found, Searched, check_digest, find_output
from prefect_imagine.reports.summary import SOME_FAILED
from prefect_imagine.stores import open_store

PROMPT_SHOWN = 400
"""Characters of a prompt: a terminal would be full of a long one."""


def find(
    file: Annotated[str, Parameter(help="a file, or 8 to 64 digits of its sha256")],
    /,
    *,
    under: Output = DEFAULT_OUTPUT,
    all: bool = False,
    json: Json = False,
) -> int:
    """Which batch and item an output came from, the newest batches first.

    Args:
        all: go on to all batches; without it, up to the first that has it.
    """
    digest = _digest_of(file)
    found: list[Found] = []
    left_out: list[Searched] = []
    with closing(open_store(absolute(under))) as store:
        for searched in find_output(store, digest, every=all):
            found += searched.found
            left_out += [searched] if searched.error is not None else []
        address = store.address
    for batch in left_out:
        output.complain(f"batch {batch.batch_id} cannot be read and is left out: {batch.error}")
    for each in found:
        for line in _described(each, address):
            output.line(line, to_stderr=json)
    missing = None if found else f"no output under {address} has the sha256 {digest}"
    if missing:
        output.say(missing)
    if json:
        told = {
            "sha256": digest,
            "found": [_contract(each, address) for each in found],
            "left_out": [{"batch_id": each.batch_id, "error": each.error} for each in left_out],
            "error": missing,
        }
        output.print_json(told)
    return 0 if found else SOME_FAILED


def _digest_of(sought: str) -> str:
    path = Path(sought).expanduser()
    try:
        if not path.is_file():
            return check_digest(sought)
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigurationError(f"{sought} cannot be read: {error.strerror or error}") from error


def _described(found: Found, address: str) -> Iterator[str]:
    item, request = found.item, found.item.request
    yield printable(f"batch {found.batch_id}, item {item.index}" + (f" ({item.name})" if item.name else ""))
    facts = {
        "prompt": shortened(request.prompt, PROMPT_SHOWN),
        "made by": f"{request.provider} {request.kind.value} {request.model or 'default'}",
        "job": item.id,
        "created": _moment(item.created_at),
        "stored": _moment(item.stored_at),
        "credits": output.credits_told(item.credits, item.credits.unpriced),
        "file": _place(found, address),
        "sha256": found.output.sha256,
    }
    yield from (f"  {name:<8} {printable(' '.join(value.split()))}" for name, value in facts.items() if value)


def _moment(at: datetime | None) -> str | None:
    return None if at is None else f"{at.astimezone():%Y-%m-%d %H:%M:%S %Z}"


def _place(found: Found, address: str) -> str:
    return f"{address}/{found.batch_id}/{found.output.key}"


def _contract(found: Found, address: str) -> dict[str, Any]:
    item = found.item
    known = item.model_dump(
        mode="json",
        include={"index", "item_id", "name", "request", "status", "credits", "created_at", "stored_at"},
    )
    return {
        "batch_id": found.batch_id,
        **known,
        "job": item.id,
        "key": f"{found.batch_id}/{found.output.key}",
        "address": _place(found, address),
        "sha256": found.output.sha256,
    }
