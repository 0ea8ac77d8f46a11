"""Keys that are safe as S3 keys and as paths below a folder."""

from __future__ import annotations

from prefect_imagine.errors import StoreError

MAX_KEY_BYTES = 900


def check_key(key: str) -> str:
    """The key itself.

    Raises:
        StoreError: it is empty, absolute, too long, or has control characters or segments such as `..`.
    """
    if not key or any(part in ("", ".", "..") for part in key.split("/")):
        raise StoreError(f"not a key below the store's root: {key!r}")
    check_prefix(key)
    return key


def check_prefix(prefix: str) -> str:
    """The prefix itself, which may be empty or end anywhere in a segment.

    Raises:
        StoreError: it is absolute, too long, or has control characters or `..` segments.
    """
    if prefix.startswith("/") or ".." in prefix.split("/") or "\\" in prefix or not prefix.isprintable():
        raise StoreError(f"not a key below the store's root: {prefix!r}")
    if len(prefix.encode(errors="replace")) > MAX_KEY_BYTES:
        raise StoreError(f"the key is longer than {MAX_KEY_BYTES} bytes: {prefix[:60]!r}…")
    return prefix


def folder_prefix(prefix: str) -> str:
    """The prefix of what lies in this folder: empty for the root, else with one trailing slash."""
    return f"{check_prefix(prefix).rstrip('/')}/" if prefix else ""
