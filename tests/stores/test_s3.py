"""What only a bucket has: metadata, multipart uploads, credentials, endpoints."""

from __future__ import annotations

import socket
import threading
import tracemalloc
import urllib.request
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from prefect_imagine.errors import OutputError, StoreError
from prefect_imagine.sandbox.server.s3 import S3Server
from prefect_imagine.stores import MediaSource, Store, open_store
from tests.stores import media_files

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MEBIBYTE = 1024**2


def endless(count: int) -> Iterator[bytes]:
    """So many mebibytes, all in the same memory."""
    piece = media_files.mp3(MEBIBYTE)
    for _ in range(count):
        yield piece


def uploads(client: S3Client, bucket: str) -> int:
    return len(client.list_multipart_uploads(Bucket=bucket).get("Uploads", []))


@pytest.fixture(params=["own client", "given client"])
def any_s3_store(request: pytest.FixtureRequest, bucket: str, s3_client: S3Client) -> Iterator[Store]:
    """A store with its own settings, and one with a client that has boto3's."""
    client = s3_client if request.param == "given client" else None
    store = open_store(f"s3://{bucket}/some/prefix", client=client)
    yield store
    store.close()


@pytest.mark.parametrize("known", [True, False])
def test_a_large_body_takes_little_memory(any_s3_store: Store, known: bool) -> None:
    source = MediaSource(endless(64), content_length=64 * MEBIBYTE if known else None)
    tracemalloc.start()
    try:
        stored = any_s3_store.put_output("b/outputs/0", source, {})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert stored.bytes == 64 * MEBIBYTE
    head = any_s3_store.head("b/outputs/0.mp3")
    assert head is not None
    assert head.size == 64 * MEBIBYTE
    assert peak < 30 * MEBIBYTE


@pytest.mark.parametrize("known", [True, False])
def test_a_refused_large_body_leaves_no_upload(
    any_s3_store: Store, s3_client: S3Client, bucket: str, known: bool
) -> None:
    body = media_files.wav(20 * MEBIBYTE)[:-1000]
    chunks = (body[at : at + MEBIBYTE] for at in range(0, len(body), MEBIBYTE))
    with pytest.raises(OutputError) as refused:
        any_s3_store.put_output(
            "b/outputs/0", MediaSource(chunks, content_length=len(body) if known else None), {}
        )
    assert refused.value.reason == "truncated"
    assert uploads(s3_client, bucket) == 0
    assert s3_client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_small_outputs_carry_their_checksum_and_what_they_are(
    s3_store: Store, s3_client: S3Client, bucket: str
) -> None:
    stored = s3_store.put_output(
        "b/outputs/0",
        MediaSource.from_bytes(media_files.png()),
        {"Prompt": "ein Füchslein\nim Schnee " * 50, "generation-id": "abc"},
    )
    head = s3_client.head_object(Bucket=bucket, Key=f"some/prefix/{stored.key}")
    assert head["ContentType"] == "image/png"
    assert head["Metadata"]["sha256"] == stored.sha256
    assert head["Metadata"]["generation-id"] == "abc"
    assert head["Metadata"]["prompt"].startswith("ein F%C3%BCchslein%0Aim Schnee")
    assert len(head["Metadata"]["prompt"]) <= 200


def test_many_long_metadata_are_cut_to_what_s3_takes(s3_store: Store) -> None:
    metadata = {f"name-{number}": "図" * 1000 for number in range(100)}
    s3_store.put_output("b/outputs/0", MediaSource.from_bytes(media_files.png()), metadata)


def test_the_same_output_is_adopted(s3_store: Store) -> None:
    source = media_files.png()
    stored = s3_store.put_output("b/outputs/0", MediaSource.from_bytes(source), {})
    before = s3_store.head(stored.key)
    s3_store.put_output("b/outputs/0", MediaSource.from_bytes(source), {"changed": "metadata"})
    assert s3_store.head(stored.key) == before


