"""`metrics`: served to whoever scrapes, or written into a file, without a key and a Prefect server."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.cli.commands import END_SECONDS, Ended, Shell


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A shell with no key, no Prefect server, and one batch."""
    folder = tmp_path_factory.mktemp("alone")
    nowhere = {"PREFECT_API_URL": "http://127.0.0.1:9/api", "PREFECT_HOME": "/dev/null/prefect"}
    return Shell(folder, {**nowhere, "HOME": str(folder / "home")})


@contextmanager
def serving(shell: Shell, *words: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """An exporter that runs, and where."""
    process = shell.start("metrics", "serve", "--port", "0", *words)
    assert process.stderr is not None
    try:
        said = process.stderr.readline().decode()
        found = re.match(r"(http://\S+)/metrics has the figures of the batches under (\S+)", said)
        assert found is not None, said
        yield found[1], process
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=END_SECONDS)
    assert (process.returncode, errors) == (-signal.SIGTERM, b""), "as uvicorn ends"


def test_it_serves_until_it_is_told_to_stop(alone: Shell) -> None:
    with serving(alone) as (address, _):
        answer = httpx.get(f"{address}/metrics", timeout=60)
        assert answer.status_code == 200
        assert "imagine_active_batches 0.0" in answer.text.splitlines()
        assert httpx.get(f"{address}/health", timeout=60).json() == {"status": "ok"}
        assert httpx.get(f"{address}/", timeout=60).status_code == 404


def test_a_store_that_is_not_there_is_a_failed_scrape(alone: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    nowhere = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
    }
    shell = Shell(alone.folder, {**alone.environment, **nowhere})
    with serving(shell, "--output", "s3://bucket/art") as (address, _):
        answer = httpx.get(f"{address}/metrics", timeout=90)
    assert answer.status_code == 503
    assert "s3://bucket" in answer.text
    ended = shell.run("metrics", "write", "new.prom", "--output", "s3://bucket/art")
    assert (ended.code, len(ended.errors)) == (5, 1)
    assert not (shell.folder / "new.prom").exists()


def test_the_log_names_a_batch_that_cannot_be_read(alone: Shell, tmp_path: Path) -> None:
    (tmp_path / "root" / "bad").mkdir(parents=True)
    (tmp_path / "root" / "bad" / "plan.jsonl").write_text("no plan\n")
    ended = alone.run("metrics", "write", tmp_path / "m.prom", "--output", tmp_path / "root")
    assert ended.code == 0
    assert "batch bad cannot be read: the plan of " in ended.stderr
    assert "imagine_unreadable_batches 1.0" in (tmp_path / "m.prom").read_text()


def test_a_file_is_written_whole(alone: Shell) -> None:
    file = alone.folder / "imagine.prom"
    file.write_text("older")
    ended = alone.run("metrics", "write", file)
    assert (ended.code, ended.errors) == (0, [])
    assert file.read_text().startswith("# HELP imagine_credits_charged_total ")
    assert oct(file.stat().st_mode & 0o444) == oct(0o444), "node-exporter is another user"
    assert [path.name for path in alone.folder.iterdir() if "prom" in path.name] == ["imagine.prom"]


def assert_refused(ended: Ended, says: str) -> None:
    assert (ended.code, ended.stdout, len(ended.errors)) == (2, "", 1)
    assert says in ended.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["write", "nowhere/imagine.prom"], "cannot be written: No such file or directory"),
        (["write"], "FILE is missing"),
        (["serve", "--port", "99999"], "is no port"),
        (["serve", "--output", ""], "--output is empty"),
        ([], "COMMAND is missing, one of serve, write"),
    ],
)
def test_what_cannot_be_done_is_said(alone: Shell, words: list[str], says: str) -> None:
    assert_refused(alone.run("metrics", *words), says)


def test_a_port_that_is_taken_is_said(alone: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert_refused(alone.run("metrics", "serve", "--port", port), "cannot be listened on")
