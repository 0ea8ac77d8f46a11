"""What the four APIs have in common: an operation, a call, an answer, a refusal in the API's own words."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from aiohttp import web

from prefect_imagine.sandbox.apis.announcing import announce
from prefect_imagine.sandbox.core.accounts import Account, View
from prefect_imagine.sandbox.core.books import Job, Order
from prefect_imagine.sandbox.core.faults import NOTHING, Fired
from prefect_imagine.sandbox.core.notices import Receiver
from prefect_imagine.sandbox.core.outputs import Origins, listed_outputs
from prefect_imagine.sandbox.core.shapes import as_object
from prefect_imagine.sandbox.core.world import World

Operation = Literal["create", "read", "list", "login", "media", "other"]
Reason = Literal[
    "invalid",
    "moderated",
    "unauthorized",
    "expired",
    "forbidden",
    "no_credits",
    "not_found",
    "rate_limited",
    "server_error",
]

FORBIDDEN_WORD = "forbidden-content"
FAILING_WORD = "fail-job"


class Refusal(Exception):
    """An error answer: status, JSON body, and headers beside the usual ones."""

    def __init__(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.body = body
        self.headers = dict(headers or {})


@dataclass(frozen=True, slots=True)
class Answer:
    """A success: what becomes JSON (None: no body at all), and the status."""

    body: Any
    status: int = 200


@dataclass(frozen=True, slots=True)
class Call(View):
    """One authenticated request. `body` is the parsed body (None: none or not JSON)."""

    request: web.Request
    body: Any = None
    fired: Fired = field(default_factory=lambda: NOTHING)

    @property
    def fields(self) -> dict[str, Any] | None:
        """The body when it is a JSON object or a form."""
        return as_object(self.body)

    @property
    def query(self) -> Mapping[str, str]:
        return self.request.query

    def path(self, name: str) -> str:
        return self.request.match_info[name]


Handler = Callable[[Call], Answer]


@dataclass(frozen=True, slots=True)
class Route:
    """An endpoint below the API's base path. `open` needs no credentials and spends no rate limit."""

    method: str
    path: str
    operation: Operation
    handler: Handler
    open: bool = False


