"""`generate --fleet` where the pool has no worker."""

from __future__ import annotations

import asyncio

import pytest

from prefect_imagine.sandbox import RunningSandbox
from tests.cli.commands import Shell
from tests.flows.fleets import made_pool

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("prefect_server")]


def test_a_pool_without_a_worker_is_told_and_the_batch_waits(shell: Shell, providers: RunningSandbox) -> None:
    root = shell.folder / "waits"
    pool = asyncio.run(made_pool(root))
    file = shell.write("waits.txt", "a heron\na pond\n")
    words = ("generate", file, "--provider", "imaginelab", "--output", root, "--fleet", pool.name)
    ended = shell.run(*words, "--json")
    assert ended.code == 0, ended.stderr
    assert (ended.last["submitted"], ended.last["items"]["planned"]) == (True, 2)
    assert f"prefect worker start --pool {pool.name}" in ended.stderr
    again = shell.run(*words, "--json")
    assert (again.code, again.last["batch_id"]) == (4, ended.last["batch_id"]), again.stderr
    assert again.last["error"] in again.stderr
    assert "is being run by 1 run on pool" in again.stderr
    assert providers.report()["jobs"] == []
