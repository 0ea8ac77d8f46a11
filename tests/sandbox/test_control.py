"""Books, settings and faults over HTTP, and a sandbox that leaves nothing behind."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

import prefect_imagine.sandbox
from prefect_imagine.sandbox import PROVIDERS, RunningSandbox, Sandbox, SandboxSettings, running_sandbox

from .callers import CREATES, Callers


def test_books_tell_everything(callers: Callers, sandbox: RunningSandbox, http: httpx.Client) -> None:
    ids = {provider: callers.made(provider, "same") for provider in CREATES}
    callers.made("imagineapi", "same", ref="r")
    sandbox.advance(11)
    books = http.get(f"{sandbox.url}/_sandbox/books").json()
    assert books["charged"] == {"imaginelab": 5, "blockadelabs": 1, "imagineapi": 2, "aivisualstudio": 5}
    assert books["by_prompt"]["imagineapi"] == {"same": 2}
    assert books["requests"]["imagineapi"]["create"] == 2
    assert books["peak"]["running_jobs"]["imagineapi"] == 2
    assert {job["provider"]: job["id"] for job in books["jobs"][:4]} == ids
    last = books["jobs"][-1]
    assert (last["ref"], last["status"], last["credits"], last["refunded"]) == ("r", "succeeded", 1, False)
    assert len(last["outputs"]) == 4
    assert set(last["outputs"][0]) == {"url", "sha256", "bytes", "media_type"}
    assert "jobs" not in http.get(f"{sandbox.url}/_sandbox/books", params={"jobs": 0}).json()
    count = http.get(f"{sandbox.url}/_sandbox/count").json()
    assert count == {"jobs": 5, "by_provider": {**dict.fromkeys(PROVIDERS, 1), "imagineapi": 2}}


def test_settings_over_http(sandbox: RunningSandbox, http: httpx.Client) -> None:
    url = f"{sandbox.url}/_sandbox/settings"
    change = {"latency": {"image": [0, 0]}, "rate_limits": {"aivisualstudio": {"limit": 5}}}
    changed = http.patch(url, json=change).json()
    assert changed == http.get(url).json()
    assert changed["latency"]["image"] == [0.0, 0.0]
    assert changed["latency"]["video"] == [10.0, 10.0]
    assert changed["rate_limits"]["aivisualstudio"]["headers"] is True
    assert sandbox.settings.rate_limits["aivisualstudio"].limit == 5


@pytest.mark.parametrize(
    "wrong", [{"nonesuch": 1}, {"history_mode": "odd"}, {"rate_limits": {"x": {}}}, {"seed": "x"}, []]
)
def test_wrong_settings_are_refused(sandbox: RunningSandbox, http: httpx.Client, wrong: object) -> None:
    before = sandbox.settings
    assert http.patch(f"{sandbox.url}/_sandbox/settings", json=wrong).status_code == 400
    assert sandbox.settings is before


def test_faults_over_http(callers: Callers, sandbox: RunningSandbox, http: httpx.Client) -> None:
    url = f"{sandbox.url}/_sandbox/faults"
    assert http.post(url, json=[{"fault": "slow"}, {"fault": "nonesuch"}]).status_code == 400
    assert http.get(url).json() == []
    http.post(url, json={"fault": "error_before", "on": "create"})
    assert callers.create("imagineapi").status_code == 500
    assert http.get(url).json()[0]["hits"] == 1
    assert http.delete(url).json() == []
    assert callers.create("imagineapi").is_success


def test_advance_and_reset(callers: Callers, sandbox: RunningSandbox, http: httpx.Client) -> None:
    job = callers.made("aivisualstudio")
    http.post(f"{sandbox.url}/_sandbox/advance", json={"seconds": 11})
    assert callers.read("aivisualstudio", job)["status"] == "completed"
    assert http.post(f"{sandbox.url}/_sandbox/reset").json()["jobs"] == 0
    assert callers.listed("aivisualstudio") == []
    assert callers.create("aivisualstudio").headers["X-RateLimit-Remaining"] == "58"


def test_durations_follow_the_seed(callers: Callers, sandbox: RunningSandbox) -> None:
    sandbox.configure(latency={"image": (1, 9)})

    def durations() -> list[float]:
        sandbox.reset()
        for provider in CREATES:
            callers.made(provider)
        return [job.duration for job in sandbox.books.jobs]

    first = durations()
    assert first == durations()
    assert len(set(first)) == 4


def test_environment_names_every_provider(sandbox: RunningSandbox) -> None:
    assert set(sandbox.environment) == {
        "IMAGINELAB_EMAIL",
        "IMAGINELAB_PASSWORD",
        "IMAGINELAB_BASE_URL",
        "BLOCKADELABS_API_KEY",
        "BLOCKADELABS_BASE_URL",
        "IMAGINEAPI_TOKEN",
        "IMAGINEAPI_BASE_URL",
        "AIVISUALSTUDIO_API_KEY",
        "AIVISUALSTUDIO_BASE_URL",
    }
    assert sandbox.environment["IMAGINEAPI_BASE_URL"] == f"http://127.0.0.1:{sandbox.port}/imagineapi"


def test_a_further_account_has_keys_of_its_own(sandbox: RunningSandbox) -> None:
    first, second = sandbox.environment, sandbox.environment_of("second")
    assert {name for name in first if first[name] != second[name]} == {
        "IMAGINELAB_EMAIL",
        "BLOCKADELABS_API_KEY",
        "IMAGINEAPI_TOKEN",
        "AIVISUALSTUDIO_API_KEY",
    }
    assert second["IMAGINELAB_EMAIL"] == "you+second@example.com"
    assert second["IMAGINEAPI_TOKEN"] == "imagineapi-sandbox-second"


def test_nothing_is_left_behind() -> None:
    before = threading.active_count()
    with running_sandbox() as running, httpx.Client(trust_env=False) as client:
        assert client.get(f"{running.url}/_sandbox/count").is_success
    assert threading.active_count() == before
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{running.url}/_sandbox/count", trust_env=False)


def test_a_taken_port_is_an_error(sandbox: RunningSandbox) -> None:
    with pytest.raises(RuntimeError, match="did not start"), running_sandbox(port=sandbox.port):
        pass


def test_serving_in_an_event_loop() -> None:
    async def count() -> int:
        async with Sandbox(SandboxSettings()).serve() as running, httpx.AsyncClient() as client:
            jobs: int = (await client.get(f"{running.url}/_sandbox/count")).json()["jobs"]
            return jobs

    assert asyncio.run(count()) == 0


@pytest.fixture(scope="module")
def printed() -> list[str]:
    """What the program prints before it serves; it ends on SIGTERM."""
    command = [sys.executable, "-c", "from prefect_imagine.sandbox import main; main()"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("# books: http://127.0.0.1:"):
                break
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    return lines


def test_what_is_printed_is_an_environment_file(printed: list[str], sandbox: RunningSandbox) -> None:
    settings = [line.rstrip().split("=", 1) for line in printed if not line.startswith("#")]
    assert [name for name, _ in settings] == list(sandbox.environment)
    assert ["IMAGINELAB_EMAIL", "you@example.com"] in settings


def test_what_is_printed_can_be_sourced(printed: list[str], tmp_path: Path) -> None:
    file = tmp_path / "imagine.env"
    file.write_text("".join(printed))
    command = ["sh", "-ec", f"set -a; . {file}; set +a; printenv IMAGINEAPI_TOKEN"]
    assert subprocess.check_output(command, text=True) == "imagineapi-sandbox\n"


def test_public_names_are_listed() -> None:
    names = prefect_imagine.sandbox.__all__
    assert names == sorted(names, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    assert all(hasattr(prefect_imagine.sandbox, name) for name in names)
