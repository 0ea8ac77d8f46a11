"""A receiver of webhooks as a process, beside runs that let their jobs go."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from prefect_imagine.sandbox import RunningSandbox
from tests.cli.commands import Shell, until
from tests.cli.test_collect import SECRET, rows
from tests.conftest import KINDS

pytestmark = pytest.mark.long


@contextmanager
def receiver(shell: Shell, root: str, **environment: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A receiver as a process, and its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ("webhooks", "serve", "--port", str(port), "--output", root, "--wake", "none")
    process = shell.start(*words, **SECRET, **environment)
    address = f"http://127.0.0.1:{port}"

    def is_up() -> bool:
        assert process.poll() is None, shell.end(process).stderr
        try:
            return httpx.get(f"{address}/health").status_code == 200
        except httpx.HTTPError:
            return False

    try:
        until(is_up)
        yield process, address
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGTERM)
            shell.end(process)


def test_deliveries_are_collected_without_asking(shell: Shell, providers: RunningSandbox) -> None:
    providers.configure(latency=dict.fromkeys(KINDS, (25.0, 30.0)))
    registered = shell.run("webhooks", "register", "http://127.0.0.1:9/aivisualstudio", "--json")
    hook, secret = registered.last["webhook"]["id"], registered.last["secret"]
    inbox = shell.folder / "told" / ".imagine" / "inbox"
    with receiver(shell, "told", AIVISUALSTUDIO_WEBHOOK_SECRET=secret) as (process, address):
        assert shell.run("webhooks", "update", hook, "--url", f"{address}/aivisualstudio").code == 0
        words = (
            "generate",
            rows(shell, "told"),
            "--detach",
            "--output",
            "told",
            "--webhook-url",
            address,
            "--json",
        )
        submitted = shell.run(*words, **SECRET)
        assert submitted.code == 0, submitted.stderr
        assert submitted.last["submitted"], "the machine is too slow for jobs of half a minute"
        until(lambda: len(list(inbox.glob("told~*.json"))) == submitted.last["items"]["under_way"])
        os.kill(process.pid, signal.SIGKILL)
        shell.end(process)
    before = providers.books.requests["aivisualstudio"].copy()
    found = shell.run("collect", "--output", "told", "--json")
    assert found.last["batches"][0]["closed"], found.stderr
    asked = providers.books.requests["aivisualstudio"] - before
    assert {name: count for name, count in asked.items() if name != "media"} == {}
    assert not list(inbox.glob("told~*.json"))
