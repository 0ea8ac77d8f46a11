"""AI Visual Studio's API (page: API Documentation v1)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, ClassVar

from aiohttp import web

from prefect_imagine.sandbox.apis.base import Answer, Api, Call, Reason, Refusal, Route, bearer, page_numbers
from prefect_imagine.sandbox.apis.webhooks import Webhooks
from prefect_imagine.sandbox.core.accounts import Account, View
from prefect_imagine.sandbox.core.books import Job, Order
from prefect_imagine.sandbox.core.clock import iso_z
from prefect_imagine.sandbox.core.notices import Receiver
from prefect_imagine.sandbox.core.outputs import output, strangers
from prefect_imagine.sandbox.core.settings import AIVISUALSTUDIO
from prefect_imagine.sandbox.core.shapes import is_url

RATIOS = {
    "image": ("1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3"),
    "video": ("16:9", "9:16", "1:1", "4:3", "3:4"),
}
FORMATS = ("webp", "png", "jpg")
DEFAULT_MODELS = {"image": "prunaai/z-image-turbo", "video": "minimax/hailuo-2.3-fast"}
STATUSES = ("processing", "completed", "failed")


def _model(model: str, name: str, kind: str, price: int, description: str) -> dict[str, Any]:
    return {
        "id": model,
        "name": name,
        "type": kind,
        "credits_per_generation": price,
        "description": description,
        "category": f"{kind}-generation",
    }


MODELS = (
    _model("prunaai/z-image-turbo", "Z-Image Turbo", "image", 5, "Fast image generation"),
    _model("black-forest-labs/flux-schnell", "FLUX Schnell", "image", 8, "Balanced image generation"),
    _model("bytedance/seedream-4", "Seedream 4", "image", 30, "Detailed image generation"),
    _model("minimax/hailuo-2.3-fast", "Hailuo 2.3 Fast", "video", 450, "Fast video generation"),
    _model("wan-video/wan-2.5-t2v", "Wan 2.5", "video", 600, "Detailed video generation"),
)
"""The first of each kind is the page's own; the others stand for the rest of its 18."""


