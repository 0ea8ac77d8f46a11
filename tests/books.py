"""Holding what a batch says of itself against the sandbox's books."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import Any

from prefect_imagine.sandbox import RunningSandbox
from prefect_imagine.stores import Store


def manifest(store: Store, batch_id: str) -> list[dict[str, Any]]:
    """The manifest's lines."""
    data = store.read(f"{batch_id}/manifest.jsonl")
    assert data is not None
    return [json.loads(line) for line in data.splitlines()]


def assert_stored_exactly(store: Store, batch_id: str, sandbox: RunningSandbox) -> None:
    """Every output of the batch is in the store once, whole and as the provider made it, and nothing else
    lies beside them."""
    made = {
        output["sha256"]
        for job in sandbox.report()["jobs"]
        if job["status"] == "succeeded"
        for output in job["outputs"]
    }
    stored = [output for line in manifest(store, batch_id) for output in line["outputs"]]
    for output in stored:
        data = store.read(f"{batch_id}/{output['key']}")
        assert data is not None, output["key"]
        assert len(data) == output["bytes"]
        assert hashlib.sha256(data).hexdigest() == output["sha256"]
        assert output["sha256"] in made, output["key"]
    keys = [f"{batch_id}/{output['key']}" for output in stored]
    assert len(set(keys)) == len(keys)
    assert sorted(keys) == sorted(found.key for found in store.list(f"{batch_id}/outputs/"))


def assert_paid_once(sandbox: RunningSandbox, asked: Counter[tuple[str, str]]) -> None:
    """Every prompt was accepted exactly as often as it was asked for."""
    accepted = Counter((job["provider"], job["prompt"]) for job in sandbox.report(sums=False)["jobs"])
    assert accepted == asked


def assert_bill_is_exact(store: Store, batch_id: str, sandbox: RunningSandbox) -> None:
    """The bill equals the books: charged where the provider tells, estimated at one credit where not."""
    data = store.read(f"{batch_id}/usage.json")
    assert data is not None
    charged = sandbox.report(jobs=False)["charged"]
    for line in json.loads(data)["by_provider"]:
        told = line["name"] in ("imaginelab", "aivisualstudio")
        assert (line["charged"] if told else line["estimated"]) == charged[line["name"]], line
