"""Fetching outputs over real HTTP, from servers that misbehave."""

from __future__ import annotations

import threading
import tracemalloc
from dataclasses import replace

import pytest

from prefect_imagine.errors import OutputError
from prefect_imagine.stores import Downloader, DownloadPolicy, Store
from tests.stores import media_files
from tests.stores.origin import (
    Handler,
    Origin,
    chunked,
    compressed,
    cut,
    redirect,
    silent,
    status,
    whole,
)

MEBIBYTE = 1024**2
PICTURE = media_files.picture("PNG", size=256)


@pytest.fixture
def policy(origin: Origin) -> DownloadPolicy:
    """The API is on the same loopback server as the outputs."""
    return DownloadPolicy(origin.base + "/api/v1", auth_headers={"Authorization": "Bearer key"})


def fetch(downloader: Downloader, url: str, policy: DownloadPolicy) -> bytes:
    with downloader.open(url, policy) as source:
        return b"".join(source.chunks())


def refused(downloader: Downloader, url: str, policy: DownloadPolicy) -> OutputError:
    with pytest.raises(OutputError) as error:
        fetch(downloader, url, policy)
    return error.value


def test_a_body_with_its_length(downloader: Downloader, origin: Origin, policy: DownloadPolicy) -> None:
    url = origin.serve("/whole", whole(PICTURE))
    with downloader.open(url, policy) as source:
        assert source.content_length == len(PICTURE)
        assert PICTURE.startswith(source.head[:1000])
        assert b"".join(source.chunks()) == PICTURE
    assert origin.asked("/whole")[0]["Accept-Encoding"] == "identity"


def test_a_body_without_its_length(downloader: Downloader, origin: Origin, policy: DownloadPolicy) -> None:
    with downloader.open(origin.serve("/chunked", chunked(PICTURE)), policy) as source:
        assert source.content_length is None
        assert b"".join(source.chunks()) == PICTURE


def test_a_body_compressed_all_the_same(
    downloader: Downloader, origin: Origin, policy: DownloadPolicy
) -> None:
    with downloader.open(origin.serve("/gzip", compressed(media_files.SVG)), policy) as source:
        assert source.content_length is None
        assert b"".join(source.chunks()) == media_files.SVG


@pytest.mark.parametrize("sent", [10, len(PICTURE) - 10])
@pytest.mark.parametrize("declared", [True, False])
def test_a_body_cut_underway(
    downloader: Downloader, origin: Origin, policy: DownloadPolicy, sent: int, declared: bool
) -> None:
    url = origin.serve("/cut", cut(PICTURE, sent, declared=declared))
    assert refused(downloader, url, policy).reason == "truncated"


@pytest.mark.parametrize("size", [20_000, 12 * MEBIBYTE])
@pytest.mark.parametrize("declared", [True, False])
def test_a_body_cut_underway_is_not_stored(
    store: Store, downloader: Downloader, origin: Origin, policy: DownloadPolicy, size: int, declared: bool
) -> None:
    body = media_files.mp3(size)
    url = origin.serve("/cut", cut(body, size - 1, declared=declared))
    with pytest.raises(OutputError) as error, downloader.open(url, policy) as source:
        store.put_output("b/outputs/0", source, {})
    assert error.value.reason == "truncated"
    assert list(store.list("")) == []


def test_a_body_cut_although_its_length_matches_is_not_stored(
    store: Store, downloader: Downloader, origin: Origin, policy: DownloadPolicy
) -> None:
    url = origin.serve("/short", whole(PICTURE[:-20]))
    with pytest.raises(OutputError) as error, downloader.open(url, policy) as source:
        store.put_output("b/outputs/0", source, {})
    assert error.value.reason == "truncated"
    assert list(store.list("")) == []


