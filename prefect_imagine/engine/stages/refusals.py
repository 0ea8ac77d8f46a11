"""What is written down of a create that a provider has refused."""

from __future__ import annotations

from prefect_imagine.batches.records import NotSent, Refused
from prefect_imagine.clock import utc_now
from prefect_imagine.errors import (
    AuthenticationError,
    ConnectionFailedError,
    InsufficientCreditsError,
    ModerationError,
    ProviderError,
    RateLimitedError,
)

_WORDS = {
    InsufficientCreditsError: "insufficient_credits",
    AuthenticationError: "key_refused",
    RateLimitedError: "rate_limited",
}


def refusal(index: int, attempt: int, error: ProviderError) -> NotSent | Refused:
    """The record of an attempt that was refused, or that never reached the provider."""
    if isinstance(error, ConnectionFailedError):
        return NotSent(item=index, at=utc_now(), attempt=attempt, message=str(error))
    return Refused(
        item=index,
        at=utc_now(),
        attempt=attempt,
        final=is_final(error),
        reason=_reason(error),
        message=str(error),
    )


def is_final(error: ProviderError) -> bool:
    """Whether the provider would refuse the same request again."""
    passing = (RateLimitedError, InsufficientCreditsError, AuthenticationError)
    return not error.retryable and not isinstance(error, passing)


def _reason(error: ProviderError) -> str:
    """A stable word for a provider's error."""
    return "moderation" if isinstance(error, ModerationError) else _WORDS.get(type(error), "refused")
