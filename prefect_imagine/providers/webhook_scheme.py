"""How a provider delivers the ends of jobs: what is particular about its webhooks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prefect_imagine.providers import wire
from prefect_imagine.providers.models import GenerationStatus


@dataclass(frozen=True)
class Delivered:
    """What a delivery says: of which job, whether that has ended, and its record."""

    job: str
    ended: bool
    record: Mapping[str, Any]


@dataclass(frozen=True)
class WebhookScheme:
    """A provider's webhooks.

    Attributes:
        statuses: the provider's words for where a job stands.
        envelopes: where in a body the job's record may stand.
        signature_header: the header with a signature over the body; `None` where nothing is signed, so that
            a secret in the address is all that keeps strangers out.
        per_create: whether a create takes the address that its end is delivered to.
    """

    statuses: Mapping[str, GenerationStatus]
    envelopes: tuple[str, ...]
    signature_header: str | None = None
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
        return Delivered(job, known.terminal, {**record, "status": status})
