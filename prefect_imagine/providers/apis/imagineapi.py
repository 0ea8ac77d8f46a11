"""ImagineAPI: Midjourney images through a Directus service, hosted or one's own.

Source: dltHub's page on https://cl.imagineapi.dev. What the page does not say is Directus's own way.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Collection, Iterator
from datetime import datetime
from typing import Any, NoReturn
from urllib.parse import quote

from prefect_imagine.clock import Deadline
from prefect_imagine.errors import (
    AuthenticationError,
    InsufficientCreditsError,
    InvalidRequestError,
    NotFoundError,
    ProviderError,
)
from prefect_imagine.providers import wire
from prefect_imagine.providers.base import BaseClient
from prefect_imagine.providers.checks import kind_problems, number_problem, setting_problems
from prefect_imagine.providers.limits.pacing import Permit
from prefect_imagine.providers.listing import LARGEST_PAGE, SMALLEST_PAGE, Slice, walk
from prefect_imagine.providers.models import (
    Capabilities,
    Generation,
    GenerationKind,
    GenerationRequest,
    GenerationStatus,
    HistoryPage,
    Mark,
    Output,
    ServiceStatus,
)
from prefect_imagine.providers.spec import ProviderSpec
from prefect_imagine.providers.transport.failures import ErrorDetail
from prefect_imagine.providers.webhook_scheme import WebhookScheme

PROVIDER = "imagineapi"
MODEL = "midjourney"
LONGEST_FILTER = 3000
LARGEST_SEED = 4294967295

CODES = {
    "INVALID_CREDENTIALS": AuthenticationError,
    "INVALID_TOKEN": AuthenticationError,
    "TOKEN_EXPIRED": AuthenticationError,
    "INVALID_PAYLOAD": InvalidRequestError,
    "INVALID_QUERY": InvalidRequestError,
    # A 429 that waiting does not cure: the account's images are used up.
    "IMAGE_ERROR": InsufficientCreditsError,
    "ROUTE_NOT_FOUND": NotFoundError,
}
STATUSES = {
    "pending": GenerationStatus.QUEUED,
    "queued": GenerationStatus.QUEUED,
    "in-progress": GenerationStatus.RUNNING,
    "completed": GenerationStatus.SUCCEEDED,
    "failed": GenerationStatus.FAILED,
}


def read_error(status: int, body: Any) -> ErrorDetail | None:
    """`{"errors": [{"message", "extensions": {"code"}}]}`, as Directus answers."""
    errors = body.get("errors") if isinstance(body, dict) else None
    if not errors or not isinstance(errors, list) or not isinstance(errors[0], dict):
        return None
    extensions = errors[0].get("extensions")
    code = extensions.get("code") if isinstance(extensions, dict) else None
    return ErrorDetail(str(errors[0].get("message") or code or f"HTTP {status}"), wire.text_or_none(code))


class ImagineAPIClient(BaseClient):
    """One token of ImagineAPI."""

    provider = PROVIDER
    capabilities = Capabilities(kinds=frozenset({GenerationKind.IMAGE}), status=True, mark=Mark.ECHOED)
    _takes_ref: bool | None = None

    def default_model(self, kind: GenerationKind, models: Collection[object]) -> str | None:
        """There is but one."""
        return MODEL

    def problems(self, request: GenerationRequest, models: Collection[object]) -> list[tuple[str, str]]:
        """What can neither be sent nor written as a Midjourney parameter."""
        found = kind_problems(request, self.capabilities)
        if request.model not in (None, MODEL):
            found.append(("model", f"imagineapi has one model, {MODEL!r}; leave the column empty"))
        found += setting_problems(request, ("aspect_ratio", "negative_prompt", "seed"), what="imagineapi")
        return found + number_problem(request, "seed", 0, LARGEST_SEED)

    def wire_prompt(self, request: GenerationRequest) -> str:
        """The prompt with Midjourney's parameters: `--ar`, `--no`, `--seed`."""
        flags = {"aspect_ratio": "--ar", "negative_prompt": "--no", "seed": "--seed"}
        given = [f"{flags[name]} {value}" for name, value in request.settings.items() if name in flags]
        return " ".join([request.prompt.strip(), *given])  # as it can be found again by an exact filter

    async def create(
        self,
        request: GenerationRequest,
        *,
        correlator: str | None = None,
        permit: Permit | None = None,
        deadline: Deadline | None = None,
    ) -> Generation:
        """POST /items/images with `prompt` and, where the schema has it, `ref`."""
        body = {"prompt": self.wire_prompt(request)}
        if correlator is not None and self._takes_ref is not False:
            body["ref"] = correlator
        try:
            created = await self.api.create(
                "/items/images",
                json=body,
                parse=lambda answer: self._generation(answer.body),
                permit=permit,
                deadline=deadline,
            )
        except (InvalidRequestError, AuthenticationError) as error:
            if "ref" in body and (self._rejects_ref(error) or self._may_reject_ref(error)):
                # Nothing was accepted; without `ref` the next attempt can be.
                self._takes_ref = False
                error.retryable = True
            raise
        return created

    async def poll(self, ids: Collection[str]) -> dict[str, Generation]:
        """GET /items/images with `filter[id][_in]` and `limit=-1`, and by id at those it leaves out."""
        return await self.poll_by_list(ids, self._read_filtered, few=1)

    async def record(self, generation_id: str, purpose: str) -> Generation:
        """GET /items/images/:id."""
        path = f"/items/images/{quote(generation_id, safe='')}"
        try:
            return self._generation(await self.api.read("GET", path, purpose=purpose))
        except AuthenticationError as error:
            _refuse(error)

    async def history(
        self, *, since: datetime | None = None, prompt: str | None = None
    ) -> AsyncIterator[HistoryPage]:
        """GET /items/images: the rows of one prompt at once, or all of them newest first."""
        if prompt is not None:
            try:
                rows = await self._of_prompt(prompt)
                # Exactly a page looks like a server that did not take `limit=-1`, and another prompt like one
                # that did not take the filter; no row at all may mean that the prompt is kept otherwise.
                trusted = len(rows) not in (0, LARGEST_PAGE) and all(row.prompt == prompt for row in rows)
                if trusted:
                    yield wire.page_of(rows, end=True)
                    return
            except (InvalidRequestError, AuthenticationError, NotFoundError):
                pass  # this service does not filter by prompt: walk the list
        async for page in walk(self._page):
            yield page

    async def status(self) -> ServiceStatus:
        """GET /items/status, or /status on the hosted service."""
        try:
            body = await self.api.read("GET", "/items/status", purpose="other")
        except (NotFoundError, AuthenticationError):
            body = await self.api.read("GET", "/status", purpose="other")
        data = body.get("data", body) if isinstance(body, dict) else body
        row = data[0] if isinstance(data, list) and data else data
        state = (
            str(wire.first(row, "status", "health", "state") or "")
            if isinstance(row, dict)
            else str(row or "")
        )
        unhealthy = state.lower() in ("error", "down", "unhealthy", "offline", "failed", "false")
        raw = row if isinstance(row, dict) else {}
        return ServiceStatus(provider=PROVIDER, healthy=not unhealthy, detail=state, raw=raw)

    async def check(self) -> None:
        """GET /items/images?limit=1. A token that may list nothing can still be one that may create: the
        page knows of no list."""
        try:
            await self.check_list()
        except AuthenticationError as error:
            if not _is_forbidden(error):
                raise

    async def check_list(self) -> None:
        """GET /items/images?limit=1."""
        await self.api.read("GET", "/items/images", purpose="other", params={"limit": 1})

    def media_headers(self) -> dict[str, str]:
        """Assets on the API's own origin need the token (page: asset_file)."""
        [token] = self.api.auth.secrets()
        return {"Authorization": f"Bearer {token}"}

    async def _read_filtered(self, wanted: set[str], found: dict[str, Generation]) -> None:
        for chunk in _chunks(sorted(wanted)):
            left = chunk
            while left:  # a server with a limit of its own leaves out what is beyond it
                rows = await self._list({"filter[id][_in]": ",".join(left), "limit": -1}, "poll")
                fresh = {row.id: row for row in rows if row.id in left}
                found |= fresh
                left = [each for each in left if each not in fresh] if len(fresh) >= SMALLEST_PAGE else []

    async def _of_prompt(self, prompt: str) -> list[Generation]:
        """All rows of one prompt, also from a server that gives fewer at once than were asked for."""
        rows: dict[str, Generation] = {}
        while True:
            params: dict[str, Any] = {"filter[prompt][_eq]": prompt, "limit": -1}
            page = await self._list(params | ({"offset": len(rows)} if rows else {}), "history")
            fresh = {row.id: row for row in page if row.id not in rows}
            rows |= fresh
            if len(fresh) < SMALLEST_PAGE or len(rows) == LARGEST_PAGE:
                return list(rows.values())

    async def _page(self, number: int, offset: int) -> Slice:
        async def ask(limit: int) -> list[Generation]:
            return await self._list({"limit": limit, "offset": offset, "sort": "-date_created"}, "history")

        return Slice(await self.page_size.ask(ask))

    async def _list(self, params: dict[str, Any], purpose: str) -> list[Generation]:
        try:
            body = await self.api.read("GET", "/items/images", purpose=purpose, params=params)
        except AuthenticationError as error:
            _refuse(error)
        return [self._generation(record) for record in wire.records_of(PROVIDER, body, "data")]

    def _rejects_ref(self, error: ProviderError) -> bool:
        # Several creates may be refused for it at once.
        return (
            self._takes_ref is not True
            and error.status_code in (400, 403, 422)
            and re.search(r"\bref\b", str(error)) is not None
        )

    def _may_reject_ref(self, error: ProviderError) -> bool:
        """Whether a 403 to a create with `ref`, which names no field, may be about it: so Directus 10 answers
        where a role may not create that field. A create without it shows which."""
        forbidden = isinstance(error, AuthenticationError) and _is_forbidden(error)
        return forbidden and self._takes_ref is not True

    def _generation(self, body: Any) -> Generation:
        record = wire.record_of(PROVIDER, body, "data")
        status = str(record.get("status") or "")
        state = STATUSES.get(status.lower(), GenerationStatus.RUNNING)
        if record.get("ref") is not None:
            self._takes_ref = True
        return Generation(
            provider=PROVIDER,
            id=wire.require_identifier(PROVIDER, record),
            status=state,
            kind=GenerationKind.IMAGE,
            model=MODEL,
            prompt=wire.text_or_none(record.get("prompt")),
            correlator=wire.text_or_none(record.get("ref")),
            # `url` is set, and partial, while the picture is in progress.
            outputs=_outputs(record, self.base_url) if state is GenerationStatus.SUCCEEDED else (),
            error=wire.text_or_none(wire.first(record, "error", "error_message")),
            created_at=wire.moment(wire.first(record, "date_created", "created_at")),
            finished_at=wire.finished(record, state, "date_updated", "completed_at"),
            provider_status=status,
            raw=dict(record),
        )


