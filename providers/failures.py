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
    """What an error body says."""

    message: str
    code: str | None = None


class ErrorReader(Protocol):
    """What is particular about a provider's error bodies."""

    def __call__(self, status: int, body: Any) -> ErrorDetail | None:
        """The message and code of an error body, or `None` if this is not one."""


# What an error that comes as a success may say: that the request is to blame, and so was not accepted, unless
# it speaks of a failure of the server's.
_ABOUT_A_REQUEST = re.compile(
    r"\b(invalid|required?s?|missing|must|too (long|short|large|small)|at (least|most)|exceeds|maximum"
    r"|minimum|unsupported|not supported|validation)\b",
    re.IGNORECASE,
)
_ABOUT_A_SERVER = re.compile(
    r"\b(internal|server|service|unexpected|time(d )?out|unavailable|temporar\w+|again|overloaded|busy)\b",
    re.IGNORECASE,
)
_ABOUT_A_KEY = re.compile(r"\b(api[ _-]?key|unauthori[sz]ed|unauthenticated|forbidden)\b", re.IGNORECASE)
_ABOUT_A_RATE = re.compile(r"\b(rate[ _-]?limit\w*|too many requests)\b", re.IGNORECASE)

_MODERATION = ("moderat", "content policy", "content_policy", "nsfw", "banned prompt", "safety", "prohibited")


def is_moderation(message: str) -> bool:
    """Whether a message speaks of refused content."""
    lowered = message.lower()
    return any(word in lowered for word in _MODERATION)


def _speaks_of_credits(message: str) -> bool:
    lowered = message.lower()
    return any(word in lowered for word in ("credit", "quota", "balance", "insufficient funds"))


def _told_in_words(message: str) -> type[ProviderError]:
    """The error that nothing but its words tell."""
    if _speaks_of_credits(message):
        return InsufficientCreditsError
    if _ABOUT_A_RATE.search(message):
        return RateLimitedError
    if _ABOUT_A_KEY.search(message):
        return AuthenticationError
    blames_request = _ABOUT_A_REQUEST.search(message) and not _ABOUT_A_SERVER.search(message)
    return InvalidRequestError if blames_request else UnexpectedResponseError


def _forbidden(message: str) -> type[ProviderError]:
    if _ABOUT_A_RATE.search(message):
        return RateLimitedError
    return InsufficientCreditsError if _speaks_of_credits(message) else AuthenticationError


def kind_of(status: int, message: str) -> type[ProviderError]:
    """The error that an answer without a code of its own means, by its status and its words."""
    if (status < 300 or status in (400, 403, 409, 422)) and is_moderation(message):
        return ModerationError
    if status < 300:
        return _told_in_words(message)
    known: dict[int, type[ProviderError]] = {
        401: AuthenticationError,
        402: InsufficientCreditsError,
        403: _forbidden(message),
        404: NotFoundError,
        405: NotFoundError,
        408: ConnectionFailedError,
        429: RateLimitedError,
    }
    if status in known:
        return known[status]
    if status >= 500:
        return ServerError
    return UnexpectedResponseError if 300 <= status < 400 else InvalidRequestError
