"""Signs of life of the machines that create with one key."""

from __future__ import annotations

import os
from pathlib import Path

from prefect_imagine.batches.accounts.users import GONE_AFTER, Users, meet, part
from prefect_imagine.stores import open_store


def aged(root: Path, machine: str, seconds: float) -> None:
    """Let a machine's sign of life have been given so long ago."""
    for sign in root.glob(f".imagine/users/key/{machine}~*"):
        then = sign.stat().st_mtime - seconds
        os.utime(sign, (then, then))


def signs(root: Path) -> list[str]:
    return sorted(path.name for path in root.glob(".imagine/users/key/*"))


def test_all_who_meet_know_of_each_other(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    assert meet(store, "key", "a", 0.0) == Users(1, 0)
    assert meet(store, "key", "b", 59.6) == Users(2, 60)
    assert meet(store, "key", "a", 2.0) == Users(2, 60)
    assert meet(store, "another", "c", 0.0) == Users(1, 0)


def test_a_machine_is_counted_once_whatever_it_has_seen(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    for window in (1.0, 30.0, 60.0):
        meet(store, "key", "a", window)
    assert signs(tmp_path) == ["a~60"]
    assert meet(store, "key", "b", 1.0).machines == 2


def test_who_parts_and_who_is_silent_are_counted_no_longer(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    for machine in "abc":
        meet(store, "key", machine, 60.0)
    part(store, "key", "b", 60.0)
    aged(tmp_path, "c", GONE_AFTER + 2)
    assert meet(store, "key", "a", 60.0) == Users(1, 60)
    meet(store, "key", "c", 60.0)
    assert meet(store, "key", "a", 60.0).machines == 2


def test_signs_of_the_dead_do_not_pile_up(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    for machine in "abc":
        meet(store, "key", machine, 60.0)
        aged(tmp_path, machine, 4000.0)
    meet(store, "key", "d", 60.0)
    assert signs(tmp_path) == ["d~60"]


def test_what_is_no_sign_disturbs_nobody(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    for name in ("odd", "odd~", "odd~er", "~"):
        store.put(f".imagine/users/key/{name}", b"?")
    assert meet(store, "key", "a", 5.0) == Users(1, 5)
