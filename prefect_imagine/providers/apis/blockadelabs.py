"""Blockade Labs: skyboxes and other images by generators. Source: https://api-documentation.blockadelabs.com,
page "Imagine Requests"."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Collection
from datetime import datetime
from typing import Any
from urllib.parse import quote

from prefect_imagine.clock import Deadline
from prefect_imagine.errors import (
    InsufficientCreditsError,
    ProviderError,
)
from prefect_imagine.providers import wire
from prefect_imagine.providers.base import BaseClient
from prefect_imagine.providers.checks import (
    choice_problem,
    column_of,
    kind_problems,
    model_problems,
    number_problem,
    setting_problems,
)
from prefect_imagine.providers.limits.pacing import Permit
from prefect_imagine.providers.listing import Slice, count, walk
from prefect_imagine.providers.models import (
    Capabilities,
    Generation,
    GenerationKind,
    GenerationRequest,
    GenerationStatus,
    HistoryPage,
    ModelInfo,
    Output,
)
from prefect_imagine.providers.spec import Account, ProviderSpec
from prefect_imagine.providers.transport.auth import Auth, HeaderAuth
from prefect_imagine.providers.transport.failures import ErrorDetail
from prefect_imagine.providers.webhook_scheme import WebhookScheme

PROVIDER = "blockadelabs"
_LISTS = ("data", "requests", "response")
LARGEST_SEED = 2147483647
# "Choose 0 for a random seed"; the least value that is allowed can only mean the same.
RANDOM_SEEDS = (0, -1)
# What the generators call the settings that mean the same for every provider.
WIRE_NAMES = {"negative_prompt": "negative_text"}
FIXED = ("prompt", "api_key", "generator", "webhook_url")

CODES: dict[str, type[ProviderError]] = {
    "insufficient_credits": InsufficientCreditsError,
    "quota_exceeded": InsufficientCreditsError,
}
STATUSES = {
    "pending": GenerationStatus.QUEUED,
    "dispatched": GenerationStatus.QUEUED,
    "processing": GenerationStatus.RUNNING,
    "complete": GenerationStatus.SUCCEEDED,
    "completed": GenerationStatus.SUCCEEDED,
    "abort": GenerationStatus.CANCELLED,
    "error": GenerationStatus.FAILED,
}


def read_error(status: int, body: Any) -> ErrorDetail | None:
    """`{"error": …}`, also in a 200; `{"message": …}` in an error answer."""
    if not isinstance(body, dict):
        return None
    error = body.get("error")
    if status >= 400 and not error:
        error = wire.first(body, "message", "errors", "detail")
    if isinstance(error, dict):
        error = wire.first(error, "message", "error", "code") or str(error)
    if not error or (status < 400 and wire.holds_record(body, "response", "request", "data")):
        return None
    return ErrorDetail(str(error), wire.text_or_none(body.get("code")))


class BlockadeLabsClient(BaseClient):
    """One API key of Blockade Labs. A model is a generator."""

    provider = PROVIDER
    capabilities = Capabilities(
        kinds=frozenset({GenerationKind.IMAGE}), models=True, cancel=True, delete=True
    )

    def completed(self, request: GenerationRequest, models: Collection[ModelInfo]) -> GenerationRequest:
        """The request with its generator, and with a seed of its own in place of none or a random one: the
        history echoes it, so that a create whose answer was lost can be distinguished from any other."""
        request = super().completed(request, models)
        chosen = request.settings.get("seed") not in (None, *RANDOM_SEEDS)
        if chosen or "seed" not in _parameters(request, models):
            return request
        seeded = {**request.settings, "seed": random.randint(1, LARGEST_SEED)}
        return request.model_copy(update={"settings": seeded})

    def problems(self, request: GenerationRequest, models: Collection[ModelInfo]) -> list[tuple[str, str]]:
        """What the generator's own parameters do not allow (page: Get Generators)."""
        kinds = kind_problems(request, self.capabilities)
        if kinds:
            return kinds
        found = model_problems(request, models)
        model = request.model or self.default_model(request.kind, models)
        if model is None:
            return [*found, ("model", "name a generator: blockadelabs's list of them could not be read")]
        parameters = _parameters(request.model_copy(update={"model": model}), models)
        if not parameters or found:
            return found
        return found + _parameter_problems(request, model, parameters)

    async def create(
        self,
        request: GenerationRequest,
        *,
        correlator: str | None = None,
        permit: Permit | None = None,
        deadline: Deadline | None = None,
    ) -> Generation:
        """POST /imagine/requests (page: Generate Imagine)."""
        settings = {WIRE_NAMES.get(name, name): value for name, value in request.settings.items()}
        notify = {"webhook_url": self.webhook_url} if self.webhook_url else {}
        return await self.api.create(
            "/imagine/requests",
            json={"generator": request.model, "prompt": request.prompt, **settings, **notify},
            parse=lambda answer: self._generation(answer.body),
            permit=permit,
            deadline=deadline,
        )

    async def poll(self, ids: Collection[str]) -> dict[str, Generation]:
        """GET /imagine/myRequests by newest pages (page: Get Imagine History)."""
        return await self.poll_newest_pages(ids)

    async def cancel(self, generation_id: str) -> None:
        """DELETE /imagine/requests/{id} (page: Cancel Imagine)."""
        path = f"/imagine/requests/{quote(generation_id, safe='')}"
        await self.api.read("DELETE", path, purpose="other")

    async def delete(self, generation_id: str) -> None:
        """DELETE /imagine/deleteImagine/{id} (page: Delete Imagine)."""
        path = f"/imagine/deleteImagine/{quote(generation_id, safe='')}"
        await self.api.read("DELETE", path, purpose="other")

    def history(
        self, *, since: datetime | None = None, prompt: str | None = None
    ) -> AsyncIterator[HistoryPage]:
        """GET /imagine/myRequests?limit=100&order=DESC (page: Get Imagine History)."""
        return self._pages("history")

    def history_pages(self) -> AsyncIterator[HistoryPage]:
        """The same, counted as polling."""
        return self._pages("poll")

    async def models(self, kind: GenerationKind | None = None) -> tuple[ModelInfo, ...]:
        """GET /generators, in the page's sort order (page: Get Generators)."""
        body = await self.api.read("GET", "/generators", purpose="other")
        records = wire.records_of(PROVIDER, body, "generators", "data", "response")
        return tuple(self._model(row) for row in sorted(records, key=_sort_order) if row.get("generator"))

    async def check_list(self) -> None:
        """GET /imagine/myRequests?limit=1."""
        await self.api.read("GET", "/imagine/myRequests", purpose="other", params={"limit": 1})

    async def record(self, generation_id: str, purpose: str) -> Generation:
        """GET /imagine/requests/{id} (page: Get Imagine by id)."""
        path = f"/imagine/requests/{quote(generation_id, safe='')}"
        return self._generation(await self.api.read("GET", path, purpose=purpose))

    def _pages(self, purpose: str) -> AsyncIterator[HistoryPage]:
        async def ask(limit: int, number: int) -> Any:
            # `offset` is the page's number, counted from 0.
            params = {"limit": limit, "offset": number, "order": "DESC"}
            return await self.api.read("GET", "/imagine/myRequests", purpose=purpose, params=params)

        async def read(number: int, offset: int) -> Slice:
            body = await self.page_size.ask(lambda limit: ask(limit, number))
            records = wire.records_of(PROVIDER, body, *_LISTS)
            beside = wire.beside_list(body, *_LISTS)
            more = beside.get("has_more")
            rows = [self._generation(record) for record in records]
            return Slice(
                rows,
                count(wire.first(beside, "totalCount", "total", "count")),
                more if isinstance(more, bool) else None,
            )

        return walk(read)

    def _generation(self, body: Any) -> Generation:
        record = wire.record_of(PROVIDER, body, "response", "request", "data")
        status = str(record.get("status") or "")
        state = STATUSES.get(status.lower(), GenerationStatus.RUNNING)
        asked = record.get("generator_data")
        asked = asked if isinstance(asked, dict) else {}
        url = wire.text_or_none(record.get("file_url"))
        return Generation(
            provider=PROVIDER,
            id=wire.require_identifier(PROVIDER, record),
            status=state,
            kind=GenerationKind.IMAGE,
            model=wire.text_or_none(record.get("generator")),
            prompt=wire.text_or_none(wire.first(asked, "prompt") or record.get("prompt")),
            echoed_seed=wire.text_or_none(asked.get("seed")),
            outputs=(Output(url=wire.address(url, self.base_url)),) if url else (),
            error=wire.text_or_none(record.get("error_message")),
            created_at=wire.moment(record.get("created_at")),
            finished_at=wire.finished(record, state, "completed_at", "updated_at"),
            provider_status=status,
            raw={name: value for name, value in record.items() if name != "api_key"},
        )

    def _model(self, record: wire.Record) -> ModelInfo:
        parameters = record.get("params")
        return ModelInfo(
            provider=PROVIDER,
            id=str(record["generator"]),
            name=str(wire.first(record, "label", "name") or ""),
            kind=GenerationKind.IMAGE,
            parameters=parameters if isinstance(parameters, dict) else None,
        )


