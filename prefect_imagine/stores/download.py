"""Fetching an output from the address that a provider gave."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

from prefect_imagine.errors import OutputError
from prefect_imagine.redaction import without_query
from prefect_imagine.stores.reach import check_address, check_url, is_proxied, origin, parse
from prefect_imagine.stores.source import MAX_OUTPUT_BYTES, MediaSource

MAX_REDIRECTS = 5
CHUNK_BYTES = 256 * 1024

_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_PASSING = frozenset((408, 425, 429))


@dataclass(frozen=True)
class DownloadPolicy:
    """What a download may do.

    Attributes:
        api_origin: the API's base URL. Private addresses are allowed only if its own host is at one.
        max_bytes: the largest body taken.
        timeout_seconds: for one output as a whole, its storing included.
        connect_timeout_seconds: for each connection.
        read_timeout_seconds: the longest silence.
        auth_headers: sent to the API's own scheme, host and port only, and never again once a redirect has
            left them.
        auth_first: send them at once; otherwise only after the API's origin answered 401 or 403.
    """

    api_origin: str
    max_bytes: int = MAX_OUTPUT_BYTES
    timeout_seconds: float = 600.0
    connect_timeout_seconds: float = 10.0
    read_timeout_seconds: float = 60.0
    auth_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    auth_first: bool = False


class Downloader:
    """One pool of connections for all downloads of a process. Thread-safe; keeps no cookies."""

    def __init__(self, *, concurrency: int = 16) -> None:
        limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
        self._client = httpx.Client(
            http2=False,
            limits=limits,
            cookies=no_cookies,
            headers={"Accept-Encoding": "identity", "Accept": "*/*"},
        )

    @contextmanager
    def open(self, url: str, policy: DownloadPolicy) -> Iterator[MediaSource]:
        """The body at this URL, not read yet. The connection is given back at the end.

        Raises:
            OutputError: `expired` (fetch the generation again for a fresh address), `missing` (it may not be
                there yet, or never be), `unavailable` (try again later), `refused_url`, `too_large`, `empty`;
                while the body is read also `truncated`.
        """
        deadline = time.monotonic() + policy.timeout_seconds
        name = without_query(url)
        response = self._follow(url, policy, name)
        try:
            _check_status(response, name, url, policy)
            yield MediaSource(
                _body(response, deadline, name),
                content_length=_length(response),
                max_bytes=policy.max_bytes,
                name=name,
            )
        finally:
            _close(response)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def _follow(self, url: str, policy: DownloadPolicy, name: str) -> httpx.Response:
        """The first answer that is no redirect. Every hop is checked as if it were the first."""
        try:
            at, api = httpx.URL(url), httpx.URL(policy.api_origin)
            own = True
            for _ in range(MAX_REDIRECTS + 1):
                check_url(at, api)
                own = own and origin(at) == origin(api)
                response = self._get(at, api, policy, own)
                target = response.headers.get("location")
                if response.status_code not in _REDIRECTS or not target:
                    return response
                _close(response)
                at = at.join(target)
        except (httpx.InvalidURL, UnicodeError) as error:
            raise OutputError(f"{name} is not an address, or leads to none", reason="refused_url") from error
        except httpx.HTTPError as error:
            raise OutputError(f"{name}: no answer ({_what(error)})", reason="unavailable") from error
        raise OutputError(f"{name} redirects more than {MAX_REDIRECTS} times", reason="unavailable")

    def _get(self, url: httpx.URL, api: httpx.URL, policy: DownloadPolicy, own: bool) -> httpx.Response:
        response = self._send(url, api, policy, policy.auth_headers if own and policy.auth_first else {})
        late = own and policy.auth_headers and not policy.auth_first
        if late and response.status_code in (401, 403):
            _close(response)
            response = self._send(url, api, policy, policy.auth_headers)
        return response

    def _send(
        self, url: httpx.URL, api: httpx.URL, policy: DownloadPolicy, headers: Mapping[str, str]
    ) -> httpx.Response:
        timeout = httpx.Timeout(policy.read_timeout_seconds, connect=policy.connect_timeout_seconds)
        request = self._client.build_request("GET", url, headers=dict(headers), timeout=timeout)
        response = self._client.send(request, stream=True, follow_redirects=False)
        try:
            _check_peer(response, url, api)
        except OutputError:
            _close(response)
            raise
        return response


def _close(response: httpx.Response) -> None:
    response.close()
    response.stream = httpx.ByteStream(b"")  # it and the answer refer to each other


def _check_peer(response: httpx.Response, url: httpx.URL, api: httpx.URL) -> None:
    """A name may have resolved differently when it was connected to."""
    stream = response.extensions.get("network_stream")
    peer = stream.get_extra_info("server_addr") if stream else None
    try:
        if peer:
            check_address(parse(str(peer[0])), url, api)
    except OutputError:
        if not is_proxied(url):  # looks through the whole environment, so it is asked last
            raise


def _foreign(url: str, policy: DownloadPolicy) -> str:
    """Why an address may refuse: it wants credentials, and they go to the API's own origin only."""
    at, api = httpx.URL(url), httpx.URL(policy.api_origin)
    if not policy.auth_headers or origin(at) == origin(api):
        return ""
    return (
        f"; {_shown(at)} was not given the key, which is for {_shown(api)} only: if it wants it, set the "
        "server's PUBLIC_URL, or <PROVIDER>_BASE_URL here, so that both have the same origin"
    )


def _shown(url: httpx.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode()}"


def _check_status(response: httpx.Response, name: str, url: str, policy: DownloadPolicy) -> None:
    """Only the body of a 200 is the output."""
    status = response.status_code
    if status == 200:
        return
    if status == 204:
        raise OutputError(f"{name}: the answer has no body", reason="empty")
    # Which status an expired signature gets differs between clouds: it may be any 4xx.
    gone = 400 <= status < 500 and status not in _PASSING
    reason = "missing" if status == 404 else "expired" if gone else "unavailable"
    message = f"{name}: HTTP {status}" + (_foreign(url, policy) if status in (401, 403) else "")
    wait = _retry_after(response.headers)
    raise OutputError(message, reason=reason, retry_after=wait, rate_limited=status == 429)


def _retry_after(headers: httpx.Headers) -> float | None:
    """Seconds; those until a date by the server's own clock."""
    value = headers.get("retry-after", "")
    if value.isdecimal():
        return float(value)
    try:
        wait = parsedate_to_datetime(value) - parsedate_to_datetime(headers["date"])
    except (KeyError, TypeError, ValueError):
        return None
    return max(0.0, wait.total_seconds())


def _length(response: httpx.Response) -> int | None:
    encoded = response.headers.get("content-encoding", "identity").lower() != "identity"
    declared = response.headers.get("content-length", "")
    return int(declared) if declared.isdecimal() and not encoded else None


def _body(response: httpx.Response, deadline: float, name: str) -> Iterator[bytes]:
    try:
        for chunk in response.iter_bytes():
            yield chunk
            if time.monotonic() > deadline:
                raise OutputError(f"{name}: the download took too long", reason="unavailable")
    except httpx.TimeoutException as error:
        raise OutputError(f"{name}: the download stalled", reason="unavailable") from error
    except (httpx.HTTPError, httpx.StreamError) as error:
        raise OutputError(f"{name}: the body was cut ({_what(error)})", reason="truncated") from error


def _what(error: Exception) -> str:
    return without_query(str(error)) or type(error).__name__
