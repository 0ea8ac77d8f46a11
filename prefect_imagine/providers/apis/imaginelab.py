"""ImagineLab: images, videos, voices, music, infographics and texts. Source: the "Dev Docs" page of
https://api.imagineview.art."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Collection, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from prefect_imagine.clock import Deadline
from prefect_imagine.errors import (
    InsufficientCreditsError,
    ProviderError,
    UnexpectedResponseError,
)
from prefect_imagine.providers import wire
from prefect_imagine.providers.apis.imaginelab_login import PROVIDER, LoginAuth
from prefect_imagine.providers.base import BaseClient
from prefect_imagine.providers.checks import kind_problems, model_problems
from prefect_imagine.providers.credits import credits_or_none
from prefect_imagine.providers.limits.pacing import Permit
from prefect_imagine.providers.listing import by_offset, count, walk
from prefect_imagine.providers.models import (
    Balance,
    Capabilities,
    Generation,
    GenerationKind,
    GenerationRequest,
    GenerationStatus,
    HistoryPage,
    ModelInfo,
    Package,
)
from prefect_imagine.providers.prices import PriceList
from prefect_imagine.providers.spec import Account, ProviderSpec, key_in_header
from prefect_imagine.providers.transport.auth import Auth
from prefect_imagine.providers.transport.failures import ErrorDetail
from prefect_imagine.providers.transport.http import Api

_LISTS = ("items", "data", "results", "generations")
# The page "Credits & Wallet" shows no answer.
_BALANCE_NAMES = (
    *("balance", "available_credits", "credits_available", "remaining_credits", "credits_remaining"),
    *("credit_balance", "current_balance", "available", "remaining", "credits", "amount", "total"),
)
_UUID = re.compile(r"[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}", re.IGNORECASE)

# The page "Credits & Wallet": "Costs are indicative and may vary by model."
INDICATIVE_PRICES = PriceList(
    kinds={"text": 2, "voice": 3, "image": 5, "music": 8, "infographic": 10, "video": 15}
)
CODES: dict[str, type[ProviderError]] = {"insufficient_credits": InsufficientCreditsError}
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
    """`{"detail": …}`: a sentence (page: Errors & Limits), or FastAPI's list of what is wrong where."""
    if status < 400:
        return None
    detail = wire.first(body, "detail", "error", "message") if isinstance(body, dict) else None
    if isinstance(detail, list):
        fields = any(isinstance(entry, dict) and entry.get("loc") for entry in detail)
        message = "; ".join(_entry(entry) for entry in detail)
        return ErrorDetail(message, names_fields=fields) if message else None
    if isinstance(detail, dict):
        message = wire.first(detail, "message", "msg", "error") or str(detail)
        return ErrorDetail(str(message), wire.text_or_none(detail.get("code")))
    return ErrorDetail(str(detail)) if detail else None


def _entry(entry: Any) -> str:
    if not isinstance(entry, dict):
        return str(entry)
    where, message = entry.get("loc"), wire.first(entry, "msg", "message") or "invalid"
    place = ".".join(str(part) for part in where if part != "body") if isinstance(where, list) else where
    return f"{place}: {message}" if place else str(message)