def _outputs(record: wire.Record, base_url: str) -> tuple[Output, ...]:
    upscaled = record.get("upscaled_urls")
    urls = upscaled if isinstance(upscaled, list) and upscaled else [record.get("url")]
    return tuple(Output(url=wire.address(str(url), base_url)) for url in urls if url)


def _is_forbidden(error: AuthenticationError) -> bool:
    """Whether a token may not do this, rather than being refused itself: Directus says 403 for either."""
    return error.status_code == 403 and CODES.get(error.code or "") is not AuthenticationError


def _refuse(error: AuthenticationError) -> NoReturn:
    """Raise what a refused read means: Directus answers alike for what is missing and what is hidden."""
    if not _is_forbidden(error):
        raise error
    raise NotFoundError(str(error), provider=PROVIDER, status_code=403, code=error.code) from error


def _chunks(ids: list[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    length = 0
    for each in ids:
        if chunk and length + len(each) + 3 > LONGEST_FILTER:
            yield chunk
            chunk, length = [], 0
        chunk.append(each)
        length += len(each) + 3
    if chunk:
        yield chunk


SPEC = ProviderSpec(
    name=PROVIDER,
    title="ImagineAPI",
    base_url="https://cl.imagineapi.dev",
    client=ImagineAPIClient,
    key_variable="IMAGINEAPI_TOKEN",
    read_error=read_error,
    codes=CODES,
    records="images",
    webhooks=WebhookScheme(
        STATUSES, envelopes=("payload", "data"), ended_at=("date_updated", "completed_at")
    ),
)
