"""In which way an item is created once its provider has refused it, or failed it: pure."""

from __future__ import annotations

from collections.abc import Collection

from prefect_imagine.batches.plan import BatchItem
from prefect_imagine.batches.records import AnyItemRecord, Finished, Refused
from prefect_imagine.providers.models import GenerationStatus

MODERATION = "moderation"
_REASONS = frozenset({"refused", "provider_failed"})
"""Why an item is created in another way. A job that somebody has cancelled is none that was refused."""


def next_way(item: BatchItem, record: AnyItemRecord, without: Collection[str] = ()) -> int | None:
    """The alternative by which an item is created after a record of it; `None` where nothing follows.

    Only what is final is followed by anything: a create that was refused for good, and of which nothing was
    accepted, or a job that has ended, with what is known of its refund.

    Args:
        item: as it is created now.
        without: providers at which nothing is created.
    """
    if not item.others or not _is_refused(record, moderation=item.moderation):
        return None
    later = enumerate(item.alternatives)
    return next(
        (number for number, way in later if number > item.chosen and way.provider not in without), None
    )


def _is_refused(record: AnyItemRecord, *, moderation: bool) -> bool:
    match record:
        case Refused(final=True, reason=reason):
            return reason in _REASONS or (moderation and reason == MODERATION)
        case Finished(status=GenerationStatus.FAILED, reason=reason):
            return reason in _REASONS or (moderation and reason == MODERATION)
        case _:
            return False