def _sort_order(record: wire.Record) -> float:
    order = record.get("sort_order")
    return order if isinstance(order, int | float) else float("inf")


def _parameters(request: GenerationRequest, models: Collection[ModelInfo]) -> dict[str, Any]:
    found = next((model.parameters for model in models if model.id == request.model), None)
    return {name: rules for name, rules in (found or {}).items() if isinstance(rules, dict)}


def _parameter_problems(
    request: GenerationRequest, model: str, parameters: dict[str, Any]
) -> list[tuple[str, str]]:
    back = {wire_name: name for name, wire_name in WIRE_NAMES.items()}
    schema = {back.get(name, name): rules for name, rules in parameters.items()}
    allowed = [name for name in schema if name not in FIXED]
    found = setting_problems(request, allowed, what=f"the generator {model!r}")
    for name, rules in schema.items():
        given = request.prompt if name == "prompt" else request.settings.get(name)
        if rules.get("required") and given in (None, ""):
            found.append((column_of(name), f"the generator {model!r} requires {name!r}"))
        elif given is not None:
            found += _value_problems(request, name, given, rules)
    return found


def _value_problems(
    request: GenerationRequest, name: str, given: Any, rules: dict[str, Any]
) -> list[tuple[str, str]]:
    low, high = (_number(rules.get(bound)) for bound in ("min_value", "max_value"))
    kind = str(rules.get("type") or "")
    if rules.get("options"):
        return choice_problem(request, name, _options(rules["options"]))
    if kind in ("int", "integer", "float", "number"):
        return number_problem(request, name, low, high, whole=kind in ("int", "integer"))
    if high is not None and kind in ("text", "textarea", "string", "") and len(str(given)) > high:
        return [(column_of(name), f"has {len(str(given))} characters; at most {int(high)} are allowed")]
    return []


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _options(options: Any) -> list[str]:
    return [str(option.get("value") if isinstance(option, dict) else option) for option in options]


def _auth(account: Account) -> Auth:
    """The key in a header of its own: in the query it would reach logs."""
    return HeaderAuth(account.checked_key(), header="x-api-key", scheme="")


SPEC = ProviderSpec(
    name=PROVIDER,
    title="Blockade Labs",
    base_url="https://backend.blockadelabs.com/api/v1",
    client=BlockadeLabsClient,
    key_variable="BLOCKADELABS_API_KEY",
    auth=_auth,
    read_error=read_error,
    codes=CODES,
    records="requests",
    webhooks=WebhookScheme(
        STATUSES,
        envelopes=("response", "request", "data", "payload"),
        ended_at=("completed_at", "updated_at"),
        per_create=True,
    ),
)
