"""What the sandbox can be told: limits, credits, latencies, and the shapes the pages leave open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, cast

from prefect_imagine.sandbox.core.shapes import is_url

IMAGINELAB = "imaginelab"
BLOCKADELABS = "blockadelabs"
IMAGINEAPI = "imagineapi"
AIVISUALSTUDIO = "aivisualstudio"
PROVIDERS: tuple[str, ...] = (IMAGINELAB, BLOCKADELABS, IMAGINEAPI, AIVISUALSTUDIO)

KINDS = ("image", "video", "voice", "music", "infographic", "text")

LimitKind = Literal["fixed", "sliding", "bucket"]
Access = Literal["full", "no_lists", "no_reads"]


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A limit on one account's API requests: at most `limit` in `window_seconds`; `limit=None` is no limit.

    `headers` puts `X-RateLimit-*` on every answer and `Retry-After` on every 429.
    """

    limit: int | None = None
    window_seconds: float = 60.0
    kind: LimitKind = "fixed"
    headers: bool = False

    def __post_init__(self) -> None:
        if self.kind not in ("fixed", "sliding", "bucket"):
            raise ValueError(f"unknown kind of rate limit: {self.kind!r}")
        if self.window_seconds <= 0 or (self.limit is not None and self.limit < 1):
            raise ValueError("a rate limit needs a window above 0 seconds and at least 1 request")


def _latency() -> dict[str, tuple[float, float]]:
    return {
        "image": (1.0, 3.0),
        "video": (3.0, 6.0),
        "voice": (1.0, 2.0),
        "music": (2.0, 4.0),
        "infographic": (1.5, 3.5),
        "text": (0.5, 1.5),
    }


def _rate_limits() -> dict[str, RateLimit]:
    limits = {provider: RateLimit() for provider in PROVIDERS}
    return limits | {AIVISUALSTUDIO: RateLimit(60, 60.0, "fixed", headers=True)}


def _credits() -> dict[str, int | None]:
    return {IMAGINELAB: 100_000, BLOCKADELABS: None, IMAGINEAPI: None, AIVISUALSTUDIO: 1_000_000}


