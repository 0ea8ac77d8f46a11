"""What a look at an account's jobs has shown last, for all who follow jobs of it: `.imagine/looks/<key>`.

Lists show the jobs of all workers that share a key, so a look of one may save those of the others. It is a
hint: who cannot read it, or finds nothing of its own there, looks itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from itertools import islice
from urllib.parse import quote

from pydantic import ValidationError

from prefect_imagine.providers.models import Frozen, Generation
from prefect_imagine.stores import Store

MOST_ROWS = 5_000
"""Jobs of one look that are told: the newest."""


class _Header(Frozen):
    """The first line.

    Attributes:
        by: who has looked.
        took: seconds from the beginning of the look until it was told.
    """

    by: str
    took: float


@dataclass(frozen=True)
class Shown:
    """What a look of somebody else has shown of some jobs.

    Attributes:
        age: seconds since it began, by the store's clock.
        rows: by id, as they were shown.
    """

    age: float
    rows: dict[str, Generation] = field(default_factory=dict)


def put_look(store: Store, identity: str, by: str, rows: Iterable[Generation], took: float) -> None:
    """Tell what a look has shown, in the place of the last one. Raises `StoreError`."""
    # What an address holds itself is fetched by whoever stores it.
    told = (row for row in rows if not any(each.inline for each in row.outputs))
    lines = [_Header(by=by, took=took).model_dump_json()]
    for row in islice(told, MOST_ROWS):
        body = row.model_dump_json(exclude={"raw"}, exclude_defaults=True)
        lines.append(f"{quote(row.id, safe='')} {body}")
    store.put(_key(identity), "\n".join(lines).encode())


def read_look(store: Store, identity: str, me: str, jobs: Collection[str], not_older: float) -> Shown | None:
    """What the last look has shown of these jobs; `None` where it is this process's own, or did not begin
    in the last so many seconds. Raises `StoreError`."""
    about = store.head(_key(identity))
    age = None if about is None else max(0.0, store.now() - about.modified)
    if age is None or age >= not_older:
        return None
    header, *lines = (store.read(_key(identity)) or b"").decode(errors="replace").split("\n")
    try:
        known = _Header.model_validate_json(header)
    except ValidationError:
        return None
    age += known.took
    if known.by == me or age >= not_older:
        return None
    wanted = {quote(job, safe=""): job for job in jobs}
    found = (line.partition(" ") for line in lines)
    rows = {wanted[name]: _row(body) for name, _, body in found if name in wanted}
    return Shown(age, {job: row for job, row in rows.items() if row is not None})


def _row(body: str) -> Generation | None:
    try:
        return Generation.model_validate_json(body)
    except ValidationError:
        return None


def _key(identity: str) -> str:
    return f".imagine/looks/{identity}"
