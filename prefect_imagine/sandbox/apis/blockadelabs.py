"""Blockade Labs' API (page: Imagine Requests)."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from aiohttp import web

from prefect_imagine.sandbox.apis.announcing import changes, tell_at
from prefect_imagine.sandbox.apis.base import (
    Answer,
    Api,
    Call,
    Reason,
    Refusal,
    Route,
    page_numbers,
    whole_number,
)
from prefect_imagine.sandbox.apis.generators import GENERATORS, find_generator, generator_data
from prefect_imagine.sandbox.core.accounts import Account, View
from prefect_imagine.sandbox.core.books import Job, Order
from prefect_imagine.sandbox.core.clock import iso_offset
from prefect_imagine.sandbox.core.notices import Receiver
from prefect_imagine.sandbox.core.outputs import THUMBNAIL, output
from prefect_imagine.sandbox.core.settings import BLOCKADELABS
from prefect_imagine.sandbox.core.shapes import as_object, is_url

FIRST_ID = 123456
PRICE = 1
"""The API tells no costs; the books charge this for every job so that bills can be compared."""

NO_ACCESS = "Account does not have access to this method"
STATUSES = ("all", "pending", "dispatched", "processing", "complete", "abort", "error")
DISPATCHED_AT, PROCESSING_AT = 0.1, 0.2


class BlockadeLabs(Api):
    provider = BLOCKADELABS
    base = "/blockadelabs/api/v1"
    errors_as_200 = True
    statuses: ClassVar[Mapping[str, int]] = {
        "invalid": 400,
        "moderated": 400,
        "unauthorized": 403,
        "expired": 401,
        "forbidden": 403,
        "no_credits": 402,
        "not_found": 404,
        "rate_limited": 429,
        "server_error": 500,
    }

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/generators", "other", self.generators),
            Route("POST", "/imagine/requests", "create", self.create),
            Route("GET", "/imagine/requests/obfuscated-id/{obfuscated}", "read", self.read_obfuscated),
            Route("GET", "/imagine/requests/{id}", "read", self.read),
            Route("GET", "/imagine/myRequests", "list", self.history),
            Route("DELETE", "/imagine/requests/pending", "other", self.cancel_pending),
            Route("DELETE", "/imagine/requests/{id}", "other", self.cancel),
            Route("DELETE", "/imagine/deleteImagine/{id}", "other", self.delete),
        ]

    def error_body(self, reason: Reason, message: str, details: Mapping[str, Any]) -> Any:
        return {"error": message}

    def forbidden(self) -> Refusal:
        return self.refuse("forbidden", NO_ACCESS)

    def not_found(self, job_id: str) -> Refusal:
        return self.refuse("not_found", f"Imagine request {job_id} not found")

    def new_id(self, number: int) -> str:
        return str(FIRST_ID + number)

    def authenticate(self, request: web.Request, body: Any, now: float) -> Account:
        key = request.headers.get("x-api-key") or request.query.get("api_key")
        if key is None:
            key = str((as_object(body) or {}).get("api_key"))
        account = self.world.accounts.by_key(self.provider, key)
        if account is None:
            raise self.refuse("unauthorized", NO_ACCESS)
        return account

    def generators(self, call: Call) -> Answer:
        """`GET /generators`"""
        return Answer(list(GENERATORS))

    def create(self, call: Call) -> Answer:
        """`POST /imagine/requests`: JSON or form."""
        body = call.fields or {}
        if not body.get("generator"):
            raise self.refuse("invalid", "Parameter generator is required")
        generator = find_generator(body["generator"])
        if generator is None:
            raise self.refuse("invalid", f"Generator {body['generator']} does not exist")
        try:
            data = generator_data(generator, body)
        except ValueError as problem:
            raise self.refuse("invalid", str(problem)) from None
        if data.get("seed") == 0:
            data["seed"] = self._random_seed()
        hook = body.get("webhook_url") or None
        if not is_url(hook, ("http", "https"), optional=True):
            raise self._invalid("Parameter webhook_url must be a URL")
        name = generator["generator"]
        order = Order("image", name, data["prompt"], PRICE, settings=data, webhook_url=hook)
        job = self.accept(call, order)
        return self._one(job, call, created=True)

    def _random_seed(self) -> int:
        number = self.world.books.accepted[self.provider]
        return random.Random(f"{self.world.settings.seed}:seed:{number}").randint(1, 2147483647)

    def read(self, call: Call) -> Answer:
        """`GET /imagine/requests/{id}`"""
        return self._one(self.find(call), call)

    def read_obfuscated(self, call: Call) -> Answer:
        """`GET /imagine/requests/obfuscated-id/{obfuscatedId}`"""
        wanted = call.path("obfuscated")
        for job in call.account.jobs:
            if obfuscated_id(job) == wanted:
                return self._one(job, call)
        raise self.not_found(wanted)

    def _one(self, job: Job, call: Call, created: bool = False) -> Answer:
        record = self.record(job, call)
        envelope = self.world.settings.blockade_envelope
        if envelope == "bare" or (envelope == "request" and created):
            return Answer(record)
        return Answer({envelope: record})

    def history(self, call: Call) -> Answer:
        """`GET /imagine/myRequests`: `offset` counts pages from 0."""
        limit, page = page_numbers(call.query, 18, 100, self._invalid)
        jobs = self._filtered(call)
        if call.query.get("order", "DESC").upper() == "ASC":
            jobs = jobs[::-1]
        shown = jobs[page * limit : (page + 1) * limit]
        return Answer(
            {
                "data": [self.record(job, call) for job in shown],
                "totalCount": len(jobs),
                "has_more": (page + 1) * limit < len(jobs),
            }
        )

    def _invalid(self, message: str) -> Refusal:
        return self.refuse("invalid", message)

    def _filtered(self, call: Call) -> list[Job]:
        jobs, query = self.listable(call), call.query
        status = query.get("status") or "all"
        if status not in STATUSES or query.get("order", "DESC").upper() not in ("ASC", "DESC"):
            raise self._invalid(f"status must be one of {', '.join(STATUSES)}; order ASC or DESC")
        if status != "all":
            jobs = [job for job in jobs if _status(job, call.now) == status]
        if "imagine_id" in query:
            wanted = str(whole_number(query, "imagine_id", 0, self._invalid))
            jobs = [job for job in jobs if job.id == wanted]
        if text := query.get("query", "").lower():
            jobs = [job for job in jobs if text in job.prompt.lower() or text in _title(job).lower()]
        if generator := query.get("generator"):
            jobs = [job for job in jobs if job.order.model == generator]
        return jobs

    def cancel(self, call: Call) -> Answer:
        """`DELETE /imagine/requests/{id}`"""
        if not self._abort(call, self.find(call)):
            raise self._invalid("Imagine request is finished already")
        return Answer({"success": True})

    def _abort(self, call: Call, job: Job) -> bool:
        aborted = self.world.books.abort(call.account, job, call.now)
        if aborted and job.order.webhook_url is not None:
            tell_at(self, job, call)
        return aborted

    def cancel_pending(self, call: Call) -> Answer:
        """`DELETE /imagine/requests/pending`: the whole account's; an error when there are none."""
        pending = [job for job in call.account.jobs if _status(job, call.now) == "pending"]
        if not pending:
            raise self._invalid("There are no pending imagine requests")
        for job in pending:
            self._abort(call, job)
        return Answer({"success": True})

    def delete(self, call: Call) -> Answer:
        """`DELETE /imagine/deleteImagine/{id}`"""
        job = self.find(call)
        self.world.books.delete(call.account, job)
        return Answer({"success": "Item deleted successfully", "id": job.id})

    def is_told(self, call: Call) -> bool:
        return bool((call.fields or {}).get("webhook_url"))

    def changes(self, job: Job) -> list[float]:
        if job.order.webhook_url is None:
            return []
        return changes(job, (DISPATCHED_AT, PROCESSING_AT), "pending", partial(_status, job))

    def receivers(self, job: Job, view: View) -> list[Receiver]:
        url = job.order.webhook_url
        return [] if url is None else [Receiver(url)]

    def notice(self, job: Job, view: View) -> dict[str, Any]:
        """The record, in the envelope that the setting `blockade_webhook_envelope` says."""
        record, envelope = self.record(job, view), self.world.settings.blockade_webhook_envelope
        return record if envelope == "bare" else {envelope: record}

    def record(self, job: Job, call: View) -> dict[str, Any]:
        phase, hashed = job.phase(call.now), obfuscated_id(job)
        done = phase == "succeeded"
        if done:
            job.refresh_urls()
        record: dict[str, Any] = {
            "id": int(job.id),
            "status": _status(job, call.now),
            "queue_position": 2 if _status(job, call.now) == "pending" else 1,
            "file_url": self.urls(job)[0] if done else "",
            "thumb_url": self.origins.url(job, output(job, THUMBNAIL)) if done else "",
            "title": _title(job),
            "user_id": call.account.user_id,
            "username": "user@blockadelabs.com",
            "error_message": job.order.error if phase == "failed" else None,
            "obfuscated_id": hashed,
            "pusher_channel": f"status_update_{hashed}",
            "pusher_event": "status_update",
        }
        record |= self._times(job, call)
        return record | {
            "type": "imaginarium",
            "generator": job.order.model,
            "generator_data": dict(job.order.settings),
        }

    def _times(self, job: Job, call: View) -> dict[str, str]:
        """`created_at`, `updated_at` and the times of the stages reached so far."""
        reached = job.fraction(call.now)
        moments = {"created_at": job.created_at}
        updated = job.created_at
        for name, share in (("dispatched_at", DISPATCHED_AT), ("processing_at", PROCESSING_AT)):
            if reached >= share:
                updated = moments[name] = job.created_at + share * job.duration
        finished = job.finished_at(call.now)
        if finished is not None:
            updated = finished
        if job.phase(call.now) == "succeeded":
            moments["completed_at"] = updated
        moments["updated_at"] = updated
        return {name: iso_offset(self.show(moment)) for name, moment in moments.items()}


def obfuscated_id(job: Job) -> str:
    return hashlib.md5(f"blockade {job.id}".encode(), usedforsecurity=False).hexdigest()


def _title(job: Job) -> str:
    return f"Imagination #{job.id}"


def _status(job: Job, now: float) -> str:
    phase = job.phase(now)
    if phase != "running":
        return {"succeeded": "complete", "failed": "error", "aborted": "abort"}[phase]
    reached = job.fraction(now)
    if reached < DISPATCHED_AT:
        return "pending"
    return "dispatched" if reached < PROCESSING_AT else "processing"
