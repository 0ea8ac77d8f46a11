"""What an error answer means: its words, and the kind of error that they and the status make it."""

from __future__ import annotations

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


_MODERATION = ("moderat", "content policy", "content_policy", "nsfw", "banned prompt", "safety", "prohibited")


def is_moderation(message: str) -> bool:
    """Whether a message speaks of refused content."""
    lowered = message.lower()
    return any(word in lowered for word in _MODERATION)


def _speaks_of_credits(message: str) -> bool:
    lowered = message.lower()
    return any(word in lowered for word in ("credit", "quota", "balance", "insufficient funds"))


def kind_of(status: int, message: str) -> type[ProviderError]:
    """The error that an answer without a code of its own means, by its status and its words."""
    if (status < 300 or status in (400, 403, 409, 422)) and is_moderation(message):
        return ModerationError
    if status < 300:  # an error that only its words tell
        return InsufficientCreditsError if _speaks_of_credits(message) else InvalidRequestError
    known: dict[int, type[ProviderError]] = {
        401: AuthenticationError,
        402: InsufficientCreditsError,
        403: InsufficientCreditsError if _speaks_of_credits(message) else AuthenticationError,
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