def test_a_page_is_not_stored_and_shows_no_signature(
    store: Store, downloader: Downloader, origin: Origin, policy: DownloadPolicy
) -> None:
    page = b'<html><a href="https://cdn.example/picture.png?signature=SECRET">Sign in</a></html>'
    url = origin.serve("/page.png", whole(page, "image/png"))
    with (
        pytest.raises(OutputError, match="<html>") as error,
        downloader.open(url + "?signature=SECRET", policy) as source,
    ):
        store.put_output("b/outputs/0", source, {})
    assert error.value.reason == "not_media"
    assert "SECRET" not in str(error.value)


@pytest.mark.parametrize("store_kind", ["folder", "s3"])
def test_a_large_body_takes_little_memory(
    request: pytest.FixtureRequest,
    downloader: Downloader,
    origin: Origin,
    policy: DownloadPolicy,
    store_kind: str,
) -> None:
    store: Store = request.getfixturevalue(f"{store_kind}_store")
    piece = media_files.mp3(MEBIBYTE)

    def answer(handler: Handler) -> None:
        handler.start(200, Content_Length=str(64 * MEBIBYTE))
        for _ in range(64):
            handler.wfile.write(piece)

    tracemalloc.start()
    try:
        with downloader.open(origin.serve("/large", answer), policy) as source:
            stored = store.put_output("b/outputs/0", source, {})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert stored.bytes == 64 * MEBIBYTE
    assert peak < 30 * MEBIBYTE


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (204, "empty"),
        (206, "unavailable"),
        (304, "unavailable"),
        (400, "expired"),
        (401, "expired"),
        (403, "expired"),
        (404, "missing"),
        (410, "expired"),
        (408, "unavailable"),
        (425, "unavailable"),
        (429, "unavailable"),
        (500, "unavailable"),
        (503, "unavailable"),
    ],
)
def test_only_the_body_of_a_200_counts(
    downloader: Downloader, origin: Origin, policy: DownloadPolicy, code: int, reason: str
) -> None:
    error = refused(downloader, origin.serve("/status", status(code)) + "?token=SECRET", policy)
    assert error.reason == reason
    assert "SECRET" not in str(error)


@pytest.mark.parametrize("code", [429, 503])
@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ({"Retry_After": "7"}, 7.0),
        ({"Retry_After": "soon"}, None),
        ({}, None),
    ],
)
def test_how_long_to_wait_is_told(
    downloader: Downloader,
    origin: Origin,
    policy: DownloadPolicy,
    code: int,
    told: dict[str, str],
    seconds: float | None,
) -> None:
    error = refused(downloader, origin.serve("/busy", status(code, **told)), policy)
    assert (error.reason, error.retry_after) == ("unavailable", seconds)


def test_a_date_to_wait_for_is_told_by_the_servers_clock(
    downloader: Downloader, origin: Origin, policy: DownloadPolicy
) -> None:
    def answer(handler: Handler) -> None:
        handler.send_response_only(503)
        handler.send_header("Date", "Sat, 01 Mar 2025 10:00:00 GMT")
        handler.send_header("Retry-After", "Sat, 01 Mar 2025 10:00:30 GMT")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    assert refused(downloader, origin.serve("/busy", answer), policy).retry_after == 30.0


def test_an_empty_body(downloader: Downloader, origin: Origin, policy: DownloadPolicy) -> None:
    assert refused(downloader, origin.serve("/empty", whole(b"")), policy).reason == "empty"


@pytest.mark.parametrize("answer", [whole(PICTURE), chunked(PICTURE), compressed(PICTURE)])
def test_a_body_too_large(
    downloader: Downloader, origin: Origin, policy: DownloadPolicy, answer: object
) -> None:
    small = replace(policy, max_bytes=len(PICTURE) - 1)
    assert refused(downloader, origin.serve("/big", answer), small).reason == "too_large"  # type: ignore[arg-type]
    fitting = replace(policy, max_bytes=len(PICTURE))
    assert fetch(downloader, origin.base + "/big", fitting) == PICTURE


