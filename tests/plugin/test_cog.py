"""The example plug-in as its user has it: installed into a fresh environment, with a real Cog server."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
import venv
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

pytestmark = pytest.mark.long
PLUGIN = Path(__file__).parents[2] / "examples" / "plugin"
START_SECONDS = 120.0
PROMPTS = "prompt,seed\na lake,1\na hill,2\na lake,1\nrefuse,\n"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh environment above this one, with the plug-in installed."""
    folder = tmp_path_factory.mktemp("plugin") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    names = {"base": str(folder), "platbase": str(folder)}
    packages = Path(sysconfig.get_path("purelib", "venv", vars=names))
    # What is installed here is there too, editable packages included.
    (packages / "above.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    built = tmp_path_factory.mktemp("source")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    for step in (
        ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(built), str(PLUGIN)],
        [
            "install",
            "--no-deps",
            "--no-index",
            "--target",
            str(packages),
            "--find-links",
            str(built),
            "imagine-cog",
        ],
    ):
        subprocess.run([*pip, *step], check=True, capture_output=True, timeout=300)
    return folder / "bin"


@pytest.fixture(scope="module")
def cog_server(environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Cog server with the example's model."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    log = tmp_path_factory.mktemp("cog") / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [environment / "python", "-m", "cog.server.http", "--host", "127.0.0.1"],
            cwd=PLUGIN / "model",
            env={
                **os.environ,
                "PATH": f"{environment}:{os.environ['PATH']}",
                "PORT": str(port),
                "COG_PREDICT_TYPE_STUB": "predict.py:Colour",
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(url, log)
        yield url
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_ready(url: str, log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        with suppress(OSError), urllib.request.urlopen(f"{url}/health-check", timeout=5) as answer:
            if json.load(answer)["status"] == "READY":
                return
        time.sleep(0.2)
    raise AssertionError(log.read_text())


def command(
    environment: Path, cog_server: str, folder: Path, prefect: Mapping[str, str], *words: str
) -> tuple[int, str, str]:
    """Run the command line as somebody who has installed the plug-in does."""
    ended = subprocess.run(
        [environment / "python", "-m", "prefect_imagine", *words],
        cwd=folder,
        env={**os.environ, **prefect, "COG_BASE_URL": cog_server},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    return ended.returncode, ended.stdout, ended.stderr


def test_an_installed_plug_in_is_a_provider_like_the_others(
    environment: Path, cog_server: str, tmp_path: Path, prefect_environment: Mapping[str, str]
) -> None:
    def run(*words: str) -> tuple[int, str, str]:
        return command(environment, cog_server, tmp_path, prefect_environment, *words)

    code, stdout, stderr = run("models", "cog", "--json")
    assert code == 0, stderr
    assert [model["id"] for model in json.loads(stdout.splitlines()[-1])["models"]] == ["cog"]

    (tmp_path / "prompts.csv").write_text(PROMPTS)
    generate = ("generate", "prompts.csv", "--provider", "cog", "--json")
    code, stdout, stderr = run(*generate)
    made = json.loads(stdout.splitlines()[-1])
    assert (code, made["items"]["stored"], made["items"]["failed"]) == (1, 3, 1), stderr
    assert "this prompt is refused" in stderr
    stored = [json.loads(line) for line in Path(made["manifest"]).read_text().splitlines()]
    assert [row["status"] for row in stored].count("stored") == 3
    pictures = sorted((tmp_path / "outputs" / made["batch_id"] / "outputs").iterdir())
    assert [path.read_bytes()[:4] for path in pictures] == [b"\x89PNG"] * 3

    code, stdout, _ = run(*generate)
    again = json.loads(stdout.splitlines()[-1])
    assert (again["batch_id"], again["items"], sum(again["requests"].values())) == (
        made["batch_id"],
        made["items"],
        0,
    )
