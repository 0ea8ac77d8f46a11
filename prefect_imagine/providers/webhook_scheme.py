"""How a provider delivers the ends of jobs: what is particular about its webhooks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from prefect_imagine.providers import wire
from prefect_imagine.providers.models import GenerationStatus


@dataclass(frozen=True)
class Delivered:
    """What a delivery says: of which job, whether that has ended, its record, and when it ended, where the
    record tells that."""

    job: str
    ended: bool
    record: Mapping[str, Any]
    ended_at: datetime | None = None


@dataclass(frozen=True)
class WebhookScheme:
    """A provider's webhooks.

    Attributes:
        statuses: the provider's words for where a job stands.
        envelopes: where in a body the job's record may stand.
        signature_header: the header with a signature over the body; `None` where nothing is signed, so that
            a secret in the address is all that keeps strangers out.
        ended_at: under which names a record may tell when the job ended; the first that it has counts.
        per_create: whether a create takes the address that its end is delivered to.
    """

    statuses: Mapping[str, GenerationStatus]
    envelopes: tuple[str, ...]
    signature_header: str | None = None
    ended_at: tuple[str, ...] = ()
    per_create: bool = False

    @property
    def signed(self) -> bool:
        """Whether deliveries are signed."""
        return self.signature_header is not None

    def read(self, provider: str, body: Any) -> Delivered:
        """What the body of a delivery says. Raises `UnexpectedResponseError` where it holds no record."""
        record = wire.record_of(provider, body, *self.envelopes)
        event = str(body.get("event") or "").rpartition(".")[2]
        status = str(record.get("status") or event)
        known = self.statuses.get(status.lower(), GenerationStatus.RUNNING)
        job = wire.require_identifier(provider, record)
        ended_at = wire.finished(record, known, *self.ended_at)
        return Delivered(job, known.terminal, {**record, "status": status}, ended_at)
