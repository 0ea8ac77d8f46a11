"""Holds a batch on its store against the provider's own books: the measure of every test that kills."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from prefect_imagine.stores import Store

TELLING = ("imaginelab", "aivisualstudio")
"""Providers whose records say what a job cost; of the others nothing can be charged, only estimated."""

RequestedItem = Mapping[tuple[str, str], int]
"""How often each (provider, prompt) was asked for."""


class Verdict:
    """What is wrong, by the promise that it breaks."""

    def __init__(self) -> None:
        self.doubles: list[str] = []
        self.lost: list[str] = []
        self.credits: list[str] = []
        self.stray: list[str] = []

    @property
    def problems(self) -> list[str]:
        """Everything that is wrong."""
        return [*self.doubles, *self.lost, *self.credits, *self.stray]


def audit(store: Store, batches: Iterable[str], asked: RequestedItem, books: Mapping[str, Any]) -> Verdict:
    """Hold finished batches of one account against the sandbox's books (`GET /_sandbox/books`)."""
    verdict = Verdict()
    _audit_counts(asked, books["by_prompt"], verdict)
    jobs = {(job["provider"], job["id"]): job for job in books["jobs"]}
    owned: Counter[tuple[str, str]] = Counter()
    charged: defaultdict[str, float] = defaultdict(float)
    for batch in batches:
        items = manifest(store, batch)
        if not items:
            verdict.lost.append(f"{batch} has no manifest")
        for item in items:
            provider, job_id = item["request"]["provider"], item["id"]
            if item["status"] == "withdrawn" and job_id is None:
                continue
            owned[provider, job_id] += 1
            _audit_item(store, batch, item, jobs.get((provider, job_id)), verdict)
        _audit_strays(store, batch, items, verdict)
        for provider, amount in _billed(store, batch).items():
            charged[provider] += amount
    verdict.doubles += [f"job {job} belongs to {times} items" for job, times in owned.items() if times > 1]
    verdict.lost += [f"job {job} of the books belongs to no item" for job in jobs.keys() - owned.keys()]
    for provider in TELLING:
        if charged[provider] != books["charged"][provider]:
            told = books["charged"][provider]
            verdict.credits.append(f"{provider}: {charged[provider]} billed, {told} in the books")
    return verdict


def manifest(store: Store, batch: str) -> list[dict[str, Any]]:
    """The manifest's lines as they stand in the store."""
    data = store.read(f"{batch}/manifest.jsonl") or b""
    return [json.loads(line) for line in data.splitlines()]


def _audit_counts(asked: RequestedItem, accepted: Mapping[str, Mapping[str, int]], verdict: Verdict) -> None:
    found = {(provider, prompt): count for provider, of in accepted.items() for prompt, count in of.items()}
    for provider, prompt in sorted(asked.keys() | found.keys()):
        wanted, there = asked.get((provider, prompt), 0), found.get((provider, prompt), 0)
        message = f"{provider} {prompt!r}: {there} accepted, {wanted} asked for"
        if there > wanted:
            verdict.doubles.append(message)
        elif there < wanted:
            verdict.lost.append(message)


def _audit_item(
    store: Store, batch: str, item: Mapping[str, Any], job: Mapping[str, Any] | None, verdict: Verdict
) -> None:
    where = f"{batch} item {item['index']}"
    if item["status"] != "stored" or job is None:
        verdict.lost.append(f"{where} is {item['status']} with job {item['id']}: {item['error']}")
        return
    if item["request"]["prompt"].strip() != job["prompt"].partition(" --")[0].strip():
        verdict.lost.append(f"{where} asked for {item['request']['prompt']!r} and has {job['prompt']!r}")
    wanted = sorted(output["sha256"] for output in job["outputs"])
    told = sorted(output["sha256"] for output in item["outputs"])
    there = sorted(_sha256(store, f"{batch}/{output['key']}") for output in item["outputs"])
    if not wanted == told == there:
        verdict.lost.append(f"{where}: outputs differ: books {wanted}, manifest {told}, store {there}")


def _audit_strays(store: Store, batch: str, items: list[dict[str, Any]], verdict: Verdict) -> None:
    known = Counter(f"{batch}/{output['key']}" for item in items for output in item["outputs"])
    there = {found.key for found in store.list(f"{batch}/outputs/")}
    verdict.stray += [f"{key} belongs to no item" for key in sorted(there - known.keys())]
    verdict.stray += [f"{key} belongs to {times} outputs" for key, times in known.items() if times > 1]


def _billed(store: Store, batch: str) -> dict[str, float]:
    data = store.read(f"{batch}/usage.json")
    lines = json.loads(data)["by_provider"] if data is not None else []
    return {line["name"]: line["charged"] for line in lines}


def _sha256(store: Store, key: str) -> str:
    data = store.read(key)
    return "absent" if data is None else hashlib.sha256(data).hexdigest()
