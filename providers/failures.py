"""What an error answer means: its words, and the kind of error that they and the status make it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Protocol

from prefect_imagine.errors import (
    AuthenticationError,
    ConnectionFailedError,
    InsufficientCreditsError,
    InvalidRequestError,
    ModerationError,
    NotFoundError,
    ProviderError,
    RateLimitedError,
    ServerError,
    UnexpectedResponseError,
)


@dataclass(frozen=True)
class ErrorDetail:
    """What an error body says. `names_fields`: it lists what is wrong with single fields of the request."""

    message: str
    code: str | None = None
    names_fields: bool = False

    @property
    def words(self) -> str:
        """Everything that it says, the words of its code included."""
        code = re.sub(r"[_-]+", " ", self.code or "")
        return f"{code} {self.message}".strip()


class ErrorReader(Protocol):
    """What is particular about a provider's error bodies."""

    def __call__(self, status: int, body: Any) -> ErrorDetail | None:
        """The message and code of an error body, or `None` if this is not one."""


# What an error's words blame. Those that blame the API outweigh all others: an answer that says "invalid
# response from upstream" says nothing of the request, and one that says "already created" proves nothing.
_ABOUT_A_FAILURE = re.compile(
    r"\b(internal|server|upstream|backend|gateway|proxy|database|crash\w*|exception|fatal|unavailable"
    r"|time[ds]?[ -]?out|timeouts?|deadline|overloaded|busy|temporar\w+|retr(?:y|ies)|respon(?:se|d|ding)"
    r"|processing|something went wrong|unexpected(?! (?:field|key|keyword|parameter|property|argument))"
    r"|already|duplicate\w*|accepted|created|queued|submitted|started)\b",
    re.IGNORECASE,
)
_ABOUT_A_REQUEST = re.compile(
    r"\b(invalid|required?s?|missing|must|should be|too (?:long|short|large|small|many)|at (?:least|most)"
    r"|exceeds|maximum|minimum|out of range|unsupported|not supported|not (?:allowed|permitted)"
    r"|not (?:a )?valid|validation|malformed|bad request|unprocessable|unknown|unrecogni[sz]ed"
    r"|expected|unexpected|does(?: not|n.t) (?:exist|support|accept|allow)|no such|not found"
    r"|empty|blank|cannot be|(?:is|are) not)\b",
    re.IGNORECASE,
)
_ABOUT_A_KEY = re.compile(
    r"\b(api[ _-]?key|(?:access |bearer )?token|unauthori[sz]ed|unauthenticated|forbidden|permission)\b",
    re.IGNORECASE,
)
_ABOUT_A_RATE = re.compile(r"\b(rate[ _-]?limit\w*|too many requests)\b", re.IGNORECASE)
_ABOUT_CREDITS = re.compile(r"credit|quota|balance|insufficient funds", re.IGNORECASE)
_LACKING = re.compile(
    r"\b(insufficient|enough|no (?:more |remaining )?(?:credit|quota|balance)|out of|ran out|run out"
    r"|lack\w*|exceed\w*|exhausted|used up|depleted|reached|too low|empty|required?s?|needs?|buy|purchase"
    r"|top[ -]?up)\b",
    re.IGNORECASE,
)
# A status that says by itself that nothing was accepted is only contradicted by words as plain as these.
_BROKEN = re.compile(
    r"\b(internal|upstream|gateway|time[ds]?[ -]?out|timeouts?|exception|unexpected error"
    r"|something went wrong|already (?:created|accepted|queued|submitted))\b",
    re.IGNORECASE,
)
OF_ITSELF = frozenset((401, 402, 403, 404, 405, 411, 413, 414, 415, 429, 431))
"""Statuses that mean the request, the key, the limit or the credits, whatever the body says."""

_MODERATION = ("moderat", "content policy", "content_policy", "nsfw", "banned prompt", "safety", "prohibited")


def is_moderation(message: str) -> bool:
    """Whether a message speaks of refused content."""
    lowered = message.lower()
    return any(word in lowered for word in _MODERATION)


def _by_words(words: str) -> type[ProviderError]:
    """The error that nothing but its words, its code among them, tell."""
    if _ABOUT_A_FAILURE.search(words):
        return ServerError
    if _ABOUT_CREDITS.search(words) and _LACKING.search(words):
        return InsufficientCreditsError
    if _ABOUT_A_RATE.search(words):
        return RateLimitedError
    if is_moderation(words):
        return ModerationError
    if _ABOUT_A_REQUEST.search(words):
        return AuthenticationError if _ABOUT_A_KEY.search(words) else InvalidRequestError
    return AuthenticationError if _ABOUT_A_KEY.search(words) else UnexpectedResponseError


def _forbidden(words: str) -> type[ProviderError]:
    if _ABOUT_A_RATE.search(words):
        return RateLimitedError
    if is_moderation(words):
        return ModerationError
    return InsufficientCreditsError if _ABOUT_CREDITS.search(words) else AuthenticationError


def kind_of(status: int, detail: ErrorDetail | None) -> type[ProviderError]:
    """The error that an answer without a known code means, by its status and by what its body says, if
    anything."""
    words = detail.words if detail is not None else ""
    known: dict[int, type[ProviderError]] = {
        401: AuthenticationError,
        402: InsufficientCreditsError,
        403: _forbidden(words),
        404: NotFoundError,
        405: NotFoundError,
        408: ConnectionFailedError,
        429: RateLimitedError,
    }
    if status in known:
        return known[status]
    if status >= 500:
        return ServerError
    if 300 <= status < 400:
        return UnexpectedResponseError
    if detail is not None and detail.names_fields:
        return InvalidRequestError
    kind = _by_words(words)
    silent = kind is UnexpectedResponseError and status >= 400
    return InvalidRequestError if silent else kind


def proves_refusal(
    status: int, detail: ErrorDetail | None, kind: type[ProviderError], *, known: bool
) -> bool:
    """Whether an error answer to a create proves that nothing was accepted.

    It does if it speaks of the request, the key, the limit or the credits: by a status that means just that,
    by a code that the provider documents, by a list of what is wrong in which field, or in words. Every other
    answer, whatever its status, leaves the create's outcome open.

    Args:
        detail: what the body says; `None` where it says nothing.
        kind: the error that the answer was read as.
        known: whether the detail's code is one that the provider documents.
    """
    if status == 408 or 300 <= status < 400 or status >= 500:
        return False
    if issubclass(kind, ServerError | UnexpectedResponseError | ConnectionFailedError):
        return False
    if known:
        return True
    if status in OF_ITSELF:
        return status == 429 or detail is None or _BROKEN.search(detail.words) is None
    if detail is None:
        return False
    return detail.names_fields or not issubclass(
        _by_words(detail.words), ServerError | UnexpectedResponseError
    )
