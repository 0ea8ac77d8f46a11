"""Which batch a prompts file describes, where nobody has named one."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from datetime import datetime

from prefect_imagine.batches.naming import batch_id_of_file, default_batch_id, is_hashed_id_of
from prefect_imagine.batches.plan import read_plan
from prefect_imagine.errors import ConfigurationError, StoreError
from prefect_imagine.prompts.spool import Asked
from prefect_imagine.prompts.templates import Variables
from prefect_imagine.stores import Store


def default_batch(
    store: Store,
    source: str | None,
    asked: Asked,
    used: Variables,
    at: datetime,
    *,
    again: bool,
) -> str:
    """The batch that a file describes, by its name, and by the day where its prompts speak of it; without a
    file that of just these prompts.

    Raises:
        ConfigurationError: the first edition named batches by what they hold, and one of them holds some of
            these: a new one would pay for them again.
    """
    if source is None:
        return default_batch_id("stdin", asked, again=again)
    named = batch_id_of_file(source, at.date() if used.used else None, again=again)
    if again or _exists(store, named):
        return named
    hashed = default_batch_id(source, asked)
    if _exists(store, hashed):
        return hashed
    _check_relatives(store, source, asked, named)
    return named


def _exists(store: Store, batch_id: str) -> bool:
    try:
        return read_plan(store, batch_id) is not None
    except StoreError as error:
        raise ConfigurationError(f"nothing was created: {error}") from error


def _check_relatives(store: Store, source: str, asked: Asked, named: str) -> None:
    wanted = Counter(each.fingerprint for each in asked)
    for name in store.folders(""):
        both = _held(store, name, wanted) if is_hashed_id_of(source, name) else 0
        if both:
            raise ConfigurationError(
                f"batch {name!r}, which an earlier version named, holds {both} of these {len(asked)} items: "
                f"give --batch-id {name} to go on with it, or --batch-id {named} to make another, which "
                "pays for them again"
            )


def _held(store: Store, batch_id: str, wanted: Counter[str]) -> int:
    """How many of these a batch holds; none where it cannot be read."""
    with suppress(ConfigurationError, StoreError):
        plan = read_plan(store, batch_id)
        if plan is not None:
            return (wanted & Counter(item.asked for item in plan.items)).total()
    return 0
