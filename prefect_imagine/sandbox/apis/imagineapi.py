"""ImagineAPI (page: Imagine API Python API Docs), which is Directus underneath."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

from aiohttp import web

from prefect_imagine.sandbox.apis.announcing import changes
from prefect_imagine.sandbox.apis.base import (
    FORBIDDEN_WORD,
    Answer,
    Api,
    Call,
    Reason,
    Refusal,
    Route,
    bearer,
)
from prefect_imagine.sandbox.apis.directus import FIELDS, Query, read_query
from prefect_imagine.sandbox.core.accounts import Account, View
from prefect_imagine.sandbox.core.books import Job, Order
from prefect_imagine.sandbox.core.clock import iso_milliseconds
from prefect_imagine.sandbox.core.notices import Receiver
from prefect_imagine.sandbox.core.outputs import PARTIAL, asset_id, listed_outputs, output
from prefect_imagine.sandbox.core.settings import IMAGINEAPI

MODEL = "midjourney"
PRICE = 1
"""The API tells no costs; the books charge this for every job so that bills can be compared."""

QUEUED_AT, STARTED_AT, DRAWN_AT = 0.1, 0.2, 0.3
DAY_SECONDS = 86_400.0


class ImagineAPI(Api):
    provider = IMAGINEAPI
    base = "/imagineapi"
    tells_retry_after = True
    unknown_route: ClassVar[Mapping[str, Any]] = {"code": "ROUTE_NOT_FOUND"}
    statuses: ClassVar[Mapping[str, int]] = {
        "invalid": 400,
        "moderated": 400,
        "unauthorized": 401,
        "expired": 401,
        "forbidden": 403,
        "no_credits": 402,
        "not_found": 403,
        "rate_limited": 429,
        "server_error": 500,
    }
    codes: ClassVar[Mapping[str, str]] = {
        "invalid": "INVALID_PAYLOAD",
        "unauthorized": "INVALID_CREDENTIALS",
        "expired": "TOKEN_EXPIRED",
        "forbidden": "FORBIDDEN",
        "no_credits": "LIMIT_EXCEEDED",
        "not_found": "FORBIDDEN",
        "rate_limited": "REQUESTS_EXCEEDED",
        "server_error": "INTERNAL_SERVER_ERROR",
    }

    def routes(self) -> list[Route]:
        routes = [
            Route("GET", "/items/images/{id}", "read", self.read),
            Route("DELETE", "/items/images/{id}", "other", self.delete),
            Route("GET", "/items/status", "other", self.status),
            Route("GET", "/status", "other", self.status),
        ]
        for path in ("/items/images", "/items/images/"):
            routes.append(Route("POST", path, "create", self.create))
            routes.append(Route("GET", path, "list", self.rows))
        return routes

    def error_body(self, reason: Reason, message: str, details: Mapping[str, Any]) -> Any:
        code = details.get("code") or self.codes.get(reason, reason.upper())
        rest = {name: value for name, value in details.items() if name != "code"}
        return {"errors": [{"message": message, "extensions": {**rest, "code": code}}]}

    def forbidden(self) -> Refusal:
        """What Directus 10 says of every row, field and collection out of reach: it names none of them."""
        return self.refuse("forbidden", "You don't have permission to access this.")

    def not_found(self, job_id: str) -> Refusal:
        return self.forbidden()

    def image_error(self) -> Refusal:
        return self.refuse("rate_limited", "The image could not be processed.", code="IMAGE_ERROR")

    def new_id(self, number: int) -> str:
        """A UUID that ends in 0: the ids of its files are the same with another last digit."""
        made = uuid.uuid5(uuid.NAMESPACE_URL, f"sandbox:{self.world.settings.seed}:{number}")
        return str(uuid.UUID(int=made.int & ~0xF, version=4))

    def authenticate(self, request: web.Request, body: Any, now: float) -> Account:
        token = bearer(request)
        if token is None:
            raise self.forbidden()
        account = self.world.accounts.by_key(self.provider, token)
        if account is None:
            raise self.refuse("unauthorized", "Invalid user credentials.")
        return account

    def moderate(self, prompt: str) -> None:
        """Banned prompts are accepted here, and fail."""

    def create(self, call: Call) -> Answer:
        """`POST /items/images`, with or without a trailing slash; answers 200 with the row that was made, or
        204 where the key may not read it."""
        body = self._body(call)
        order = Order("image", MODEL, body["prompt"], PRICE, ref=body.get("ref"))
        if FORBIDDEN_WORD in order.prompt:
            order = replace(order, error="Banned prompt detected")
        job = self.accept(call, order)
        return Answer({"data": self.record(job, call)} if self.may("read") else None)

    def _body(self, call: Call) -> dict[str, Any]:
        body = call.fields
        if body is None:
            raise self.refuse("invalid", 'Invalid payload. "body" must be an object.')
        known = {"prompt", "ref"} if self.world.settings.imagineapi_has_ref else {"prompt"}
        if body.keys() - known:
            raise self.forbidden()
        if not isinstance(body.get("prompt"), str) or not body["prompt"].strip():
            message = 'Validation failed for field "prompt". Value is required.'
            raise self.refuse("invalid", message, code="FAILED_VALIDATION", field="prompt", type="required")
        if not isinstance(body.get("ref"), str | None):
            raise self.refuse("invalid", 'Invalid payload. Field "ref" must be a string.')
        return body

    def read(self, call: Call) -> Answer:
        """`GET /items/images/:id`"""
        return Answer({"data": self.record(self.find(call), call)})

    def delete(self, call: Call) -> Answer:
        """`DELETE /items/images/:id`: own rows, a day after they were made."""
        job = self.find(call)
        if call.now - job.created_at < DAY_SECONDS:
            raise self.not_found(job.id)
        self.world.books.delete(call.account, job)
        return Answer(None)

    def rows(self, call: Call) -> Answer:
        """`GET /items/images`: Directus' filter, sort, limit, offset and page; in no order unless sorted."""
        query = read_query(call.query, self)
        jobs = self._candidates(call, query)
        if query.conditions:
            jobs = [job for job in jobs if query.matches(partial(self._value, job, call.now))]
        shown = query.page(self._sorted(jobs, query))
        return Answer({"data": [self.record(job, call) for job in shown]})

    def _candidates(self, call: Call, query: Query) -> list[Job]:
        """The jobs to look through: those named by id, where ids are named, without reading all others."""
        ids = query.ids()
        if ids is None:
            return self.listable(call)
        lag = self.world.settings.history_lag_seconds
        named = (self.world.books.find(call.account, one) for one in ids)
        return [job for job in named if job and job.created_at <= call.now - lag]

    def _sorted(self, jobs: list[Job], query: Query) -> list[Job]:
        if query.sort == "":
            return sorted(jobs, key=lambda job: job.id)
        return sorted(jobs, key=lambda job: job.number, reverse=query.sort.startswith("-"))

    def status(self, call: Call) -> Answer:
        """`GET /items/status` (and `/status`): the bot's health."""
        shown = iso_milliseconds(self.show(call.now))
        return Answer({"data": {"id": 1, "status": "ok", "bot": "online", "date_updated": shown}})

    def _value(self, job: Job, now: float, name: str) -> str | None:
        """A field that can be filtered on."""
        if name == "date_created":
            return iso_milliseconds(self.show(job.created_at))
        if name == "status":
            return self._status(job, now)
        return {"id": job.id, "prompt": job.prompt, "ref": job.order.ref}[name]

    def _status(self, job: Job, now: float) -> str:
        phase = job.phase(now)
        if phase != "running":
            return "completed" if phase == "succeeded" else "failed"
        reached = job.fraction(now)
        if reached >= STARTED_AT:
            return "in-progress"
        return "queued" if reached >= QUEUED_AT and self.world.settings.imagineapi_queued else "pending"

    def is_told(self, call: Call) -> bool:
        return self.world.settings.imagineapi_webhook_url is not None

    def changes(self, job: Job) -> list[float]:
        if self.world.settings.imagineapi_webhook_url is None:
            return []
        return changes(job, (QUEUED_AT, STARTED_AT), "pending", partial(self._status, job))

    def receivers(self, job: Job, view: View) -> list[Receiver]:
        url = self.world.settings.imagineapi_webhook_url
        return [] if url is None else [Receiver(url)]

    def notice(self, job: Job, view: View) -> dict[str, Any]:
        """The row as a flow of Directus posts it."""
        return {"payload": self.record(job, view), "event": "images.items.update"}

    def record(self, job: Job, call: View) -> dict[str, Any]:
        """An image as Directus shows it: while in progress `url` is set to an unfinished picture."""
        row: dict[str, Any] = {name: self._value(job, call.now, name) for name in self.filterable()}
        drawing = row["status"] == "in-progress"
        record: dict[str, Any] = row | {
            "user_created": str(uuid.uuid5(uuid.NAMESPACE_URL, call.account.name)),
            "results": None,
            "progress": int(job.fraction(call.now) * 99) if drawing else None,
            "url": None,
            "error": job.order.error if row["status"] == "failed" else None,
            "upscaled_urls": None,
            "upscaled": [],
        }
        if drawing and job.fraction(call.now) >= DRAWN_AT:
            record["url"] = self.origins.url(job, output(job, PARTIAL))
        return record | self._results(job) if row["status"] == "completed" else record

    def _results(self, job: Job) -> dict[str, Any]:
        job.refresh_urls()
        upscales = self.world.settings.imagineapi_upscales
        files = listed_outputs(job, upscales)
        return {
            "results": asset_id(job, 0),
            "url": self.origins.url(job, output(job, 0)),
            "upscaled_urls": [self.origins.url(job, one) for one in files] if upscales else None,
            "upscaled": [asset_id(job, one.index) for one in files] if upscales else [],
        }

    def filterable(self) -> tuple[str, ...]:
        has_ref = self.world.settings.imagineapi_has_ref
        return FIELDS if has_ref else tuple(name for name in FIELDS if name != "ref")