class Api(ABC):
    """One provider's API: its routes, its credentials, its way to say no."""

    provider: ClassVar[str]
    base: ClassVar[str]
    statuses: ClassVar[Mapping[str, int]]
    tells_retry_after: ClassVar[bool] = False
    errors_as_200: ClassVar[bool] = False
    unknown_route: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, world: World) -> None:
        self.world = world
        self.origins = Origins("", "")

    @abstractmethod
    def routes(self) -> list[Route]: ...

    @abstractmethod
    def authenticate(self, request: web.Request, body: Any, now: float) -> Account:
        """The caller's account, or `Refusal`."""

    @abstractmethod
    def error_body(self, reason: Reason, message: str, details: Mapping[str, Any]) -> Any:
        """An error in this API's shape."""

    def forbidden(self) -> Refusal:
        """What a key hears that may not do this."""
        return self.refuse("forbidden", "You don't have permission to access this")

    @abstractmethod
    def not_found(self, job_id: str) -> Refusal:
        """What reading a job says that is not there or not the caller's."""

    def expire_credentials(self, request: web.Request) -> Refusal:
        """Make the request's token invalid for good, where credentials are tokens, and say that it is."""
        return self.refuse("expired", "API key has expired")

    def image_error(self) -> Refusal | None:
        """The permanent refusal that looks like a rate limit, where the API has one."""
        return None

    def refuse(self, reason: Reason, message: str, status: int | None = None, /, **details: Any) -> Refusal:
        return Refusal(status or self.statuses[reason], self.error_body(reason, message, details))

    def show(self, moment: float) -> float:
        """A moment as this provider's clock has it."""
        return moment + self.world.settings.clock_offset_seconds

    def job_id_in(self, request: web.Request) -> str | None:
        return request.match_info.get("id")

    def may(self, operation: Operation) -> bool:
        """Whether the provider's keys have access to this."""
        refused: Mapping[str, tuple[Operation, ...]] = {"no_lists": ("list",), "no_reads": ("list", "read")}
        return operation not in refused.get(self.world.settings.access[self.provider], ())

    def find(self, call: Call, job_id: str | None = None) -> Job:
        wanted = call.path("id") if job_id is None else job_id
        job = self.world.books.find(call.account, wanted)
        if job is None:
            raise self.not_found(wanted)
        return job

    def listable(self, call: Call) -> list[Job]:
        """The account's jobs that lists show by now, newest first."""
        return self.world.listable(call.account, call.now)

    def accept(self, call: Call, order: Order) -> Job:
        """Moderate, check what the account may still do, charge and take the order: all or nothing."""
        self.moderate(order.prompt)
        if "refused" in call.fired:
            raise self.refuse("invalid", "This prompt cannot be generated")
        self._check_balance(call, order.price)
        self._check_cap(call)
        books, settings = self.world.books, self.world.settings
        number = books.accepted[self.provider]
        job = books.accept(call.account, self._fate(call, order), self.new_id(number), call.now, settings)
        announce(self, job, call)
        return job

    @abstractmethod
    def new_id(self, number: int) -> str:
        """The id of the provider's job of this number, from 0."""

    def moderate(self, prompt: str) -> None:
        if FORBIDDEN_WORD in prompt:
            raise self.refuse("moderated", "Your prompt was rejected by our content moderation")

    def balance(self, account: Account, now: float) -> int | None:
        """Credits left; None when the account has no end of them."""
        opening = self.world.settings.credits[self.provider]
        return None if opening is None else opening - account.charged(now)

    def out_of_credits(self, required: int, available: int, status: int | None = None) -> Refusal:
        return self.refuse("no_credits", "Insufficient credits", status)

    def _check_balance(self, call: Call, price: int) -> None:
        if rule := call.fired.get("no_credits"):
            raise self.out_of_credits(price, 0, rule.status)
        available = self.balance(call.account, call.now)
        if available is not None and available < price:
            raise self.out_of_credits(price, available)

    def _check_cap(self, call: Call) -> None:
        cap = self.world.settings.pending_caps.get(self.provider)
        if cap is not None and call.account.unfinished(call.now) >= cap:
            refusal = self.refuse("rate_limited", "Too many requests")  # it does not say which limit it is
            if wait := self.world.settings.pending_retry_after:
                refusal.headers["Retry-After"] = f"{wait:g}"
            raise refusal

    def _fate(self, call: Call, order: Order) -> Order:
        if FAILING_WORD in order.prompt or "job_fails" in call.fired:
            return replace(order, error=order.error or "The generation failed")
        return replace(order, hangs=True) if "job_hangs" in call.fired else order

    def is_told(self, call: Call) -> bool:
        """Whether somebody would be told of the job that a create asks for."""
        return False

    def changes(self, job: Job) -> list[float]:
        """The moments at which somebody may have to be told of the job, unless it is cancelled before."""
        return []

    def receivers(self, job: Job, view: View) -> list[Receiver]:
        """Who is told of the job as it is at this moment."""
        return []

    def notice(self, job: Job, view: View) -> Any:
        """What they are told."""
        raise NotImplementedError

    def forged_notice(self, job: Job, view: View) -> Any:
        """What somebody tells who is not the provider, of a job as he would have it."""
        return self.notice(job, view)

    def urls(self, job: Job) -> list[str]:
        """Addresses of the job's results."""
        upscales = self.world.settings.imagineapi_upscales
        return [self.origins.url(job, one) for one in listed_outputs(job, upscales)]


def page_numbers(
    query: Mapping[str, str], default: int, most: int, complain: Callable[[str], Refusal]
) -> tuple[int, int]:
    """`limit` and `offset` of a query; a limit above `most` is cut to it, anything unreadable is refused."""
    limit = whole_number(query, "limit", default, complain)
    offset = whole_number(query, "offset", 0, complain)
    if limit < 1:
        raise complain("limit must be at least 1")
    if offset < 0:
        raise complain("offset must not be negative")
    return min(limit, most), offset


def whole_number(
    query: Mapping[str, str], name: str, default: int, complain: Callable[[str], Refusal]
) -> int:
    try:
        return int(query[name]) if name in query else default
    except ValueError:
        raise complain(f"{name} must be an integer") from None


def bearer(request: web.Request) -> str | None:
    """The token of an `Authorization: Bearer` header."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None
