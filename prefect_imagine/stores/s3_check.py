"""Whether an S3 server keeps the promises that batches rest on, tried with a probe."""

from __future__ import annotations

import secrets
import threading
import time
from concurrent.futures import wait

from prefect_imagine.errors import StoreError
from prefect_imagine.stores.protocol import Store
from prefect_imagine.threads import DaemonPool

RACERS = 8
RACES = 3
RACE_SECONDS = 1.0
"""After so long no other race is begun: a slow server has had wide enough gaps by then."""

_ADVICE = "choose a server with conditional writes"
_PAID_TWICE = f"so two processes could pay for the same batch; {_ADVICE}"


def check_conditions(store: Store) -> None:
    """Write, contest and delete a few probes.

    Raises:
        StoreError: the server's conditional writes cannot be relied on, or it fails.
    """
    key = f".check-{secrets.token_hex(8)}"
    store.put_new(key, b"probe")
    try:
        _check_versions(store, key)
    finally:
        store.delete(key)
    _check_races(store)


def _check_versions(store: Store, key: str) -> None:
    found = store.read_version(key)
    # A write whose answer was lost has been repeated by the client, and met itself.
    if found is None or (not store.swap(key, b"swapped", found[1]) and store.read(key) != b"swapped"):
        raise StoreError(
            f"{store.address}: this server refuses If-Match with an object's own ETag, with and without "
            f"quotes, so no run could keep its batch; {_ADVICE}"
        )
    if store.put_new(key, b"another") or store.swap(key, b"another", found[1]):
        raise StoreError(f"{store.address}: this server ignores If-None-Match or If-Match, {_PAID_TWICE}")


def _check_races(store: Store) -> None:
    last_start = time.monotonic() + RACE_SECONDS
    with DaemonPool(RACERS, "imagine-racers") as pool:
        for _ in range(RACES):
            if _race(store, pool) > 1:
                raise StoreError(
                    f"{store.address}: of {RACERS} writers that created the same object at once more than "
                    f"one succeeded: this server looks first and writes later, {_PAID_TWICE}"
                )
            if time.monotonic() > last_start:
                return


def _race(store: Store, pool: DaemonPool) -> int:
    """How many of several writers of one new key get the answer that they wrote it."""
    key = f".check-{secrets.token_hex(8)}"
    gate = threading.Barrier(RACERS)

    def write(number: int) -> bool:
        gate.wait()
        return store.put_new(key, b"%d" % number)

    try:
        writes = [pool.submit(write, number) for number in range(RACERS)]
        wait(writes)
        return sum(each.result() for each in writes)
    finally:
        store.delete(key)
