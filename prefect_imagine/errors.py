"""Every error of this package, on one screen.

ImagineError
├── ConfigurationError            a key, an option or an address is missing or wrong; nothing was spent
│   ├── ProviderUnavailableError  a provider cannot serve now; nothing was spent, and it may pass
│   ├── PromptFileError           one thing in a prompts file (row, column)
│   └── InvalidPromptsError       everything that is wrong with the prompts (problems)
├── ProviderError                 an API's answer (provider, status_code, code, retryable)
│   ├── AuthenticationError       the key is missing, wrong, expired or lacks a scope
│   ├── InsufficientCreditsError  the account cannot pay
│   ├── InvalidRequestError       the API does not take this request
│   ├── ModerationError           the API refuses this content
│   ├── NotFoundError             no such generation or endpoint
│   ├── RateLimitedError          too many requests or jobs (retry_after)
│   ├── ServerError               5xx
│   ├── ConnectionFailedError     no answer; for a create: nothing was sent
│   ├── UnexpectedResponseError   an answer that cannot be read
│   ├── UnsupportedOperationError the API has no such call
│   └── AmbiguousCreateError      a create was sent and its outcome is open
├── CreateGenerationsError        some of several creates failed (created, errors)
├── GenerationFailedError         the provider ended a generation without a result (generation)
├── GenerationTimeoutError        a generation did not end in time
├── OutputError                   what was downloaded is not the whole media (reason)
├── SignatureError                a webhook's delivery is not signed as it must be (reason)
├── BudgetExceededError           the next create would pass max_credits
│   └── BudgetUsedUpError         the next create would pass a budget of the root
├── NotApprovedError              a person was asked, and did not say yes
├── StoreError                    the bucket or folder failed
├── WarehouseError                a load into a warehouse failed
├── BatchIncompleteError          a run of a batch ended before everything was stored (summary)
├── BatchBusyError                another process runs this batch
│   └── AmendedMeanwhileError     another process has planned something else for it in the same moment
└── FencedError                   another process has taken this batch over
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prefect_imagine.providers.models import Generation
    from prefect_imagine.reports.summary import Summary


class ImagineError(Exception):
    """Base of all errors of this package."""


class ConfigurationError(ImagineError):
    """A key, an option or an address is missing or wrong. Raised before anything is spent."""


class ProviderUnavailableError(ConfigurationError):
    """A provider answers that it cannot serve now, before anything was sent that costs: the same again later
    may do."""


class PromptFileError(ConfigurationError):
    """What is wrong in one place of a prompts file.

    Attributes:
        message: what is wrong, without the place.
        row: the row, counted from 1 without the header; `None` for the file as a whole.
        column: the column's name, where one is to blame.
    """

    def __init__(self, message: str, *, row: int | None = None, column: str | None = None) -> None:
        where = ", ".join(
            part for part in (f"row {row}" if row else "", f"column {column!r}" if column else "") if part
        )
        super().__init__(f"{where}: {message}" if where else message)
        self.message = message
        self.row = row
        self.column = column


class InvalidPromptsError(ConfigurationError):
    """Everything that is wrong with the prompts, at once.

    Attributes:
        problems: the first of them, in the order of the rows.
        count: how many there are.
    """

    def __init__(self, problems: Sequence[PromptFileError], count: int | None = None) -> None:
        self.count = len(problems) if count is None else count
        shown = [f"  {problem}" for problem in problems[:_MOST_SHOWN]]
        if self.count > len(shown):
            shown.append(f"  … and {self.count - len(shown)} more")
        total = "1 problem" if self.count == 1 else f"{self.count} problems"
        super().__init__("\n".join([f"{total} in the prompts:", *shown]))
        self.problems = tuple(problems)


_MOST_SHOWN = 50


class ProviderError(ImagineError):
    """An API refused, failed or did not answer.

    Attributes:
        provider: the provider's name.
        status_code: the HTTP status, where there was an answer.
        code: the provider's own error code, where it has one.
        retryable: whether the same read may succeed later. Creates are never repeated on this alone.
    """

    retryable = False

    def __init__(
        self, message: str, *, provider: str = "", status_code: int | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.provider = provider
        self.status_code = status_code
        self.code = code


class AuthenticationError(ProviderError):
    """The key is missing, wrong, expired or lacks a scope."""


class InsufficientCreditsError(ProviderError):
    """The account cannot pay for this generation."""


class InvalidRequestError(ProviderError):
    """The API does not take this request as it stands."""


class ModerationError(ProviderError):
    """The API refuses this content."""


class NotFoundError(ProviderError):
    """No such generation or endpoint, or not one of this account."""


class RateLimitedError(ProviderError):
    """Too many requests, or too many jobs pending.

    Attributes:
        retry_after: seconds to wait, where the provider says so.
        queue_full: it is the jobs pending that are too many, not the requests.
    """

    retryable = True

    def __init__(
        self,
        message: str,
        *,
        provider: str = "",
        status_code: int | None = None,
        code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, provider=provider, status_code=status_code, code=code)
        self.retry_after = retry_after
        self.queue_full = False


class ServerError(ProviderError):
    """The API failed with a 5xx."""

    retryable = True


class ConnectionFailedError(ProviderError):
    """No answer came. Of a create it says more: not a byte of it was sent."""

    retryable = True


class UnexpectedResponseError(ProviderError):
    """The API answered something that cannot be read."""

    retryable = True


class UnsupportedOperationError(ProviderError):
    """The API has no such call."""


class AmbiguousCreateError(ProviderError):
    """A create was sent and whether it was accepted is not known. Sending it again may pay twice.

    Attributes:
        answered: it was answered as a success, but with no job that could be read.
        queue_full: it was answered with an error whose words say that too many jobs are pending.
    """

    answered = False
    queue_full = False


class CreateGenerationsError(ImagineError):
    """Some of several creates failed; the others were accepted and cost credits.

    Attributes:
        created: the accepted generations in the order of the requests, `None` for those that failed.
        errors: what happened to the others.
    """

    def __init__(self, created: Sequence[Generation | None], errors: Sequence[ImagineError]) -> None:
        reasons = "; ".join(dict.fromkeys(str(error) for error in errors))
        super().__init__(f"{len(errors)} of {len(created)} generations were not created: {reasons}")
        self.created = tuple(created)
        self.errors = tuple(errors)


class GenerationFailedError(ImagineError):
    """The provider ended a generation without a result.

    Attributes:
        generation: the record as the provider gave it.
    """

    def __init__(self, generation: Generation) -> None:
        reason = generation.error or generation.provider_status
        super().__init__(f"{generation.provider} generation {generation.id} failed: {reason}")
        self.generation = generation


class GenerationTimeoutError(ImagineError):
    """A generation did not end within its deadline. It may still end: poll its id again later."""


class OutputError(ImagineError):
    """What was downloaded is not the whole media.

    Attributes:
        reason: one of `empty`, `truncated`, `not_media`, `too_large`, `expired`, `missing`, `refused_url`,
            `unavailable`.
        retry_after: seconds to wait before asking again, where the server says so.
        rate_limited: the server was asked too often.
    """

    def __init__(
        self, message: str, *, reason: str, retry_after: float | None = None, rate_limited: bool = False
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after = retry_after
        self.rate_limited = rate_limited


class SignatureError(ImagineError):
    """A webhook's delivery is not signed as it must be. The message holds nothing of it, and no secret.

    Attributes:
        reason: of the header `missing`, `too_long`, `not_ascii`, `no_time`, `bad_time` or `no_signature`;
            else `not_recent`, `mismatch`, or `no_secret`, where there is none to check with.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"a delivery's signature was refused: {reason}")
        self.reason = reason