@dataclass(frozen=True, slots=True)
class SandboxSettings:
    """Everything about the sandbox that can be changed, at the start or while it runs.

    Times are seconds, prices credits, sizes bytes or pixels.

    `latency` is the shortest and longest time a job of a kind takes; `credits` what an account opens with
    (None: no end); `pending_caps` how many unfinished jobs an account may have (None: no cap), and
    `pending_retry_after` what a create beyond it is told to wait (0: nothing is told).
    `access` is what a provider's keys may do: everything (`full`), all but list (`no_lists`), or neither list
    nor read a record (`no_reads`), where ImagineAPI, as Directus does, answers a create with 204 and no body.
    `refund_failed` says whether a failed or cancelled job gives its credits back.
    `media_bytes` is the least size of a media file, `image_pixels` the longer side of a picture.
    `clock_offset_seconds` shifts the clock the provider shows; `history_lag_seconds` is how long a new job
    stays out of list answers; `server_delay_seconds` is added to every API answer.
    `media_limited` makes media under the API's own origin, ImagineAPI's, take from the key's rate limit.
    `blockade_envelope`: `response` as on the pages; `request` on reads by id with a bare create, as public
    clients know it; or `bare`. `history_mode` and `imaginelab_outputs` are the shapes ImagineLab leaves open.
    `imagineapi_has_ref=False` is a schema in which `ref` is out of reach; `imagineapi_upscales` how many
    upscaled pictures a job has (0: only `url`); `imagineapi_queued` shows a `queued` job, a word that the
    page does not know; `imagineapi_assets_need_token` keeps files for their owner; `query_limit_max` is
    Directus' QUERY_LIMIT_MAX, the most rows that a list may be asked for (None: any number).
    `aivisualstudio_wraps_single` answers a read by id as `{"data": …}`.

    Webhooks are posted to at most `webhook_attempts` times, each answer being waited for
    `webhook_timeout_seconds`; the second attempt follows up to `webhook_retry_seconds` after the first, and
    the wait doubles each time. `webhook_key_has_prefix=False` signs AI Visual Studio's with the part of the
    secret that follows `whsec_`. `imagineapi_webhook_url` is the address that ImagineAPI tells of all jobs
    made while it is set; `blockade_webhook_envelope` is what Blockade Labs' records are told in.
    """

    seed: int = 0
    latency: Mapping[str, tuple[float, float]] = field(default_factory=_latency)
    rate_limits: Mapping[str, RateLimit] = field(default_factory=_rate_limits)
    credits: Mapping[str, int | None] = field(default_factory=_credits)
    pending_caps: Mapping[str, int | None] = field(default_factory=dict[str, "int | None"])
    pending_retry_after: float = 0.0
    refund_failed: bool = True
    server_delay_seconds: float = 0.0
    history_lag_seconds: float = 0.0
    clock_offset_seconds: float = 0.0
    token_seconds: float = 3600.0
    media_bytes: int | None = None
    media_limited: bool = False
    image_pixels: int = 512
    history_mode: Literal["bare", "items", "unpaged", "capped", "missing"] = "bare"
    imaginelab_outputs: Literal["objects", "strings"] = "objects"
    access: Mapping[str, Access] = field(default_factory=dict[str, Access])
    blockade_envelope: Literal["response", "request", "bare"] = "response"
    imagineapi_has_ref: bool = True
    imagineapi_upscales: int = 4
    imagineapi_queued: bool = False
    imagineapi_assets_need_token: bool = False
    query_limit_max: int | None = None
    aivisualstudio_wraps_single: bool = False
    webhook_attempts: int = 6
    webhook_retry_seconds: float = 0.5
    webhook_timeout_seconds: float = 10.0
    webhook_key_has_prefix: bool = True
    imagineapi_webhook_url: str | None = None
    blockade_webhook_envelope: Literal["bare", "response", "request"] = "bare"

    def __post_init__(self) -> None:
        """Complete partial mappings with the defaults: naming one provider leaves the others alone."""
        object.__setattr__(self, "latency", {**_latency(), **_spans(self.latency)})
        object.__setattr__(self, "rate_limits", _limits(_rate_limits(), self.rate_limits))
        object.__setattr__(self, "credits", {**_credits(), **_known(self.credits)})
        object.__setattr__(self, "pending_caps", dict(_known(self.pending_caps)))
        object.__setattr__(self, "access", {**dict.fromkeys(PROVIDERS, "full"), **_known(self.access)})
        _check_values(self)

    def changed(self, **changes: Any) -> SandboxSettings:
        """These settings with some changed; mappings are merged by key. `ValueError` on what is unknown."""
        names = {one.name for one in fields(self)}
        if unknown := set(changes) - names:
            raise ValueError(f"unknown settings: {', '.join(sorted(unknown))}")
        for name in ("latency", "credits", "pending_caps", "access"):
            if name in changes:
                changes[name] = {**getattr(self, name), **changes[name]}
        if "rate_limits" in changes:
            changes["rate_limits"] = _limits(self.rate_limits, changes["rate_limits"])
        return replace(self, **changes)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def _known(by_provider: Mapping[str, Any]) -> Mapping[str, Any]:
    if unknown := set(by_provider) - set(PROVIDERS):
        raise ValueError(f"unknown providers: {', '.join(sorted(unknown))}")
    return by_provider


def _spans(latency: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    if unknown := set(latency) - set(KINDS):
        raise ValueError(f"unknown kinds: {', '.join(sorted(unknown))}")
    return {kind: (float(span[0]), float(span[1])) for kind, span in latency.items()}


def _limits(old: Mapping[str, RateLimit], new: Mapping[str, Any]) -> dict[str, RateLimit]:
    """The old limits with the new ones; a new one may be a dict of only what changes."""
    merged = dict(old)
    for provider, value in _known(new).items():
        if isinstance(value, RateLimit):
            merged[provider] = value
        else:
            merged[provider] = replace(old[provider], **cast("dict[str, Any]", value))
    return merged


_CHOICES = {
    "history_mode": {"bare", "items", "unpaged", "capped", "missing"},
    "imaginelab_outputs": {"objects", "strings"},
    "blockade_envelope": {"response", "request", "bare"},
    "blockade_webhook_envelope": {"response", "request", "bare"},
}


_AMOUNTS = (
    "seed",
    "pending_retry_after",
    "server_delay_seconds",
    "history_lag_seconds",
    "token_seconds",
    "image_pixels",
    "imagineapi_upscales",
    "webhook_attempts",
    "webhook_retry_seconds",
    "webhook_timeout_seconds",
)


def _check_values(settings: SandboxSettings) -> None:
    for name in _AMOUNTS:
        value = getattr(settings, name)
        if not isinstance(value, int | float) or value < 0:
            raise ValueError(f"{name} must be a number from 0")
    for name, choices in _CHOICES.items():
        if getattr(settings, name) not in choices:
            raise ValueError(f"{name} must be one of {', '.join(sorted(choices))}")
    if settings.query_limit_max is not None and settings.query_limit_max < 1:
        raise ValueError("query_limit_max must be at least 1")
    if not is_url(settings.imagineapi_webhook_url, ("http", "https"), optional=True):
        raise ValueError("imagineapi_webhook_url must be a URL")
    if not set(settings.access.values()) <= {"full", "no_lists", "no_reads"}:
        raise ValueError("access must be one of full, no_lists, no_reads")
