"""Which machines create with an account just now: `.imagine/users/<key>/<machine>~<window>`.

Signs of life that are repeated, and never a lock: who divides a limit by them may be wrong for some seconds,
and the provider's answers are obeyed all the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from prefect_imagine.stores import Store

GONE_AFTER = 35.0
"""Seconds without a sign of life after which a machine counts as gone."""
_TIDY_AFTER = 3600.0
_MOST = 10_000
"""Signs that are read of one account: more are none of machines."""


@dataclass(frozen=True)
class Users:
    """Who creates with an account.

    Attributes:
        machines: how many do, with this one.
        window: the longest rate-limit window that any of them has seen, in whole seconds.
    """

    machines: int
    window: int


def meet(store: Store, identity: str, machine: str, window: float) -> Users:
    """Give a sign of life, and say who else has given one lately. Raises `StoreError`.

    Args:
        machine: a name of this machine's own, without `~` and `/`.
        window: the longest that it has seen, in seconds.
    """
    own = _key(identity, machine, round(window))
    store.put(own, b"")
    now = store.now()
    windows = {machine: round(window)}
    for count, sign in enumerate(store.list(_folder(identity))):
        if count >= _MOST:
            break
        name, has_window, seen = sign.key.rpartition("/")[2].partition("~")
        age = now - sign.modified
        if (name == machine and sign.key != own) or age > _TIDY_AFTER:
            store.delete(sign.key)
        elif age < GONE_AFTER and has_window and seen.isdecimal():
            windows[name] = max(int(seen), windows.get(name, 0))
    return Users(len(windows), max(windows.values()))


def part(store: Store, identity: str, machine: str, window: float) -> None:
    """Take one's last sign of life back: this machine creates nothing more. Raises `StoreError`."""
    store.delete(_key(identity, machine, round(window)))


def _folder(identity: str) -> str:
    return f".imagine/users/{identity}/"


def _key(identity: str, machine: str, window: int) -> str:
    return f"{_folder(identity)}{machine}~{window}"
