"""Servers whose conditional writes are odd: those that can be used are, the others are refused beforehand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import boto3
import pytest

from prefect_imagine.errors import StoreError
from prefect_imagine.stores import Store, open_store
from prefect_imagine.stores.s3_check import RACERS, RACES
from prefect_imagine.stores.s3_client import s3_client_config
from tests.stores.odd_s3 import BUCKET, OddS3, etag, start_odd_s3

Opener = Callable[[OddS3], Store]
KEY = "b/lease.json"


@pytest.fixture
def opened() -> Iterator[Opener]:
    """Starts a server, and gives a store in its bucket; again for the same one as another process would."""
    with ExitStack() as stack:

        def opener(odd: OddS3) -> Store:
            if not odd.endpoint:
                stack.enter_context(start_odd_s3(odd))
            client = boto3.session.Session().client(
                "s3",
                endpoint_url=odd.endpoint,
                region_name="us-east-1",
                aws_access_key_id="any",
                aws_secret_access_key="any",
                config=s3_client_config(16),
            )
            stack.callback(client.close)
            return open_store(f"s3://{BUCKET}/prefix", client=client)

        yield opener


def version_of(store: Store) -> str:
    found = store.read_version(KEY)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("wants", ["quoted", "bare"])
@pytest.mark.parametrize("checked", [True, False])
def test_either_spelling_of_an_etag_will_do(opened: Opener, wants: str, checked: bool) -> None:
    odd = OddS3(wants=wants)
    store = opened(odd)
    if checked:
        store.check_writable()
        assert odd.objects == {}, "the check leaves nothing"
    store.put(KEY, b"0")
    for number in range(1, 5):
        assert store.swap(KEY, b"%d" % number, version_of(store))
    assert store.read(KEY) == b"4"
    assert not store.swap(KEY, b"late", etag(b"3"))
    assert store.read(KEY) == b"4"


def test_the_spelling_is_found_once(opened: Opener) -> None:
    odd = OddS3(wants="bare")
    store = opened(odd)
    store.put(KEY, b"0")
    assert store.swap(KEY, b"1", version_of(store))
    odd.writes.clear()
    assert store.swap(KEY, b"2", version_of(store))
    assert not store.swap(KEY, b"3", etag(b"0"))
    assert odd.writes == [(None, etag(b"1").strip('"')), (None, etag(b"0").strip('"'))]


def test_a_write_of_somebody_else_is_not_met_with_the_other_spelling(opened: Opener) -> None:
    odd = OddS3(wants="bare")
    store, other = opened(odd), opened(odd)
    store.put(KEY, b"0")
    before = version_of(store)
    assert other.swap(KEY, b"theirs", before)
    odd.writes.clear()
    assert not store.swap(KEY, b"mine", before)
    assert store.read(KEY) == b"theirs"
    assert odd.writes == [(None, before)], "that the version is another explains the refusal"


@pytest.mark.parametrize("header", ["If-None-Match", "If-Match"])
def test_a_server_that_ignores_a_condition_is_refused(opened: Opener, header: str) -> None:
    odd = OddS3(ignores=(header,))
    with pytest.raises(StoreError, match="ignores If-None-Match or If-Match") as refused:
        opened(odd).check_writable()
    assert not refused.value.retryable
    assert odd.objects == {}


def test_a_server_that_no_version_suits_is_refused(opened: Opener) -> None:
    odd = OddS3(wants="nothing")
    with pytest.raises(StoreError, match="refuses If-Match with an object's own ETag") as refused:
        opened(odd).check_writable()
    assert not refused.value.retryable
    assert odd.objects == {}


def test_a_server_that_looks_first_and_writes_later_is_refused(opened: Opener) -> None:
    odd = OddS3(gap=0.1)
    with pytest.raises(StoreError, match="more than one succeeded: this server looks first") as refused:
        opened(odd).check_writable()
    assert not refused.value.retryable
    assert odd.objects == {}
    assert len(odd.writes) <= RACERS * RACES + 5


@pytest.mark.parametrize("header", ["If-None-Match", "If-Match"])
def test_a_server_that_lacks_a_condition_is_told_which(opened: Opener, header: str) -> None:
    with pytest.raises(
        StoreError, match=f"lacks a call that batches need: PutObject with {header}"
    ) as refused:
        opened(OddS3(lacks=(header,))).check_writable()
    assert not refused.value.retryable
