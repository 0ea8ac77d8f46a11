"""Which batches under a root have something to look at again."""

from __future__ import annotations

from prefect_imagine.clock import utc_now
from prefect_imagine.engine.collecting.survey import Scope, survey
from prefect_imagine.stores import Store

ANY_DAYS = 10_000.0


def under_way(store: Store) -> list[str]:
    """Their ids, those with items of unknown fate included."""
    return [each.batch_id for each in survey(store, Scope(ANY_DAYS, unknown=True), utc_now())]
