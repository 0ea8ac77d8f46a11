"""The client of a Cog model server. Source: Cog's page "HTTP API", https://cog.run/http."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from urllib.parse import quote

from prefect_imagine.clock import Deadline
from prefect_imagine.errors import NotFoundError, ServerError
from prefect_imagine.providers import wire
from prefect_imagine.providers.base import BaseClient
from prefect_imagine.providers.checks import kind_problems, setting_problems
from prefect_imagine.providers.limits.pacing import Permit
from prefect_imagine.providers.models import (
    Capabilities,
    Generation,
    GenerationKind,
    GenerationRequest,
    GenerationStatus,
    Mark,
    ModelInfo,
)
from prefect_imagine.providers.spec import ProviderSpec

PROVIDER = "cog"
STATUSES = {
    "starting": GenerationStatus.QUEUED,
    "processing": GenerationStatus.RUNNING,
    "succeeded": GenerationStatus.SUCCEEDED,
    "failed": GenerationStatus.FAILED,
    "canceled": GenerationStatus.CANCELLED,
}


class CogClient(BaseClient):
    """One model server.

    It keeps no predictions: a create is answered at its end, and what the answer held is gone with it. The
    same id again runs the model again once its prediction has ended, so nothing can be looked up by it: a
    create whose answer is lost stays `unknown`.
    """

    provider = PROVIDER
    capabilities = Capabilities(
        kinds=frozenset(GenerationKind), models=True, history=False, mark=Mark.CLIENT_ID
    )

    def default_model(self, kind: GenerationKind, models: Collection[ModelInfo]) -> str | None:
        """The one that the server runs."""
        return PROVIDER

    def problems(self, request: GenerationRequest, models: Collection[ModelInfo]) -> list[tuple[str, str]]:
        """Settings that the model has no input for, where its server shows a schema."""
        found = kind_problems(request, self.capabilities)
        inputs = next((model.parameters for model in models if model.parameters), None)
        return found + (setting_problems(request, inputs, what="this model") if inputs else [])

    async def create(
        self,
        request: GenerationRequest,
        *,
        correlator: str | None = None,
        permit: Permit | None = None,
        deadline: Deadline | None = None,
    ) -> Generation:
        """PUT /predictions/{id}, answered when the prediction has ended."""
        job = self.chosen_id(correlator or self.new_mark())
        return await self.api.create(
            f"/predictions/{quote(job, safe='')}",
            method="PUT",
            json={"input": {"prompt": request.prompt, **request.settings}},
            parse=lambda answer: self._generation(answer.body, request.kind),
            permit=permit,
            deadline=deadline,
        )

    async def record(self, generation_id: str, purpose: str) -> Generation:
        """There is no such call: GET /predictions/{id} answers 405."""
        raise NotFoundError(f"{PROVIDER} keeps no predictions: {generation_id} is gone", provider=PROVIDER)

    async def models(self, kind: GenerationKind | None = None) -> tuple[ModelInfo, ...]:
        """The model of this server, with its inputs where GET /openapi.json shows them."""
        try:
            body = await self.api.read("GET", "/openapi.json", purpose="other", attempts=1)
        except ServerError:
            body = None  # 503: a model that was built without a schema takes any input
        return (
            ModelInfo(provider=PROVIDER, id=PROVIDER, name=_title(body), kind=kind, parameters=_inputs(body)),
        )

    async def check(self) -> None:
        """GET /health-check."""
        await self.api.read("GET", "/health-check", purpose="other")

    def _generation(self, body: Any, kind: GenerationKind) -> Generation:
        record = wire.record_of(PROVIDER, body)
        status = str(record.get("status") or "")
        return Generation(
            provider=PROVIDER,
            id=wire.require_identifier(PROVIDER, record),
            status=STATUSES.get(status, GenerationStatus.RUNNING),
            kind=kind,
            model=PROVIDER,
            outputs=wire.outputs_of(record, kind, self.base_url),
            error=wire.text_or_none(record.get("error")),
            provider_status=status,
        )


def _schema(body: Any, *names: str) -> dict[str, Any]:
    for name in names:
        body = body.get(name) if isinstance(body, dict) else None
    return body if isinstance(body, dict) else {}


def _title(body: Any) -> str:
    return str(_schema(body, "info").get("title") or "the server's model")


def _inputs(body: Any) -> dict[str, Any] | None:
    return _schema(body, "components", "schemas", "Input", "properties") or None


SPEC = ProviderSpec(
    name=PROVIDER,
    title="Cog",
    base_url="",  # everybody runs a server of their own: COG_BASE_URL
    client=CogClient,
    key_variable=None,
    at_capacity=frozenset({409}),
    create_seconds=600.0,
)
