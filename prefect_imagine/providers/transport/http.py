"""The one boundary to the APIs: sends requests, paces them, retries reads, and maps every failure."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeVar

import httpx

from prefect_imagine.clock import Deadline, ProviderClock
from prefect_imagine.errors import (
    AmbiguousCreateError,
    AuthenticationError,
    ConfigurationError,
    ConnectionFailedError,
    InvalidRequestError,
    ProviderError,
    RateLimitedError,
    UnexpectedResponseError,
)
from prefect_imagine.providers.limits.pacing import Pacer, Permit, Priority
from prefect_imagine.providers.transport.answers import UNREADABLE, CreateAnswer, FailureReader, json_of
from prefect_imagine.providers.transport.auth import Auth
from prefect_imagine.providers.transport.connections import Timeouts, open_connections
from prefect_imagine.providers.transport.failures import ErrorReader, is_queue_full
from prefect_imagine.providers.transport.over_aiohttp import BEFORE_SENDING
from prefect_imagine.redaction import guard_httpx_logs, redacted

READ_ATTEMPTS = 5
CONCURRENT_REQUESTS = 16
T = TypeVar("T")
UploadFile = tuple[str, bytes, str]
"""A file of a multipart create: its name, its bytes, its media type."""


class _TooLateError(Exception):
    pass


class _Sending:
    """Watches one request go out: refuses the first byte after the deadline, remembers if it was written."""

    def __init__(self, deadline: Deadline | None) -> None:
        self._deadline = deadline
        self.sent = False

    def __call__(self) -> None:
        # Before the body too: a process may be frozen after the head, and without it nothing is accepted.
        if self._deadline is not None and self._deadline.passed:
            raise _TooLateError
        self.sent = True


class Api:
    """One account's HTTP connection to one provider."""

    def __init__(
        self,
        *,
        provider: str,
        base_url: str,
        auth: Auth,
        read_error: ErrorReader,
        codes: Mapping[str, type[ProviderError]],
        pacer: Pacer,
        timeouts: Timeouts,
        at_capacity: Collection[int] = (),
    ) -> None:
        guard_httpx_logs()
        self.provider = provider
        self.base_url = check_base_url(provider, base_url)
        self.auth = auth
        self.pacer = pacer
        self.clock = ProviderClock()
        self.requests: Counter[str] = Counter()
        self._failure = FailureReader(provider, read_error, codes, auth, at_capacity)
        self._timeouts = timeouts
        self._slots = asyncio.Semaphore(CONCURRENT_REQUESTS)
        self._client = open_connections(self.base_url, timeouts)

    async def read(
        self,
        method: str,
        path: str,
        *,
        purpose: str,
        params: Mapping[str, Any] | None = None,
        form: Mapping[str, str] | None = None,
        json: Mapping[str, Any] | None = None,
        attempts: int = READ_ATTEMPTS,
        authenticated: bool = True,
    ) -> Any:
        """Send a request that may be repeated, and return its JSON. Raises `ProviderError`."""
        renewals = 1
        content = {"params": params, "data": form, "json": json}
        for attempt in range(1, attempts + 1):
            try:
                return await self._read_once(method, path, purpose, authenticated, **content)
            except AuthenticationError as error:
                if not error.retryable or renewals == 0:
                    raise
                renewals -= 1
            except ProviderError as error:
                if not error.retryable or attempt == attempts:
                    raise
                # A rate limit the pacer makes wait for.
                if not (isinstance(error, RateLimitedError) and authenticated) or error.queue_full:
                    await asyncio.sleep(self._timeouts.after_failure(attempt))
        raise ConnectionFailedError(f"{self.provider}: {method} {path} got no answer", provider=self.provider)

    async def create(
        self,
        path: str,
        *,
        parse: Callable[[CreateAnswer], T],
        permit: Permit | None,
        deadline: Deadline | None,
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
        json: Mapping[str, Any] | None = None,
        form: Mapping[str, Any] | None = None,
        files: Mapping[str, UploadFile] | None = None,
    ) -> T:
        """Send a create once and parse its answer; see `ProviderClient.create` for what is raised.

        Args:
            parse: makes the job of a success; what it raises of `UnexpectedResponseError`, `ValueError`,
                `TypeError`, `LookupError` or `AttributeError` says that the answer holds none.
            headers: beside those of the account.
            json: the body; or
            form: its fields, sent as a form, or together with
            files: as multipart, by field.
        """
        permit = permit or await self.pacer.acquire(Priority.CREATE)
        sending = _Sending(deadline)
        timeout = httpx.Timeout(self._timeouts.create, connect=self._timeouts.connect)
        content = {"json": json, "data": form, "files": files, "timeout": timeout}
        auth: dict[str, str] = {}
        try:
            with self._returning(permit):
                async with asyncio.timeout(self._timeouts.create):
                    auth = await self.auth.headers()
                    async with self._slots:
                        response, failure = await self._send(
                            method, path, "create", {**(headers or {}), **auth}, sending, permit, **content
                        )
        except (httpx.HTTPError, ProviderError, TimeoutError, ValueError, TypeError, _TooLateError) as error:
            raise self._create_failed(error, sending.sent) from error
        return await self._accepted(response, failure, auth, parse)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _read_once(
        self,
        method: str,
        path: str,
        purpose: str,
        authenticated: bool,
        **content: Any,
    ) -> Any:
        # A login goes unpaced: whoever waits for it may hold the one permit there is.
        permit = await self.pacer.acquire(Priority.READ) if authenticated else None
        try:
            with self._returning(permit):
                headers = await self.auth.headers() if authenticated else {}
                async with asyncio.timeout(self._timeouts.read + self._timeouts.connect), self._slots:
                    response, failure = await self._send(
                        method, path, purpose, headers, None, permit, **content
                    )
        except (httpx.HTTPError, TimeoutError) as error:
            raise self._no_answer(error) from error
        if failure is not None:
            if response.is_success and method == "GET" and isinstance(failure, InvalidRequestError):
                failure.retryable = True  # an error as a 200 is the server's own more often than the caller's
            if isinstance(failure, AuthenticationError) and authenticated and response.status_code == 401:
                failure.retryable = await self.auth.renew(headers)
            raise failure
        if response.status_code == 204 or not response.content:
            return None
        body = json_of(response)
        if body is UNREADABLE:
            raise UnexpectedResponseError(
                f"{self.provider}: {method} {path} answered {response.status_code} with what is not JSON",
                provider=self.provider,
                status_code=response.status_code,
            )
        return body

    @contextmanager
    def _returning(self, permit: Permit | None) -> Iterator[None]:
        try:
            yield
        except BaseException:
            if permit is not None:
                self.pacer.release(permit)
            raise

    async def _send(
        self,
        method: str,
        path: str,
        purpose: str,
        headers: Mapping[str, str],
        sending: _Sending | None,
        permit: Permit | None,
        **content: Any,
    ) -> tuple[httpx.Response, ProviderError | None]:
        request = self._client.build_request(
            method,
            _parsed(f"{self.base_url}{path}"),
            headers=headers,
            extensions={BEFORE_SENDING: sending} if sending else {},
            **{name: value for name, value in content.items() if value is not None},
        )
        self.requests[purpose] += 1
        response = await self._client.send(request)
        # It has been read. It and the answer refer to each other, so that both would stay in memory until the
        # garbage collector comes by, which stops the event loop, and it would come by more often.
        response.stream = httpx.ByteStream(b"")
        self.clock.learn(response.headers)
        failure = self._failure(response)
        if permit is not None:
            # Some APIs report a rate limit by their words or code, under another status.
            limited = failure if isinstance(failure, RateLimitedError) else None
            queue_full = limited is not None and limited.queue_full and limited.retry_after is None
            status = 429 if limited else response.status_code
            self.pacer.answered(permit, status, response.headers, queue_full=queue_full)
        return response, failure

    async def _accepted(
        self,
        response: httpx.Response,
        failure: ProviderError | None,
        auth: Mapping[str, str],
        parse: Callable[[CreateAnswer], T],
    ) -> T:
        status = response.status_code
        unread: Exception | None = None
        if response.is_success:
            # A record is a job, whatever else the answer says.
            try:
                return parse(CreateAnswer.of(response))
            except (UnexpectedResponseError, ValueError, TypeError, LookupError, AttributeError) as error:
                unread = error
        if isinstance(failure, AuthenticationError) and status == 401:
            failure.retryable = await self.auth.renew(auth)
        if failure is None:
            ambiguous = self._ambiguous(f"the answer to a create cannot be read ({unread})", status)
            ambiguous.answered = response.is_success
            raise ambiguous from unread
        if self._failure.refuses(response, failure):
            raise failure
        ambiguous = self._ambiguous(str(failure), status)
        ambiguous.queue_full = is_queue_full(str(failure))
        raise ambiguous

    def _create_failed(self, error: Exception, sent: bool) -> ProviderError:
        too_late = isinstance(error, _TooLateError)  # a head without its body at most: nothing to accept
        reason = "the deadline had passed" if too_late else self._reason(error)
        if sent and not too_late:
            return self._ambiguous(f"a create got no answer ({reason})", None)
        if isinstance(error, ProviderError):
            return error
        if isinstance(error, ValueError | TypeError):  # such as half a surrogate pair, or not a number
            return InvalidRequestError(f"{self.provider}: this is no JSON: {reason}", provider=self.provider)
        return ConnectionFailedError(
            f"{self.provider}: the create was not sent: {reason}", provider=self.provider
        )

    def _ambiguous(self, message: str, status: int | None) -> AmbiguousCreateError:
        return AmbiguousCreateError(
            f"{self.provider}: {message}; it may have been accepted, so it is not sent again",
            provider=self.provider,
            status_code=status,
        )

    def _no_answer(self, error: Exception) -> ConnectionFailedError:
        return ConnectionFailedError(
            f"{self.provider} at {self.base_url} cannot be reached: {self._reason(error)}",
            provider=self.provider,
        )

    def _reason(self, error: BaseException) -> str:
        """Why a request got no answer, without what the error may quote of it."""
        if isinstance(error, httpx.TimeoutException | TimeoutError):
            return "timed out"
        if isinstance(error, httpx.LocalProtocolError):
            return "it cannot be written as HTTP"  # its message quotes the headers
        return redacted(str(error), self.auth.secrets()) or type(error).__name__


@lru_cache(maxsize=64)
def _parsed(url: str) -> httpx.URL:
    """Most requests go to a few addresses."""
    return httpx.URL(url)


def check_base_url(provider: str, base_url: str) -> str:
    """The base URL without a trailing slash. Raises `ConfigurationError` for what is no http(s) address."""
    try:
        url = httpx.URL(base_url.strip())
    except httpx.InvalidURL as error:
        raise ConfigurationError(f"{provider}: the base URL cannot be read: {error}") from error
    if url.scheme not in ("http", "https") or not url.host or url.query or url.userinfo:
        raise ConfigurationError(
            f"{provider}: the base URL must be http(s)://host/path without query or password"
        )
    return str(url).rstrip("/")
