"""ImagineLab's API (page: Dev Docs), which looks like FastAPI underneath."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any, ClassVar

from aiohttp import web

from prefect_imagine.sandbox.apis.base import (
    Answer,
    Api,
    Call,
    Reason,
    Refusal,
    Route,
    bearer,
    page_numbers,
    whole_number,
)
from prefect_imagine.sandbox.apis.validation import checked_create, missing_field, unprocessable, wrong_field
from prefect_imagine.sandbox.core.accounts import Account, View
from prefect_imagine.sandbox.core.books import Job, Order
from prefect_imagine.sandbox.core.clock import iso_z
from prefect_imagine.sandbox.core.outputs import text_of
from prefect_imagine.sandbox.core.settings import IMAGINELAB

MODELS: tuple[tuple[str, str, int], ...] = (
    ("seedream-5.0-lite", "image", 5),
    ("seedream-5.0-pro", "image", 8),
    ("seedance-2.0-lite", "video", 15),
    ("lyra-voice-2", "voice", 3),
    ("cadence-1.5", "music", 8),
    ("chartmaker-1", "infographic", 10),
    ("scribe-3-mini", "text", 2),
)
"""Model name, kind, credits. The kinds' prices are the page's; all names but the first are made up."""

PACKAGES = (
    {"id": 1, "name": "Starter", "credits": 100, "price": 9.0, "currency": "USD"},
    {"id": 2, "name": "CreateStage", "credits": 500, "price": 39.0, "currency": "USD"},
    {"id": 3, "name": "Studio", "credits": 2000, "price": 129.0, "currency": "USD"},
)

FIRST_ID = 1842
CAPPED = 20
ENDLESS = 10**9
"""The balance shown when the settings give an account no end of credits."""


class ImagineLab(Api):
    provider = IMAGINELAB
    base = "/imaginelab/api/v1"
    statuses: ClassVar[Mapping[str, int]] = {
        "invalid": 400,
        "moderated": 400,
        "unauthorized": 401,
        "expired": 401,
        "forbidden": 403,
        "no_credits": 402,
        "not_found": 404,
        "rate_limited": 429,
        "server_error": 500,
    }

    def __init__(self, world: Any) -> None:
        super().__init__(world)
        self._tokens: dict[str, tuple[str, float]] = {}
        self._issued = 0

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/auth/login", "login", self.login, open=True),
            Route("GET", "/auth/me", "other", self.me),
            Route("GET", "/generations/models", "other", self.models),
            Route("POST", "/generations", "create", self.create),
            Route("GET", "/generations", "list", self.history),
            Route("GET", "/generations/{id}/status", "read", self.status),
            Route("GET", "/generations/{id}", "read", self.read),
            Route("DELETE", "/generations/{id}", "other", self.delete),
            Route("GET", "/credits/wallet", "other", self.wallet),
            Route("GET", "/credits/packages", "other", self.packages),
        ]

    def error_body(self, reason: Reason, message: str, details: Mapping[str, Any]) -> Any:
        return {"detail": message}

    def not_found(self, job_id: str) -> Refusal:
        return self.refuse("not_found", "Generation not found")

    def new_id(self, number: int) -> str:
        return str(FIRST_ID + number)

    def authenticate(self, request: web.Request, body: Any, now: float) -> Account:
        token = bearer(request)
        if token is None:
            raise self._unauthorized("Not authenticated")
        if token in self._tokens:
            email, expires = self._tokens[token]
            if now >= expires:
                raise self._unauthorized("Token has expired")
            return self.world.accounts.by_name(self.provider, email)
        account = self.world.accounts.by_key(self.provider, token)
        if account is None:
            raise self._unauthorized("Could not validate credentials")
        return account

    def _unauthorized(self, message: str) -> Refusal:
        return Refusal(401, {"detail": message}, {"WWW-Authenticate": "Bearer"})

    def expire_credentials(self, request: web.Request) -> Refusal:
        token = bearer(request)
        if token in self._tokens:
            self._tokens[token] = (self._tokens[token][0], 0.0)
        return self._unauthorized("Token has expired")

    def login(self, call: Call) -> Answer:
        """`POST /auth/login`: OAuth2 password flow, form body."""
        form = call.fields or {}
        is_form = call.request.content_type in ("application/x-www-form-urlencoded", "multipart/form-data")
        absent = [name for name in ("username", "password") if not is_form or name not in form]
        if absent:
            raise unprocessable([missing_field(name) for name in absent])
        account = self.world.accounts.by_login(str(form["username"]), str(form["password"]))
        if account is None:
            raise self._unauthorized("Incorrect email or password")
        return Answer({"access_token": self._issue(account, call.now), "token_type": "bearer"})

    def _issue(self, account: Account, now: float) -> str:
        """A token that looks like a JWT; only the sandbox that issued it knows it."""
        self._issued += 1
        expires = now + self.world.settings.token_seconds
        claims = {"sub": account.name, "exp": int(self.show(expires)), "jti": self._issued}
        parts = [_base64url(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
        seal = hashlib.sha256(f"{'.'.join(parts)}{self._issued}".encode()).digest()
        token = ".".join([*parts, _base64url(seal)])
        self._tokens[token] = (account.name, expires)
        return token

    def me(self, call: Call) -> Answer:
        return Answer({"id": call.account.user_id, "email": call.account.name, "is_active": True})

    def models(self, call: Call) -> Answer:
        """`GET /generations/models`"""
        return Answer(
            [
                {"model_name": name, "generation_type": kind, "credit_cost": cost, "is_active": True}
                for name, kind, cost in MODELS
            ]
        )

    def create(self, call: Call) -> Answer:
        """`POST /generations`: reserves the cost and answers a pending record."""
        body = checked_create(call.fields)
        kind, model, prompt = body["generation_type"], body["model_name"], body["prompt"]
        cost = next((cost for name, of, cost in MODELS if (name, of) == (model, kind)), None)
        if cost is None:
            raise self.refuse("invalid", f"Model '{model}' is not available for {kind} generations")
        if not prompt.strip():
            raise self.refuse("invalid", "Prompt must not be empty")
        given: dict[str, Any] = body.get("settings") or {}
        settings = {**given, "project_id": body.get("project_id")}
        job = self.accept(call, Order(kind, model, prompt, cost, settings=settings))
        return Answer(self.record(job, call), 201)

    def read(self, call: Call) -> Answer:
        """`GET /generations/{id}`"""
        return Answer(self.record(self._find(call), call))

    def status(self, call: Call) -> Answer:
        """`GET /generations/{id}/status`"""
        job = self._find(call)
        progress = 100 if job.phase(call.now) == "succeeded" else int(job.fraction(call.now) * 99)
        return Answer({"id": int(job.id), "status": _status(job, call.now), "progress": progress})

    def delete(self, call: Call) -> Answer:
        """`DELETE /generations/{id}`"""
        self.world.books.delete(call.account, self._find(call))
        return Answer({"detail": "Generation deleted"})

    def _find(self, call: Call) -> Job:
        if not call.path("id").isdecimal():
            raise unprocessable(
                [wrong_field(["path", "id"], "int_parsing", "Input should be a valid integer")]
            )
        return self.find(call)

    def history(self, call: Call) -> Answer:
        """`GET /generations`: newest first, in the shape the setting `history_mode` says."""
        mode = self.world.settings.history_mode
        if mode == "missing":
            raise Refusal(404, {"detail": "Not Found"})
        jobs = self._filtered(call)
        if mode == "capped":
            page = jobs[:CAPPED]
        elif mode == "unpaged":
            page = jobs
        else:
            limit, offset = page_numbers(call.query, 20, 100, lambda text: self.refuse("invalid", text))
            page = jobs[offset : offset + limit]
        records = [self.record(job, call) for job in page]
        if mode != "items":
            return Answer(records)
        return Answer({"items": records, "total": len(jobs)})

    def _filtered(self, call: Call) -> list[Job]:
        jobs, query = self.listable(call), call.query
        if kind := query.get("generation_type"):
            jobs = [job for job in jobs if job.order.kind == kind]
        if status := query.get("status"):
            jobs = [job for job in jobs if _status(job, call.now) == status]
        if "project_id" in query:
            project = whole_number(query, "project_id", 0, lambda text: self.refuse("invalid", text))
            jobs = [job for job in jobs if job.order.settings.get("project_id") == project]
        return jobs

    def wallet(self, call: Call) -> Answer:
        """`GET /credits/wallet`"""
        balance = self.balance(call.account, call.now)
        balance = ENDLESS if balance is None else balance
        balance = 0 if call.account.blind else balance
        return Answer({"user_id": call.account.user_id, "balance": balance, "currency": "credits"})

    def packages(self, call: Call) -> Answer:
        """`GET /credits/packages`"""
        return Answer(list(PACKAGES))

    def record(self, job: Job, call: View) -> dict[str, Any]:
        phase, finished = job.phase(call.now), job.finished_at(call.now)
        return {
            "id": int(job.id),
            "user_id": call.account.user_id,
            "generation_type": job.order.kind,
            "model_name": job.order.model,
            "prompt": job.prompt,
            "settings": {name: value for name, value in job.order.settings.items() if name != "project_id"},
            "project_id": job.order.settings.get("project_id"),
            "status": _status(job, call.now),
            "credit_cost": job.credits(call.now),
            "created_at": iso_z(self.show(job.created_at)),
            "completed_at": iso_z(self.show(finished)) if finished is not None else None,
            "error_message": job.order.error if phase == "failed" else None,
            "outputs": self._outputs(job) if phase == "succeeded" else [],
        }

    def _outputs(self, job: Job) -> list[Any]:
        plain = self.world.settings.imaginelab_outputs == "strings"
        text = text_of(job)
        if text is not None:
            return [text if plain else {"content": text}]
        job.refresh_urls()
        return [url if plain else {"url": url} for url in self.urls(job)]


def _status(job: Job, now: float) -> str:
    phase = job.phase(now)
    if phase != "running":
        return "completed" if phase == "succeeded" else "failed"
    return "pending" if job.fraction(now) < 0.15 else "processing"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
