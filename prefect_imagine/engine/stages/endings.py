"""What is recorded of a job that has ended."""

from __future__ import annotations

from typing import Literal

from prefect_imagine.batches.records import Finished
from prefect_imagine.clock import utc_now
from prefect_imagine.errors import ProviderError
from prefect_imagine.providers.credits import Credits
from prefect_imagine.providers.models import Generation, GenerationStatus
from prefect_imagine.providers.protocol import ProviderClient
from prefect_imagine.providers.transport.failures import is_moderation

MAX_UNREPORTED_COSTS = 3
"""Records in a row without a cost, after which none is asked for only to learn it."""


class Endings:
    """Makes the records of one provider's jobs that have ended."""

    def __init__(self, client: ProviderClient) -> None:
        self._client = client
        self._unreported = 0

    async def record(self, index: int, row: Generation, charged: Credits | None) -> Finished:
        """The record of an item's job, which is asked for again where this row may lack what it cost.

        Args:
            charged: what is known of its cost.
        """
        failed = row.status is not GenerationStatus.SUCCEEDED
        # A list may leave out what the record has: a refund, or the cost of a job found in the history.
        costless = row.credits is None and charged is None and self._client.capabilities.credits_on_create
        if failed or (costless and self._unreported < MAX_UNREPORTED_COSTS):
            row = await self._fresh(row)
            if costless:
                self._unreported = self._unreported + 1 if row.credits is None else 0
        failed = row.status is not GenerationStatus.SUCCEEDED
        message = row.error or f"the provider ended it as {row.provider_status!r}"
        return Finished(
            item=index,
            at=utc_now(),
            id=row.id,
            status=row.status,
            credits=row.credits,
            refund=_refund(charged, row) if failed else None,
            # What its address holds itself is stored from memory: a journal is no place for pictures.
            outputs=() if failed or any(each.inline for each in row.outputs) else row.outputs,
            reason=_failure_reason(row) if failed else None,
            message=message if failed else None,
            created_at=row.created_at,
            finished_at=row.finished_at,
        )

    async def _fresh(self, row: Generation) -> Generation:
        """A job's record again, in full; as it was where it cannot be had."""
        try:
            fresh = await self._client.fetch(row.id)
        except ProviderError:
            return row
        return fresh if fresh.status.terminal else row


def _refund(charged: Credits | None, row: Generation) -> Literal["full", "partial", "unknown"]:
    if charged is None or row.credits is None:
        return "unknown"
    if row.credits == 0:
        return "full"
    return "partial" if row.credits < charged else "unknown"


def _failure_reason(row: Generation) -> str:
    if row.error and is_moderation(row.error):
        return "moderation"
    return "cancelled" if row.status is GenerationStatus.CANCELLED else "provider_failed"