class ImagineLabClient(BaseClient):
    """One account of ImagineLab."""

    provider = PROVIDER
    capabilities = Capabilities(
        kinds=frozenset(GenerationKind),
        models=True,
        balance=True,
        packages=True,
        delete=True,
        credits_on_create=True,
    )

    def __init__(self, api: Api) -> None:
        super().__init__(api)
        if isinstance(api.auth, LoginAuth):
            api.auth.api = api

    def problems(self, request: GenerationRequest, models: Collection[ModelInfo]) -> list[tuple[str, str]]:
        """An unknown model, or none where none can be chosen. Settings are the models' own: not checked."""
        found = kind_problems(request, self.capabilities) + model_problems(request, models)
        if request.model is None and self.default_model(request.kind, models) is None:
            unlisted = f"imaginelab lists none for {request.kind}"
            unread = "imaginelab's list of them could not be read"
            found.append(("model", f"name a model: {unlisted if models else unread}"))
        return found

    async def create(
        self,
        request: GenerationRequest,
        *,
        correlator: str | None = None,
        permit: Permit | None = None,
        deadline: Deadline | None = None,
    ) -> Generation:
        """POST /generations (page: Create a generation)."""
        settings = dict(request.settings)
        project = settings.pop("project_id", None)
        body: dict[str, Any] = {
            "generation_type": request.kind.value,
            "model_name": request.model,
            "prompt": request.prompt,
        }
        body |= {"settings": settings} if settings else {}
        body |= {"project_id": project} if project is not None else {}
        return await self.api.create(
            "/generations",
            json=body,
            parse=lambda answer: self._generation(answer.body),
            permit=permit,
            deadline=deadline,
        )

    async def poll(self, ids: Collection[str]) -> dict[str, Generation]:
        """GET /generations by newest pages where that answers usefully, else each by its id."""
        return await self.poll_newest_pages(ids)

    async def progress(self, generation_id: str) -> tuple[GenerationStatus, int | None]:
        """GET /generations/{id}/status: the status and percent done (page: Poll status). The full record
        costs the same request and says more, so following a generation uses that."""
        path = f"/generations/{quote(generation_id, safe='')}/status"
        body = await self.api.read("GET", path, purpose="poll")
        record = wire.record_of(PROVIDER, body, "data")
        status = STATUSES.get(str(record.get("status")).lower(), GenerationStatus.RUNNING)
        return status, count(record.get("progress"))

    async def delete(self, generation_id: str) -> None:
        """DELETE /generations/{id} (page: Fetch the result)."""
        path = f"/generations/{quote(generation_id, safe='')}"
        await self.api.read("DELETE", path, purpose="other")

    def history(
        self, *, since: datetime | None = None, prompt: str | None = None
    ) -> AsyncIterator[HistoryPage]:
        """GET /generations?limit=100&offset=… (page: Fetch the result; its paging is not documented)."""
        return self._pages("history")

    def history_pages(self) -> AsyncIterator[HistoryPage]:
        """The same, counted as polling."""
        return self._pages("poll")

    async def balance(self) -> Balance:
        """GET /credits/wallet (page: Credits & Wallet)."""
        body = await self.api.read("GET", "/credits/wallet", purpose="other")
        wallet = body if isinstance(body, dict) else {}
        inner = wire.first(wallet, "wallet", "data")
        wallet = inner if isinstance(inner, dict) else wallet
        amounts = (credits_or_none(wallet.get(name)) for name in _BALANCE_NAMES)
        amount = next((each for each in amounts if each is not None), None)
        if amount is None:
            raise UnexpectedResponseError(f"{PROVIDER}: the wallet shows no balance", provider=PROVIDER)
        return Balance(provider=PROVIDER, credits=amount)

    async def packages(self) -> tuple[Package, ...]:
        """GET /credits/packages (page: Credits & Wallet)."""
        body = await self.api.read("GET", "/credits/packages", purpose="other")
        records = wire.records_of(PROVIDER, body, "packages", "data", "items")
        return tuple(
            Package(
                provider=PROVIDER,
                name=str(wire.first(record, "name", "id") or ""),
                credits=credits_or_none(wire.first(record, "credits", "amount")),
                price=wire.text_or_none(wire.first(record, "price", "price_usd")),
                raw=dict(record),
            )
            for record in records
        )

    async def models(self, kind: GenerationKind | None = None) -> tuple[ModelInfo, ...]:
        """GET /generations/models (page: List available models)."""
        body = await self.api.read("GET", "/generations/models", purpose="other")
        rows = _model_records(body)
        found = tuple(
            self._model(row) for row in rows if wire.first(row, "model_name", "model", "name", "id")
        )
        return tuple(model for model in found if kind is None or model.kind in (kind, None))

    async def check(self) -> None:
        """GET /auth/me."""
        await self.api.read("GET", "/auth/me", purpose="other")

    async def check_list(self) -> None:
        """GET /generations?limit=1 (page: Fetch the result)."""
        await self.api.read("GET", "/generations", purpose="other", params={"limit": 1})

    async def record(self, generation_id: str, purpose: str) -> Generation:
        """GET /generations/{id} (page: Fetch the result)."""
        path = f"/generations/{quote(generation_id, safe='')}"
        return self._generation(await self.api.read("GET", path, purpose=purpose))

    def _pages(self, purpose: str) -> AsyncIterator[HistoryPage]:
        async def ask(page: Mapping[str, int]) -> Any:
            return await self.api.read("GET", "/generations", purpose=purpose, params=page)

        return walk(by_offset(PROVIDER, ask, _LISTS, self._generation, self.page_size))

    def _generation(self, body: Any) -> Generation:
        record = wire.record_of(PROVIDER, body, "data", "generation")
        status = str(record.get("status") or "")
        state = STATUSES.get(status.lower(), GenerationStatus.RUNNING)
        kind = wire.kind_of(wire.first(record, "generation_type", "type"))
        refunded = record.get("refunded") is True
        return Generation(
            provider=PROVIDER,
            id=wire.require_identifier(PROVIDER, record),
            status=state,
            kind=kind,
            model=wire.text_or_none(wire.first(record, "model_name", "model")),
            prompt=wire.text_or_none(record.get("prompt")),
            outputs=wire.outputs_of(record, kind, self.base_url),
            credits=0 if refunded else wire.charged(record, "credit_cost", "credits_charged"),
            error=wire.text_or_none(wire.first(record, "error", "error_message", "failure_reason", "detail")),
            created_at=wire.moment(record.get("created_at")),
            finished_at=wire.finished(record, state, "completed_at", "finished_at", "updated_at"),
            provider_status=status,
            raw=dict(record),
        )

    def _model(self, record: wire.Record) -> ModelInfo:
        return ModelInfo(
            provider=PROVIDER,
            id=_model_id(record),
            name=str(wire.first(record, "display_name", "label", "name") or ""),
            kind=wire.kind_of(wire.first(record, "generation_type", "type", "kind")),
            credits=credits_or_none(wire.first(record, "credit_cost", "credits", "cost")),
        )


