"""What an answer says: its JSON, the failure that it reports, and whether nothing can have been accepted."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import httpx

from prefect_imagine.errors import ProviderError, RateLimitedError
from prefect_imagine.providers import wire
from prefect_imagine.providers.limits.headers import RateHeaders
from prefect_imagine.providers.transport.auth import Auth
from prefect_imagine.providers.transport.failures import (
    OF_ITSELF,
    ErrorDetail,
    ErrorReader,
    is_queue_full,
    kind_of,
    proves_refusal,
)
from prefect_imagine.redaction import redacted

UNREADABLE = object()
MAX_MESSAGE = 2000
"""Characters of an error's message with its list of what is wrong in which field."""
_NO_FIELDS = frozenset(("error", "errors", "message", "messages", "detail", "details", "non_field_errors"))
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def json_of(response: httpx.Response) -> Any:
    """An answer's JSON, or `UNREADABLE`."""
    try:
        return loaded(response.content)
    except ValueError:
        return UNREADABLE


def loaded(content: bytes) -> Any:
    """What JSON says. Half a surrogate pair, as a text that was cut in the middle of an emoji has it, becomes
    a question mark: nothing could write it down. Raises `ValueError`; `RecursionError` where it is too deep.
    """
    body = json.loads(content)
    if _SURROGATE.search(content):
        body = json.loads(json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"))
    return body


@dataclass(frozen=True)
class CreateAnswer:
    """A success that a create was answered with.

    Attributes:
        body: its JSON, or `UNREADABLE` where it is none.
        headers: by name, in any case: some APIs report a job's id or its cost there.
        content: its bytes, for APIs that answer with the media themselves.
    """

    body: Any
    headers: Mapping[str, str]
    content: bytes

    @classmethod
    def of(cls, response: httpx.Response) -> CreateAnswer:
        """What a response holds."""
        return cls(json_of(response), response.headers, response.content)


class FailureReader:
    """Makes typed errors of one provider's error answers, without its account's secrets.

    Args:
        at_capacity: statuses that refuse a create only because too many jobs are under way.
    """

    def __init__(
        self,
        provider: str,
        read_error: ErrorReader,
        codes: Mapping[str, type[ProviderError]],
        auth: Auth,
        at_capacity: Collection[int] = (),
    ) -> None:
        self._provider = provider
        self._read_error = read_error
        self._codes = codes
        self._auth = auth
        self._at_capacity = at_capacity

    def __call__(self, response: httpx.Response) -> ProviderError | None:
        """The failure that an answer reports; `None` for a success."""
        status = response.status_code
        detail = self._detail(response)
        if detail is None and status < 300:
            return None
        said = detail or ErrorDetail(f"HTTP {status} {response.reason_phrase}".strip())
        full = status in self._at_capacity
        by_status = RateLimitedError if full else kind_of(status, detail)
        kind = self._codes.get(said.code or "") or by_status
        message = f"{self._provider}: {redacted(said.message, self._auth.secrets())}"
        error = kind(message, provider=self._provider, status_code=status, code=said.code)
        if isinstance(error, RateLimitedError):
            reported = RateHeaders.of(response.headers, time.time())
            error.retry_after = reported.retry_after
            left = bool(reported.remaining) and reported.retry_after is None
            error.queue_full = full or left or is_queue_full(said.words)
        return error

    def refuses(self, response: httpx.Response, failure: ProviderError) -> bool:
        """Whether an error answer to a create proves that nothing was accepted."""
        status, detail = response.status_code, self._detail(response)
        known = status in self._at_capacity or (detail is not None and detail.code in self._codes)
        # What is not the API's own JSON proves no more than its status does.
        readable = status in OF_ITSELF or json_of(response) is not UNREADABLE
        return readable and proves_refusal(status, detail, type(failure), known=known)

    def _detail(self, response: httpx.Response) -> ErrorDetail | None:
        """What the body of an error answer says, in whatever shape; `None` for a success and for silence."""
        body = json_of(response)
        detail = self._read_error(response.status_code, body) if body is not UNREADABLE else None
        if response.status_code < 300:
            return detail
        complaints = _complaints(body) if response.status_code in (400, 422) else ()
        listed = "; ".join(complaints)
        words = detail.message if detail is not None else listed or _words(response, body)
        if not words:
            return None
        said = detail or ErrorDetail(words)
        if not complaints:
            return said
        # What is wrong stands in the list as often as not: "The given data was invalid" alone helps nobody.
        told = all(complaint in said.message for complaint in complaints)
        message = said.message if told else f"{said.message.rstrip(' .:')}; {listed}"
        return replace(said, message=message[:MAX_MESSAGE], names_fields=True)


def _complaints(body: Any) -> tuple[str, ...]:
    """What an error body says is wrong with which field, in one of the ways of web frameworks."""
    if not isinstance(body, dict):
        return ()
    listed = wire.first(body, "detail", "errors", "issues")
    if isinstance(listed, list):
        records = [each for each in listed if isinstance(each, dict)]
        places = (wire.first(each, "loc", "path", "param", "field", "property") for each in records)
        said = (wire.first(each, "msg", "message") for each in records)
        return tuple(f"{place}: {text}" for place, text in zip(places, said, strict=True) if place)
    if isinstance(listed, dict):
        return _by_field(listed)
    nothing_else = _NO_FIELDS.isdisjoint(body) and all(map(_texts, body.values()))
    return _by_field(body) if nothing_else else ()


def _by_field(lists: Mapping[str, Any]) -> tuple[str, ...]:
    """The complaints in lists of them under the names of fields."""
    return tuple(f"{name}: {text}" for name, texts in lists.items() if _texts(texts) for text in texts)


def _words(response: httpx.Response, body: Any) -> str | None:
    """The message of an error body in no shape that the provider is known for."""
    if isinstance(body, dict):
        body = wire.first(body, "message", "detail", "error", "title")
    elif body is UNREADABLE and response.headers.get("content-type", "").startswith("text/plain"):
        body = response.text
    if _texts(body):
        body = "; ".join(body)
    return body.strip() or None if isinstance(body, str) else None


def _texts(value: Any) -> bool:
    """Whether this is a list of texts, and of at least one."""
    return isinstance(value, list) and bool(value) and all(isinstance(each, str) for each in value)