def test_an_object_without_a_checksum_is_compared_by_its_bytes(
    s3_store: Store, s3_client: S3Client, bucket: str
) -> None:
    body = media_files.png()
    s3_client.put_object(Bucket=bucket, Key="some/prefix/b/outputs/0.png", Body=body)
    s3_store.put_output("b/outputs/0", MediaSource.from_bytes(body), {})
    metadata = s3_client.head_object(Bucket=bucket, Key="some/prefix/b/outputs/0.png")["Metadata"]
    assert "sha256" not in metadata
    other = media_files.png(color="blue")
    s3_store.put_output("b/outputs/0", MediaSource.from_bytes(other), {})
    assert s3_store.read("b/outputs/0.png") == other


@pytest.mark.parametrize("known", [True, False])
def test_a_large_body_that_another_process_stores_meanwhile(any_s3_store: Store, known: bool) -> None:
    body = media_files.mp3(20 * MEBIBYTE)

    def source(meanwhile: bytes) -> Iterator[bytes]:
        for at in range(0, len(body), MEBIBYTE):
            if at == 12 * MEBIBYTE:
                any_s3_store.put("b/outputs/0.mp3", meanwhile)
            yield body[at : at + MEBIBYTE]

    length = len(body) if known else None
    stored = any_s3_store.put_output("b/outputs/0", MediaSource(source(body), content_length=length), {})
    assert any_s3_store.read(stored.key) == body


def test_the_prefix_is_the_root(s3_store: Store, s3_client: S3Client, bucket: str) -> None:
    s3_client.put_object(Bucket=bucket, Key="some/other", Body=b"-")
    s3_client.put_object(Bucket=bucket, Key="some/prefix-too/x", Body=b"-")
    s3_store.put("b/x", b"-")
    assert [found.key for found in s3_store.list("")] == ["b/x"]
    assert list(s3_store.folders("")) == ["b"]


def test_a_link_opens_without_credentials(s3_store: Store) -> None:
    s3_store.put("b/outputs/0 ü.txt", b"hello", "text/plain")
    for expires in (60, None):
        assert "X-Amz-Signature" in s3_store.link("b/outputs/0 ü.txt", expires=expires)
        with urllib.request.urlopen(s3_store.link("b/outputs/0 ü.txt", expires=expires)) as answer:
            assert answer.read() == b"hello"


def test_a_given_client_stays_open(bucket: str, s3_client: S3Client) -> None:
    store = open_store(f"s3://{bucket}/x", client=s3_client)
    store.check_writable()
    store.close()
    assert s3_client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_a_missing_bucket_is_named(aws: S3Server) -> None:
    store = open_store("s3://no-such-bucket/prefix")
    with pytest.raises(StoreError, match=r"s3://no-such-bucket/prefix.*create it or correct") as refused:
        store.check_writable()
    assert not refused.value.retryable
    store.close()


@pytest.mark.parametrize("name", ["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"])
def test_wrong_credentials_are_told_and_not_shown(
    bucket: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "WRONGWRONGWRONG")
    store = open_store(f"s3://{bucket}/prefix")
    with pytest.raises(StoreError, match="AWS_SECRET_ACCESS_KEY") as refused:
        store.check_writable()
    assert not refused.value.retryable
    assert "WRONGWRONGWRONG" not in str(refused.value)
    store.close()


def test_missing_credentials_are_told(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    store = open_store(f"s3://{bucket}/prefix")
    with pytest.raises(StoreError, match="no usable AWS credentials"):
        store.check_writable()
    store.close()


def test_a_closed_port_is_told(aws: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        store = open_store("s3://bucket/prefix")
        with pytest.raises(StoreError, match=r"cannot be reached.*AWS_ENDPOINT_URL"):
            store.check_writable()
        store.close()


@pytest.mark.timeout(120)
def test_an_endpoint_that_takes_no_connection_is_told_soon(
    aws: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full backlog drops what comes, as a firewall does."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(full.getsockname())
            monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{full.getsockname()[1]}")
            store = open_store("s3://bucket/prefix")
            with pytest.raises(StoreError, match="cannot be reached"):
                store.check_writable()
            store.close()
        finally:
            for filler in fillers:
                filler.close()


def test_many_parts_at_once_share_their_slots(bucket: str) -> None:
    store = open_store(f"s3://{bucket}/x", concurrency=2)
    results: list[int] = []

    def run(number: int) -> None:
        results.append(store.put_output(f"b/outputs/{number}", MediaSource(endless(20)), {}).bytes)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [20 * MEBIBYTE] * 4
    store.close()
