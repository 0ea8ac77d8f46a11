"""The example prompts over all providers and kinds: what is stored and billed is what the books say."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from prefect_imagine.sandbox import PROVIDERS, RunningSandbox
from prefect_imagine.stores import Store, open_store
from tests.cli.commands import Ended, Shell, assert_contract, requests

EXAMPLES = str(files("prefect_imagine.cli") / "prompts.csv")
PRICES = ("--price", "blockadelabs=2", "--price", "imagineapi=3", "--price", "imagineapi:midjourney=4")


@dataclass(frozen=True)
class Run:
    """A run over the example prompts, and the books right after it."""

    ended: Ended
    books: dict[str, Any]
    output: str
    root: str
    store: Store

    @property
    def batch_id(self) -> str:
        return str(self.ended.last["batch_id"])

    @property
    def manifest(self) -> list[dict[str, Any]]:
        data = self.store.read(f"{self.batch_id}/manifest.jsonl")
        assert data is not None
        return [json.loads(line) for line in data.splitlines()]


@pytest.fixture(scope="module", params=["folder", pytest.param("s3", marks=pytest.mark.long)])
def run(request: pytest.FixtureRequest, shell: Shell, providers: RunningSandbox) -> Iterator[Run]:
    providers.reset()
    output = "pictures" if request.param == "folder" else f"s3://{request.getfixturevalue('bucket')}/a/b"
    ended = shell.run("generate", EXAMPLES, "--output", output, *PRICES, "--json")
    root = output if "://" in output else str(shell.folder / output)
    with pytest.MonkeyPatch.context() as environment:
        for name, value in shell.environment.items():
            environment.setenv(name, value)
        with closing(open_store(root)) as store:
            yield Run(ended, providers.report(), output, root, store)


def test_everything_is_stored_and_said(run: Run) -> None:
    assert run.ended.code == 0, run.ended.stderr
    found = assert_contract(run.ended)
    assert found["items"] == {
        "total": 24,
        "stored": 24,
        "failed": 0,
        "unknown": 0,
        "under_way": 0,
        "planned": 0,
        "withdrawn": 0,
    }
    assert found["error"] is None
    assert found["requests"]["create"] == 24 == len(run.books["jobs"])
    assert found["manifest"] == f"{run.root}/{run.batch_id}/manifest.jsonl"
    assert found["report"] == f"{run.root}/{run.batch_id}/report.html"
    assert run.batch_id == "prompts"


def test_every_kind_of_output_is_the_provider_s_to_the_byte(run: Run) -> None:
    jobs = {job["id"]: job for job in run.books["jobs"]}
    assert {job["kind"] for job in jobs.values()} == {
        "image",
        "video",
        "voice",
        "music",
        "infographic",
        "text",
    }
    assert len(run.manifest) == len(jobs) == 24
    for item in run.manifest:
        told = sorted(output["sha256"] for output in jobs[item["id"]]["outputs"])
        assert sorted(output["sha256"] for output in item["outputs"]) == told
        for output in item["outputs"]:
            data = run.store.read(f"{run.batch_id}/{output['key']}")
            assert data is not None
            assert hashlib.sha256(data).hexdigest() == output["sha256"]
            assert len(data) == output["bytes"]


def test_the_bill_is_the_books(run: Run) -> None:
    credits = run.ended.last["credits"]
    charged = run.books["charged"]
    assert credits["charged"] == charged["imaginelab"] + charged["aivisualstudio"]
    assert credits["estimated"] == 4 * 2 + 5 * 4
    assert run.ended.last["unpriced_items"] == 0
    usage = json.loads(run.store.read(f"{run.batch_id}/usage.json") or b"")
    billed = {line["name"]: line["charged"] for line in usage["by_provider"]}
    assert billed == {**charged, "blockadelabs": 0, "imagineapi": 0}
    assert [change["verdict"] for change in usage["balances"]] == ["explained"]


def test_the_providers_got_what_the_rows_say(run: Run) -> None:
    prompts = Counter(job["prompt"].partition(" --")[0] for job in run.books["jobs"])
    assert prompts["Linocut of a fox under birches, black and one colour"] == 2
    assert "Isometric observatory on a cliff, blue hour, pastel colours" in prompts
    assert not any("{" in prompt for prompt in prompts)
    assert run.books["credential_leaks"] == 0


def test_nothing_but_a_batch_is_left(run: Run) -> None:
    keys = [each.key.removeprefix(f"{run.batch_id}/") for each in run.store.list(f"{run.batch_id}/")]
    kinds = Counter(key.partition("/")[0] for key in keys)
    files = {
        "plan.jsonl",
        "lease.json",
        "manifest.jsonl",
        "usage.json",
        "report.html",
        "settled.json",
        "batch.json",
    }
    assert set(kinds) == {*files, "journal", "outputs"}
    assert sorted(run.store.folders("")) == [".imagine", run.batch_id]
    index = [each.key.removeprefix(".imagine/") for each in run.store.list(".imagine/")]
    of_keys = {
        folder: {key for key in index if key.startswith(f"{folder}/")} for folder in ("accounts", "rates")
    }
    for kept in of_keys.values():
        assert {key.partition("/")[2].rpartition("-")[0] for key in kept} == set(PROVIDERS)
    others = [
        key.rpartition("/")[2].rpartition("~")[2] for key in index if not any(map(key.startswith, of_keys))
    ]
    assert others == ["index.json", run.batch_id]


@pytest.fixture
def keyless(shell: Shell, bare_shell: Shell, providers: RunningSandbox) -> Shell:
    """The same shell without keys, and with a Prefect server that does not exist."""
    environment = {**shell.environment, "PREFECT_API_URL": bare_shell.environment["PREFECT_API_URL"]}
    for name in providers.environment:
        del environment[name]
    return replace(bare_shell, folder=shell.folder, environment=environment)


def test_again_costs_no_request_and_needs_no_key(run: Run, keyless: Shell, providers: RunningSandbox) -> None:
    before = requests(providers)
    words = ("generate", EXAMPLES, "--output", run.output, *PRICES, "--json")
    again = keyless.run(*words)
    assert again.code == 0
    nothing = {"requests": dict.fromkeys(run.ended.last["requests"], 0)}
    assert run.ended.last["plan"] == {"new": 24, "kept": 0, "withdrawn": 0}
    assert again.last == {**run.ended.last, **nothing, "plan": {"new": 0, "kept": 24, "withdrawn": 0}}
    assert requests(providers) == before


@pytest.mark.parametrize("command", ["status", "report", "resume", "reconcile", "cancel"])
def test_a_finished_batch_is_found_by_its_address_without_a_key(
    run: Run, keyless: Shell, providers: RunningSandbox, command: str
) -> None:
    before = requests(providers)
    ended = keyless.run(command, f"{run.root}/{run.batch_id}/", "--json")
    assert ended.code == 0, ended.stderr
    assert assert_contract(ended)["items"] == run.ended.last["items"]
    assert requests(providers) == before


def test_a_presigned_report_links_what_anyone_can_open(run: Run, shell: Shell) -> None:
    import urllib.request

    ended = shell.run("report", run.batch_id, "--output", run.output, "--presign", "--json")
    assert ended.code == 0, ended.stderr
    report = assert_contract(ended)["report"]
    if report.startswith("http"):
        with urllib.request.urlopen(report) as answer:
            page = answer.read().decode()
        assert page.count("X-Amz-Signature") >= 24
    else:
        page = Path(report).read_text()
    for item in run.manifest:
        assert item["request"]["prompt"].partition(",")[0] in page