def _model_id(record: wire.Record) -> str:
    """What goes into `model_name`: where a record has both, an `id` that is a word rather than a `name`."""
    given = wire.first(record, "model_name", "model")
    if given is None and isinstance(record.get("id"), str) and not _UUID.fullmatch(record["id"]):
        given = record["id"]
    return str(given if given is not None else wire.first(record, "name", "id"))


def _model_records(body: Any) -> list[wire.Record]:
    """A list of models, bare or in an envelope, or a mapping from kind to a list of models or names."""
    try:
        return wire.records_of(PROVIDER, body, "models", "data", "items", "results")
    except UnexpectedResponseError:
        if not isinstance(body, dict) or not any(wire.kind_of(name) for name in body):
            raise
        return [
            {"generation_type": kind, **(model if isinstance(model, dict) else {"model_name": str(model)})}
            for kind, models in body.items()
            for model in (models if isinstance(models, list) else [])
        ]


def _auth(account: Account) -> Auth:
    if account.key is None and account.email is not None and account.password is not None:
        return LoginAuth(account.email, account.password)
    return key_in_header(account)


SPEC = ProviderSpec(
    name=PROVIDER,
    title="ImagineLab",
    base_url="https://api.imagineview.art/api/v1",
    client=ImagineLabClient,
    key_variable="IMAGINELAB_TOKEN",
    login_variables=("IMAGINELAB_EMAIL", "IMAGINELAB_PASSWORD"),
    auth=_auth,
    read_error=read_error,
    codes=CODES,
    records="generations",
    indicative_prices=INDICATIVE_PRICES,
)
