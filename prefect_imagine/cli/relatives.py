"""Batches of the same file as it was before: what they have paid for, a new batch pays for again."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

from prefect_imagine.batches.plan import Plan, read_plan
from prefect_imagine.cli import output
from prefect_imagine.errors import ConfigurationError, StoreError
from prefect_imagine.stores import Store


def tell_of_relatives(store: Store, plan: Plan) -> None:
    """Say where prompts of a file of the same name have been asked for before."""
    stem = plan.batch_id.rpartition("-")[0]
    for name in store.folders(""):
        # A plan under the batch's own name has just been written by another process that begins the same.
        if not stem or not name.startswith(f"{stem}-") or name == plan.batch_id:
            continue
        with suppress(ConfigurationError, StoreError):
            known = read_plan(store, name)
            before = Counter(item.asked for item in known.items) if known is not None else Counter[str]()
            again = (Counter(item.asked for item in plan.items) & before).total()
            if again:
                output.say(
                    f"note: {again} of these {len(plan.items)} items were asked for by batch {name} already; "
                    "this is another batch, and pays for them again"
                )
