"""Changing an object that others change at the same time."""

from __future__ import annotations

from collections.abc import Callable

from prefect_imagine.errors import StoreError
from prefect_imagine.stores.protocol import Store

ATTEMPTS = 10
"""How often a change is tried beside those of others."""


def change_object(store: Store, key: str, change: Callable[[bytes | None], bytes]) -> None:
    """Replace an object by what becomes of it, by compare-and-swap.

    Args:
        change: is called with what is there, `None` for nothing, and again where somebody else was quicker.
            It has to return what nobody else would write, such as JSON with a token of its own: a write that
            the store's client has repeated is known by meeting itself.

    Raises:
        StoreError: it fails, or others are quicker each time.
    """
    for _ in range(ATTEMPTS):
        data, version = store.read_version(key) or (None, None)
        new = change(data)
        if store.swap(key, new, version) or store.read(key) == new:
            return
    raise StoreError(f"{store.address}/{key} is changed by too many at once", retryable=True)