@pytest.mark.parametrize("started", [0, 100])
def test_a_server_that_falls_silent(
    downloader: Downloader, origin: Origin, policy: DownloadPolicy, started: int
) -> None:
    release = threading.Event()
    url = origin.serve("/silent", silent(release, PICTURE[:started], len(PICTURE) if started else 0))
    try:
        error = refused(downloader, url, replace(policy, read_timeout_seconds=0.2))
    finally:
        release.set()
    assert error.reason == "unavailable"


def test_a_body_that_drips_ends_with_the_deadline(
    downloader: Downloader, origin: Origin, policy: DownloadPolicy
) -> None:
    release = threading.Event()

    def answer(handler: Handler) -> None:
        handler.start(200, Content_Length=str(10**6))
        while not release.wait(0.02):
            handler.wfile.write(b"-")
            handler.wfile.flush()

    try:
        error = refused(downloader, origin.serve("/drip", answer), replace(policy, timeout_seconds=0.3))
    finally:
        release.set()
    assert error.reason == "unavailable"


def test_a_closed_port(downloader: Downloader, origin: Origin, policy: DownloadPolicy) -> None:
    assert refused(downloader, "http://127.0.0.1:1/x?token=SECRET", policy).reason == "unavailable"


def test_a_redirect_is_followed(downloader: Downloader, origin: Origin, policy: DownloadPolicy) -> None:
    origin.serve("/end", whole(PICTURE))
    assert fetch(downloader, origin.serve("/start", redirect("end")), policy) == PICTURE


@pytest.mark.parametrize("hops", [5, 6])
def test_five_redirects_are_enough(
    downloader: Downloader, origin: Origin, policy: DownloadPolicy, hops: int
) -> None:
    origin.serve("/hop0", whole(PICTURE))
    for hop in range(1, hops + 1):
        url = origin.serve(f"/hop{hop}", redirect(f"/hop{hop - 1}", 307))
    if hops <= 5:
        assert fetch(downloader, url, policy) == PICTURE
    else:
        assert refused(downloader, url, policy).reason == "unavailable"


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://example.com/x",
        "data:image/png;base64,AAAA",
        "picture.png",
        "",
        "http://",
        "http://[::1",
        "http://169.254.169.254/latest/meta-data/",
        "http://[fe80::1]/",
        "http://[fd00:ec2::254]/latest/",
        "http://100.100.100.200/latest/",
        "http://[::ffff:169.254.169.254]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://0.0.0.0/",
        "http://224.0.0.1/",
    ],
)
def test_some_addresses_are_never_asked(
    downloader: Downloader, origin: Origin, policy: DownloadPolicy, url: str
) -> None:
    assert refused(downloader, url, policy).reason == "refused_url"


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "http://169.254.169.254/latest/meta-data/", "//0.0.0.0/x"]
)
def test_no_redirect_leads_there_either(
    downloader: Downloader, origin: Origin, policy: DownloadPolicy, target: str
) -> None:
    hop = origin.serve("/hop", redirect(target))
    assert refused(downloader, hop, policy).reason == "refused_url"


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "10.1.2.3", "192.168.0.1", "[fd12::1]", "2130706433"])
def test_a_public_api_cannot_lead_into_this_network(downloader: Downloader, host: str) -> None:
    policy = DownloadPolicy("https://1.1.1.1/api/v1")
    assert refused(downloader, f"http://{host}/x?token=SECRET", policy).reason == "refused_url"


@pytest.mark.parametrize("host", ["cdn..example.com", f"{'a' * 70}.example.com"])
def test_a_name_that_no_host_can_have_is_an_output_that_is_missing(
    downloader: Downloader, policy: DownloadPolicy, host: str
) -> None:
    assert refused(downloader, f"https://{host}/x.png", policy).reason in ("unavailable", "refused_url")


def test_a_policy_does_not_show_its_credentials(policy: DownloadPolicy) -> None:
    assert "Bearer" not in repr(policy)