class BudgetExceededError(ImagineError):
    """The next create would pass `max_credits`."""


class BudgetUsedUpError(BudgetExceededError):
    """The next create would pass a budget of the root, that all its batches share.

    Attributes:
        budget: its name.
        provider: whose credits it does not hold.
        credits: how many the create needs.
        until: when it begins again; `None` for one that never does.
    """

    def __init__(
        self, message: str, *, budget: str, provider: str, credits: int | float, until: datetime | None
    ) -> None:
        super().__init__(message)
        self.budget = budget
        self.provider = provider
        self.credits = credits
        self.until = until


class NotApprovedError(ImagineError):
    """A person was asked whether to spend so much, and said no or nothing. Nothing was created."""


class StoreError(ImagineError):
    """The bucket or folder cannot be read or written.

    Attributes:
        retryable: whether the same call may succeed later.
    """

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


class WarehouseError(ImagineError):
    """Loading into a warehouse failed. What was loaded before is there, and the next load goes on from it."""


class BatchIncompleteError(ImagineError):
    """A run of a batch has ended, with its books written, before everything was stored.

    Attributes:
        summary: what the batch has come to: items, credits, manifest, report, and what stopped the run.
    """

    def __init__(self, message: str, summary: Summary) -> None:
        super().__init__(message)
        self.summary = summary


class BatchBusyError(ImagineError):
    """Another living process runs this batch."""


class AmendedMeanwhileError(BatchBusyError):
    """Another process has planned something else for the batch in the same moment: what is asked for has to
    be compared with the batch again."""


class FencedError(ImagineError):
    """Another process has taken this batch over; this one has stopped."""
