"""Which error answers to a create prove that nothing was accepted: all providers, statuses and wordings."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from prefect_imagine.errors import (
    AmbiguousCreateError,
    AuthenticationError,
    ImagineError,
    InsufficientCreditsError,
    InvalidRequestError,
    ModerationError,
    RateLimitedError,
)

from .clients import CREATES, OpenClient, asked
from .scripted import ScriptedApi, answer, text_answer

SHAPES: dict[str, list[Any]] = {
    "imaginelab": [lambda words: {"detail": words}],
    "blockadelabs": [lambda words: {"error": words}, lambda words: {"message": words}],
    "imagineapi": [lambda words: {"errors": [{"message": words, "extensions": {"code": "SOMETHING_ELSE"}}]}],
    "aivisualstudio": [
        lambda words: {"error": {"code": "something_else", "message": words, "details": {}}},
        lambda words: {"error": words},
    ],
}
"""How each API writes an error."""

OPEN = [
    "upstream request timed out",
    "Internal error",
    "Internal server error",
    "An unexpected error occurred",
    "Something went wrong, please try again",
    "Service temporarily unavailable",
    "Invalid response from the model",
    "The upstream server sent an invalid request id",
    "Missing response from backend",
    "Maximum retries exceeded",
    "Processing exceeds the maximum time",
    "Bad gateway: request must be retried",
    "Request timeout",
    "database is locked",
    "This generation was already created",
    "Duplicate request",
    "Your request was accepted but could not be queued",
    "5 credits were charged",
    "The moderation service timed out",
    "Replicate rate limit exceeded",
    "OpenAI API key invalid",
    "token expired while polling",
    "Unknown error",
    "An unknown error occurred",
    "Service is not available",
    "Model output is not valid",
    "'NoneType' object is not subscriptable",
    "list index out of range",
    "relation jobs does not exist",
    "storage quota exceeded",
    "Worker is not reachable",
    "Invalid JSON from model",
    "Provider returned invalid JSON",
    "Model returned an empty image",
    "Job not found",
    "Generation not found",
    "The generation is not ready",
    "NSFW result; credits were charged",
    "Failed to notify webhook: invalid URL",
    "value violates the constraint jobs_pkey",
    "The worker's queue is full",
    "Too many pending jobs: the upstream failed",
    "Too many pending jobs, but this one was already queued",
    "You already have this generation in progress",
    "Too many pending jobs: the same prompt is running",
    "The request could not be completed",
    "Your request cannot be processed",
    "Queue is full, but the generation was already accepted",
    "Upstream concurrency limit reached",
    "The backend asked us to slow down",
    "The model's subscription service failed",
    "Conflict",
    "Failed",
    "Error",
    "Oops",
]
"""What says nothing of the request, the key, the limit or the credits, or speaks of a failure as well."""

REFUSED: list[tuple[str, type[ImagineError]]] = [
    ("Invalid aspect ratio", InvalidRequestError),
    ("prompt is required", InvalidRequestError),
    ("Missing field: prompt", InvalidRequestError),
    ("The prompt is too long (at most 400 characters)", InvalidRequestError),
    ("duration must be between 1 and 10", InvalidRequestError),
    ("Unsupported model", InvalidRequestError),
    ("Unknown generator", InvalidRequestError),
    ("The model flux does not exist", InvalidRequestError),
    ("prompt: value is not a valid string", InvalidRequestError),
    ("Unexpected field: foo", InvalidRequestError),
    ("Bad request", InvalidRequestError),
    ("Please provide a prompt", InvalidRequestError),
    ("No prompt provided", InvalidRequestError),
    ("The prompt may not be greater than 600 characters.", InvalidRequestError),
    ("Model foo is disabled", InvalidRequestError),
    ("Duration too high", InvalidRequestError),
    ("Prompt length limit exceeded", InvalidRequestError),
    ("Failed to parse request body", InvalidRequestError),
    ("Unknown model 'server-v2'", InvalidRequestError),
    ("Parameter 'started' is invalid", InvalidRequestError),
    ("The duration parameter is not accepted by this model", InvalidRequestError),
    ("Your prompt was flagged", ModerationError),
    ("No credits left", InsufficientCreditsError),
    ("Validation failed", InvalidRequestError),
    ("Prompt cannot be empty", InvalidRequestError),
    ("Prompt violates the content policy", ModerationError),
    ("Insufficient credits", InsufficientCreditsError),
    ("You do not have enough credits: 5 credits required", InsufficientCreditsError),
    ("Quota exceeded", InsufficientCreditsError),
    ("Rate limit reached", RateLimitedError),
    ("Invalid API key", AuthenticationError),
    ("This model is not available on your plan", InvalidRequestError),
    ("Video is not included in your current plan", InvalidRequestError),
    ("Your account has been suspended", AuthenticationError),
    ("Account not verified", AuthenticationError),
    ("Subscription expired", AuthenticationError),
    ("You have reached your monthly limit", InsufficientCreditsError),
    ("You've exceeded your daily generation limit", InsufficientCreditsError),
    ("Queue is full", RateLimitedError),
    ("The queue is currently full, try later", RateLimitedError),
    ("Concurrency limit reached", RateLimitedError),
    ("Too many concurrent requests", RateLimitedError),
    ("Please slow down", RateLimitedError),
    ("Prompt blocked", ModerationError),
    ("Prompt flagged: more than 3 skyboxes at once", ModerationError),
    ("Your request was blocked", ModerationError),
    ("The prompt violates our terms", ModerationError),
]

FULL = [
    "too_many_pending_jobs",
    "Too many pending jobs. Please retry when one has finished.",
    "You have too many generations in progress",
    "You have reached the maximum number of concurrent generations (3).",
    "Concurrent generation limit reached",
    "You already have 3 pending imagines",
    "Your plan allows at most 3 concurrent jobs",
    "Pending request limit exceeded",
    "The generation queue is full",
    "Too many jobs",
    "Max 3 skyboxes in progress at once",
    "Upgrade your plan to run more than 3 generations at once",
    "All your slots are busy",
    "No more than 3 generations at the same time: at most 3 are allowed",
    "Invalid request. You can only generate 3 skyboxes at a time.",
]
"""What says that the caller has as many jobs under way as it may have."""


def bodies(provider: str, words: str) -> list[Any]:
    return [shape(words) for shape in SHAPES[provider]]


@pytest.mark.parametrize("words", OPEN)
async def test_what_does_not_speak_of_the_request_refuses_nothing(
    api: ScriptedApi, open_client: OpenClient, provider: str, words: str
) -> None:
    client = open_client(provider, api.url)
    for body, status in product(bodies(provider, words), (400, 406, 409, 412, 422, 423, 424, 425)):
        api.on(CREATES[provider], answer(body, status))
        with pytest.raises(AmbiguousCreateError):
            await client.create(asked(provider))


@pytest.mark.parametrize(("words", "error"), REFUSED)
async def test_what_speaks_of_the_request_the_key_the_limit_or_the_credits_refuses(
    api: ScriptedApi,
    open_client: OpenClient,
    provider: str,
    words: str,
    error: type[ImagineError],
) -> None:
    # A fresh client each: a rate limit is waited for.
    for body, status in product(bodies(provider, words), (400, 409, 422)):
        api.on(CREATES[provider], answer(body, status))
        with pytest.raises(error):
            await open_client(provider, api.url).create(asked(provider))


@pytest.mark.parametrize("words", FULL)
async def test_a_full_queue_is_told_by_its_words_whatever_the_status(
    api: ScriptedApi, open_client: OpenClient, provider: str, words: str
) -> None:
    client = open_client(provider, api.url)
    for body, status in product(bodies(provider, words), (400, 403, 409, 422, 429)):
        api.on(CREATES[provider], answer(body, status))
        with pytest.raises(RateLimitedError) as refused:
            await client.create(asked(provider))
        assert refused.value.queue_full


async def test_a_full_queue_is_told_by_a_list_of_what_is_wrong_too(
    api: ScriptedApi, open_client: OpenClient, provider: str
) -> None:
    listed = {"base": ["You can only generate 3 skyboxes at a time"]}
    api.on(CREATES[provider], answer({"message": "The given data was invalid.", "errors": listed}, 422))
    with pytest.raises(RateLimitedError, match="base: You can only generate 3 skyboxes at a time"):
        await open_client(provider, api.url).create(asked(provider))


async def test_what_is_used_up_for_a_day_is_not_waited_for(
    api: ScriptedApi, open_client: OpenClient, provider: str
) -> None:
    for body in bodies(provider, "Daily limit reached"):
        api.on(CREATES[provider], answer(body, 429))
        with pytest.raises(InsufficientCreditsError):
            await open_client(provider, api.url).create(asked(provider))


@pytest.mark.parametrize("status", [400, 409, 422])
@pytest.mark.parametrize(
    "body", ["", "{}", "[]", "null", '"no"', "<html>Bad Request</html>", "prompt is invalid"]
)
async def test_silence_and_what_is_not_the_apis_own_refuse_nothing(
    api: ScriptedApi, open_client: OpenClient, provider: str, body: str, status: int
) -> None:
    api.on(CREATES[provider], text_answer(body, status))
    with pytest.raises(AmbiguousCreateError):
        await open_client(provider, api.url).create(asked(provider))


@pytest.mark.parametrize(
    "words",
    [
        "upstream request timed out",
        "Internal error",
        "Already created",
        "Backend crashed",
        "database is down",
    ],
)
async def test_a_status_that_its_words_contradict_refuses_nothing(
    api: ScriptedApi, open_client: OpenClient, provider: str, words: str
) -> None:
    client = open_client(provider, api.url)
    for body, status in product(bodies(provider, words), (401, 402, 403, 404, 405)):
        api.on(CREATES[provider], answer(body, status))
        with pytest.raises(AmbiguousCreateError):
            await client.create(asked(provider))


@pytest.mark.parametrize(
    "words", ["Already created", "upstream model error: gateway timeout", "Too many requests: backend failed"]
)
async def test_a_429_that_tells_of_a_failure_behind_refuses_nothing(
    api: ScriptedApi, open_client: OpenClient, provider: str, words: str
) -> None:
    for body in bodies(provider, words):
        api.on(CREATES[provider], answer(body, 429))
        with pytest.raises(AmbiguousCreateError):
            await open_client(provider, api.url).create(asked(provider))


@pytest.mark.parametrize("status", [400, 409, 422])
async def test_a_list_of_what_is_wrong_with_which_field_refuses_in_whatever_words(
    api: ScriptedApi, open_client: OpenClient, status: int
) -> None:
    api.on(
        CREATES["imaginelab"], answer({"detail": [{"loc": ["body", "timeout"], "msg": "processing"}]}, status)
    )
    with pytest.raises(InvalidRequestError):
        await open_client("imaginelab", api.url).create(asked("imaginelab"))


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": ["This field is required."]},
        {"prompt": ["Too long."], "seed": ["A valid integer is required."]},
        {"message": ["prompt must be a string"], "error": "Bad Request", "statusCode": 400},
        {"errors": [{"type": "field", "msg": "Oops", "path": "prompt", "location": "body"}]},
        {"issues": [{"code": "custom", "path": ["prompt"], "message": "Oops"}]},
    ],
)
async def test_the_lists_of_web_frameworks_refuse_too(
    api: ScriptedApi, open_client: OpenClient, provider: str, body: Any
) -> None:
    api.on(CREATES[provider], answer(body, 400))
    with pytest.raises(InvalidRequestError):
        await open_client(provider, api.url).create(asked(provider))


@pytest.mark.parametrize("body", [{"errors": ["boom"]}, {"message": ["upstream timed out"]}, {"prompt": []}])
async def test_lists_that_name_no_field_refuse_nothing(
    api: ScriptedApi, open_client: OpenClient, provider: str, body: Any
) -> None:
    api.on(CREATES[provider], answer(body, 400))
    with pytest.raises(AmbiguousCreateError):
        await open_client(provider, api.url).create(asked(provider))
