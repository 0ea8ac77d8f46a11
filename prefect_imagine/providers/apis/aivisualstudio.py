"""AI Visual Studio: images and videos. Source: https://aivisualstudio.co API documentation, v1."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from prefect_imagine.clock import Deadline
from prefect_imagine.errors import (
    AuthenticationError,
    InsufficientCreditsError,
    ModerationError,
    NotFoundError,
    RateLimitedError,
    ServerError,
)
from prefect_imagine.providers import wire
from prefect_imagine.providers.apis.aivisualstudio_webhooks import Webhooks
from prefect_imagine.providers.base import BaseClient
from prefect_imagine.providers.checks import (
    choice_problem,
    kind_problems,
    model_problems,
    number_problem,
    setting_problems,
)
from prefect_imagine.providers.credits import credits_or_none
from prefect_imagine.providers.limits.pacing import Permit
from prefect_imagine.providers.listing import by_offset, walk
from prefect_imagine.providers.models import (
    Capabilities,
    Generation,
    GenerationKind,
    GenerationRequest,
    GenerationStatus,
    HistoryPage,
    ModelInfo,
)
from prefect_imagine.providers.spec import ProviderSpec
from prefect_imagine.providers.transport.failures import ErrorDetail
from prefect_imagine.providers.webhook_scheme import WebhookScheme
from prefect_imagine.providers.webhooks import Webhook

PROVIDER = "aivisualstudio"
_LISTS = ("data", "generations", "items")
DEFAULT_MODELS = {
    GenerationKind.IMAGE: "prunaai/z-image-turbo",
    GenerationKind.VIDEO: "minimax/hailuo-2.3-fast",
}
IMAGE_RATIOS = ("1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3")
VIDEO_RATIOS = ("16:9", "9:16", "1:1", "4:3", "3:4")
IMAGE_FORMATS = ("webp", "png", "jpg")
LONGEST_VIDEO_SECONDS = 10

CODES = {
    "missing_api_key": AuthenticationError,
    "invalid_api_key": AuthenticationError,
    "expired_api_key": AuthenticationError,
    "insufficient_scope": AuthenticationError,
    "ip_not_allowed": AuthenticationError,
    "insufficient_credits": InsufficientCreditsError,
    "rate_limited": RateLimitedError,
    "content_policy_violation": ModerationError,
    "not_found": NotFoundError,
    "internal_error": ServerError,
}
STATUSES = {
    "pending": GenerationStatus.QUEUED,
    "queued": GenerationStatus.QUEUED,
    "processing": GenerationStatus.RUNNING,
    "completed": GenerationStatus.SUCCEEDED,
    "failed": GenerationStatus.FAILED,
    "cancelled": GenerationStatus.CANCELLED,
    "canceled": GenerationStatus.CANCELLED,
}


def read_error(status: int, body: Any) -> ErrorDetail | None:
    """`{"error": {"code", "message", "details"}}` (page: Error Handling)."""
    error = body.get("error") if isinstance(body, dict) else None
    if status < 400 and wire.holds_record(body, "data", "generation"):
        return None  # a failed generation's record reports its own error
    if isinstance(error, dict):
        code = wire.text_or_none(error.get("code"))
        return ErrorDetail(str(error.get("message") or code or f"HTTP {status}"), code)
    if isinstance(error, str) and error:
        return ErrorDetail(error)
    return None


class AIVisualStudioClient(BaseClient):
    """One API key of AI Visual Studio."""

    provider = PROVIDER
    capabilities = Capabilities(
        kinds=frozenset({GenerationKind.IMAGE, GenerationKind.VIDEO}),
        models=True,
        webhooks=True,
        credits_on_create=True,
    )

    def default_model(self, kind: GenerationKind, models: Collection[ModelInfo]) -> str | None:
        """The page's own default of each kind."""
        return DEFAULT_MODELS.get(kind)

    def problems(self, request: GenerationRequest, models: Collection[ModelInfo]) -> list[tuple[str, str]]:
        """What the pages "Generate Image" and "Generate Video" do not allow."""
        kinds = kind_problems(request, self.capabilities)
        if kinds:
            return kinds
        found = [] if request.model in DEFAULT_MODELS.values() else model_problems(request, models)
        if request.kind is GenerationKind.IMAGE:
            found += setting_problems(
                request, ("aspect_ratio", "output_format"), what="an image of aivisualstudio"
            )
            found += choice_problem(request, "aspect_ratio", IMAGE_RATIOS)
            return found + choice_problem(request, "output_format", IMAGE_FORMATS)
        settings = ("aspect_ratio", "duration", "first_frame_image")
        found += setting_problems(request, settings, what="a video of aivisualstudio")
        found += choice_problem(request, "aspect_ratio", VIDEO_RATIOS)
        return found + number_problem(request, "duration", 1, LONGEST_VIDEO_SECONDS)

    async def create(
        self,
        request: GenerationRequest,
        *,
        correlator: str | None = None,
        permit: Permit | None = None,
        deadline: Deadline | None = None,
    ) -> Generation:
        """POST /generate/image or /generate/video (pages: Generate Image, Generate Video)."""
        body = {"prompt": request.prompt, "model": request.model, **request.settings}
        body["webhook_url"] = self.webhook_url
        created = await self.api.create(
            f"/generate/{'video' if request.kind is GenerationKind.VIDEO else 'image'}",
            json={name: value for name, value in body.items() if value is not None},
            parse=lambda answer: self._generation(answer.body),
            permit=permit,
            deadline=deadline,
        )
        return created.model_copy(update={"kind": created.kind or request.kind})

    def delivered(self, record: Mapping[str, Any]) -> Generation:
        """`data` of a delivery (page: Webhook Payload)."""
        return self._generation(record)

    async def poll(self, ids: Collection[str]) -> dict[str, Generation]:
        """GET /generations by newest pages (page: List Generations)."""
        return await self.poll_newest_pages(ids)

    def history(
        self, *, since: datetime | None = None, prompt: str | None = None
    ) -> AsyncIterator[HistoryPage]:
        """GET /generations?limit=100&offset=… (page: List Generations)."""
        return self._pages("history")

    def history_pages(self) -> AsyncIterator[HistoryPage]:
        """The same, counted as polling."""
        return self._pages("poll")

    async def models(self, kind: GenerationKind | None = None) -> tuple[ModelInfo, ...]:
        """GET /models (page: Models)."""
        body = await self.api.read("GET", "/models", purpose="other", params={"type": kind} if kind else None)
        records = wire.records_of(PROVIDER, body, "data", "models", "items")
        return tuple(
            self._model(record) for record in records if wire.first(record, "id", "model_name", "name")
        )

    async def check_list(self) -> None:
        """GET /generations?limit=1."""
        await self.api.read("GET", "/generations", purpose="other", params={"limit": 1})

    async def record(self, generation_id: str, purpose: str) -> Generation:
        """GET /generations/:id (page: Get Single Generation)."""
        return self._generation(
            await self.api.read("GET", f"/generations/{quote(generation_id, safe='')}", purpose=purpose)
        )

    async def create_webhook(self, url: str, events: Sequence[str] | None = None) -> Webhook:
        """POST /webhooks (page: Create Webhook)."""
        return await Webhooks(self.api).create(url, events)

    async def webhooks(self) -> tuple[Webhook, ...]:
        """GET /webhooks (page: Other Webhook Endpoints)."""
        return await Webhooks(self.api).all()

    async def update_webhook(
        self,
        webhook_id: str,
        url: str | None = None,
        events: Sequence[str] | None = None,
        active: bool | None = None,
    ) -> Webhook:
        """PATCH /webhooks/:id (page: Other Webhook Endpoints)."""
        return await Webhooks(self.api).update(webhook_id, url, events, active)

    async def delete_webhook(self, webhook_id: str) -> None:
        """DELETE /webhooks/:id (page: Other Webhook Endpoints)."""
        await Webhooks(self.api).delete(webhook_id)

    def _pages(self, purpose: str) -> AsyncIterator[HistoryPage]:
        async def ask(page: Mapping[str, int]) -> Any:
            return await self.api.read("GET", "/generations", purpose=purpose, params=page)

        return walk(by_offset(PROVIDER, ask, _LISTS, self._generation, self.page_size))

    def _generation(self, body: Any) -> Generation:
        record = wire.record_of(PROVIDER, body, "data", "generation")
        status = str(record.get("status") or "")
        kind = wire.kind_of(wire.first(record, "type", "generation_type", "kind"))
        return Generation(
            provider=PROVIDER,
            id=wire.require_identifier(PROVIDER, record),
            status=STATUSES.get(status.lower(), GenerationStatus.RUNNING),
            kind=kind,
            model=wire.text_or_none(wire.first(record, "model", "model_id", "model_name")),
            prompt=wire.text_or_none(record.get("prompt")),
            # It makes no texts, whatever a record leaves out.
            outputs=wire.outputs_of(record, kind or GenerationKind.IMAGE, self.base_url),
            credits=wire.charged(record, "credits_charged", "credits"),
            error=_error(record),
            created_at=wire.moment(record.get("created_at")),
            finished_at=wire.moment(record.get("completed_at")),
            provider_status=status,
            raw=dict(record),
        )

    def _model(self, record: wire.Record) -> ModelInfo:
        return ModelInfo(
            provider=PROVIDER,
            id=str(wire.first(record, "id", "model_name", "name")),
            name=str(record.get("name") or ""),
            kind=wire.kind_of(wire.first(record, "type", "generation_type")),
            credits=credits_or_none(wire.first(record, "credits_per_generation", "credit_cost", "credits")),
        )


def _error(record: wire.Record) -> str | None:
    error = wire.first(record, "error", "error_message", "failure_reason")
    if isinstance(error, dict):
        return wire.text_or_none(wire.first(error, "message", "code"))
    return wire.text_or_none(error)


SPEC = ProviderSpec(
    name=PROVIDER,
    title="AI Visual Studio",
    base_url="https://aivisualstudio.co/api/v1",
    client=AIVisualStudioClient,
    key_variable="AIVISUALSTUDIO_API_KEY",
    read_error=read_error,
    codes=CODES,
    records="generations",
    webhooks=WebhookScheme(
        STATUSES,
        envelopes=("data",),
        signature_header="X-Webhook-Signature",
        ended_at=("completed_at",),
        per_create=True,
    ),
)