class AIVisualStudio(Api):
    provider = AIVISUALSTUDIO
    base = "/aivisualstudio/api/v1"
    statuses: ClassVar[Mapping[str, int]] = {
        "invalid": 400,
        "moderated": 400,
        "unauthorized": 401,
        "expired": 401,
        "forbidden": 403,
        "no_credits": 403,
        "not_found": 404,
        "rate_limited": 429,
        "server_error": 500,
    }
    codes: ClassVar[Mapping[str, str]] = {
        "invalid": "invalid_request",
        "moderated": "content_policy_violation",
        "unauthorized": "invalid_api_key",
        "expired": "expired_api_key",
        "forbidden": "insufficient_scope",
        "no_credits": "insufficient_credits",
        "server_error": "internal_error",
    }

    def routes(self) -> list[Route]:
        hooks = Webhooks(self)
        return [
            Route("POST", "/generate/image", "create", self.create_image),
            Route("POST", "/generate/video", "create", self.create_video),
            Route("GET", "/generations", "list", self.history),
            Route("GET", "/generations/{id}", "read", self.read),
            Route("GET", "/models", "other", self.models),
            Route("POST", "/webhooks", "other", hooks.create),
            Route("GET", "/webhooks", "other", hooks.list),
            Route("PATCH", "/webhooks/{hook}", "other", hooks.update),
            Route("DELETE", "/webhooks/{hook}", "other", hooks.delete),
            Route("POST", "/keys", "other", self.keys, open=True),
            Route("GET", "/keys", "other", self.keys, open=True),
            Route("DELETE", "/keys/{key}", "other", self.keys, open=True),
        ]

    def error_body(self, reason: Reason, message: str, details: Mapping[str, Any]) -> Any:
        code = details.get("code") or self.codes.get(reason, reason)
        rest = {name: value for name, value in details.items() if name != "code"}
        return {"error": {"code": code, "message": message, "details": rest}}

    def forbidden(self) -> Refusal:
        return self._without_scope("read", ["generate:image", "generate:video"])

    def not_found(self, job_id: str) -> Refusal:
        return self.refuse("not_found", "Generation not found")

    def new_id(self, number: int) -> str:
        return "gen_" + hashlib.sha256(f"{self.world.settings.seed}:{number}".encode()).hexdigest()[:12]

    def authenticate(self, request: web.Request, body: Any, now: float) -> Account:
        key = bearer(request)
        if key is None:
            raise self.refuse("unauthorized", "No API key provided in request", code="missing_api_key")
        account = self.world.accounts.by_key(self.provider, key)
        if account is None:
            raise self.refuse("unauthorized", "API key is invalid or revoked")
        return account

    def require_scope(self, account: Account, scope: str) -> None:
        if account.readonly:
            raise self._without_scope(scope, ["read"])

    def _without_scope(self, scope: str, has: list[str]) -> Refusal:
        message = f"API key doesn't have the {scope} scope"
        return self.refuse("forbidden", message, required=scope, scopes=has)

    def invalid(self, field: str, message: str) -> Refusal:
        return self.refuse("invalid", message, field=field)

    def out_of_credits(self, required: int, available: int, status: int | None = None) -> Refusal:
        message = f"You need {required} credits but only have {available}"
        return self.refuse("no_credits", message, status, required=required, available=available)

    def create_image(self, call: Call) -> Answer:
        """`POST /generate/image`"""
        body = self._body(call, "image")
        if body.get("output_format", "webp") not in FORMATS:
            raise self.invalid("output_format", f"output_format must be one of {', '.join(FORMATS)}")
        return self._create(call, "image", body)

    def create_video(self, call: Call) -> Answer:
        """`POST /generate/video`"""
        body = self._body(call, "video")
        duration = body.get("duration", 5)
        if not isinstance(duration, int) or isinstance(duration, bool) or not 1 <= duration <= 10:
            raise self.invalid("duration", "duration must be an integer from 1 to 10")
        if not is_url(body.get("first_frame_image"), ("http", "https"), optional=True):
            raise self.invalid("first_frame_image", "first_frame_image must be a URL")
        return self._create(call, "video", body)

    def _body(self, call: Call, kind: str) -> dict[str, Any]:
        """The body without its nulls, its common fields checked."""
        self.require_scope(call.account, f"generate:{kind}")
        given = call.fields
        if given is None:
            raise self.refuse("invalid", "Request body must be a JSON object")
        body = {name: value for name, value in given.items() if value is not None}
        prompt = body.get("prompt")
        if not isinstance(prompt, str) or not prompt.strip():
            raise self.invalid("prompt", "prompt is required")
        if "aspect_ratio" in body and body["aspect_ratio"] not in RATIOS[kind]:
            raise self.invalid("aspect_ratio", f"aspect_ratio must be one of {', '.join(RATIOS[kind])}")
        if not is_url(body.get("webhook_url"), ("http", "https"), optional=True):
            raise self.invalid("webhook_url", "webhook_url must be a URL")
        return body

    def _create(self, call: Call, kind: str, body: dict[str, Any]) -> Answer:
        wanted = body.get("model", DEFAULT_MODELS[kind])
        model = next((one for one in MODELS if one["id"] == wanted and one["type"] == kind), None)
        if model is None:
            raise self.invalid("model", f"Unknown {kind} model: {wanted}")
        settings = {name: value for name, value in body.items() if name not in ("prompt", "model")}
        order = Order(
            kind,
            wanted,
            body["prompt"],
            model["credits_per_generation"],
            settings=settings,
            webhook_url=body.get("webhook_url"),
        )
        job = self.accept(call, order)
        return Answer(self.record(job, call))

    def read(self, call: Call) -> Answer:
        """`GET /generations/{id}`"""
        record = self.record(self.find(call), call)
        return Answer({"data": record} if self.world.settings.aivisualstudio_wraps_single else record)

    def history(self, call: Call) -> Answer:
        """`GET /generations`: newest first; a limit above 100 counts as 100."""
        limit, offset = page_numbers(call.query, 20, 100, lambda text: self.refuse("invalid", text))
        jobs = self._filtered(call)
        shown = jobs[offset : offset + limit]
        return Answer({"data": [self.record(job, call) for job in shown], "total": len(jobs)})

    def _filtered(self, call: Call) -> list[Job]:
        jobs = self.listable(call)
        if kind := call.query.get("type"):
            self._check_kind(kind)
            jobs = [job for job in jobs if job.order.kind == kind]
        if status := call.query.get("status"):
            if status not in STATUSES:
                raise self.invalid("status", f"status must be one of {', '.join(STATUSES)}")
            jobs = [job for job in jobs if _status(job, call.now) == status]
        return jobs

    def _check_kind(self, kind: str) -> None:
        if kind not in RATIOS:
            raise self.invalid("type", "type must be image or video")

    def models(self, call: Call) -> Answer:
        """`GET /models`"""
        kind = call.query.get("type")
        if kind:
            self._check_kind(kind)
        models = [one for one in MODELS if kind in (None, "", one["type"])]
        return Answer({"data": models, "total": len(models)})

    def keys(self, call: Call) -> Answer:
        """`/keys`: out of reach of an API key."""
        message = "API key management requires a web session"
        raise self.refuse("unauthorized", message, code="web_session_required")

    def is_told(self, call: Call) -> bool:
        hooks = call.account.webhooks.values()
        return any(hook.is_active for hook in hooks) or bool((call.fields or {}).get("webhook_url"))

    def changes(self, job: Job) -> list[float]:
        """Its end: by then the account may have a webhook."""
        return [] if job.order.hangs else [job.created_at + job.duration]

    def receivers(self, job: Job, view: View) -> list[Receiver]:
        """The account's webhooks, and the create's own, which the newest webhook's secret signs for."""
        hooks = [*view.account.webhooks.values()]
        event = _event(job, view.now)
        found = [Receiver(hook.url, hook.secret) for hook in hooks if hook.wants(event)]
        if job.order.webhook_url is not None:
            found.append(Receiver(job.order.webhook_url, hooks[-1].secret if hooks else None))
        return found

    def notice(self, job: Job, view: View) -> dict[str, Any]:
        """A webhook event as on the page (Webhook Payload)."""
        record = self.record(job, view)
        names = ("id", "type", "status", "prompt", "output_url", "error", "created_at", "completed_at")
        data = {name: record[name] for name in names if name in record}
        return {"event": _event(job, view.now), "data": data, "created_at": record["completed_at"]}

    def forged_notice(self, job: Job, view: View) -> dict[str, Any]:
        """It names a picture of somebody else."""
        notice, other = self.notice(job, view), strangers(self.provider)
        notice["data"]["output_url"] = self.origins.url(other, output(other, 0))
        return notice

    def record(self, job: Job, call: View) -> dict[str, Any]:
        status = _status(job, call.now)
        record: dict[str, Any] = {
            "id": job.id,
            "status": status,
            "prompt": job.prompt,
            "model": job.order.model,
            "type": job.order.kind,
            "credits_charged": job.credits(call.now),
            "created_at": iso_z(self.show(job.created_at)),
        }
        finished = job.finished_at(call.now)
        if finished is None:
            return record
        record["completed_at"] = iso_z(self.show(finished))
        if status == "failed":
            return record | {"output_url": None, "error": job.order.error}
        job.refresh_urls()
        return record | {"output_url": self.urls(job)[0]}


def _status(job: Job, now: float) -> str:
    return {"running": "processing", "succeeded": "completed"}.get(job.phase(now), "failed")


def _event(job: Job, now: float) -> str:
    return f"generation.{_status(job, now)}"
