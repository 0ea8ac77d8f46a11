"""The books as JSON, with the exact sums of every file a job produced."""

from __future__ import annotations

import hashlib
from typing import Any

from prefect_imagine.sandbox.core.books import OPERATIONS, Job
from prefect_imagine.sandbox.core.outputs import Origins, listed_outputs, output_json, text_of
from prefect_imagine.sandbox.core.settings import PROVIDERS
from prefect_imagine.sandbox.core.world import World


class Report:
    """Reads the books at one moment. Files' sums are computed here, and kept for the next reading."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.origins = Origins("", "")

    def books(self, jobs: bool = True, sums: bool = True, provider: str | None = None) -> dict[str, Any]:
        """Everything; without `jobs` cheap; without `sums` outputs have their addresses only."""
        books, now = self._world.books, self._world.clock.now()
        report: dict[str, Any] = {
            "charged": books.charged(now),
            "accounts": self._accounts(now),
            "by_prompt": {name: dict(counts) for name, counts in books.by_prompt.items()},
            "requests": {name: self._requests(name) for name in PROVIDERS},
            "webhooks": self.webhooks(),
            "credential_leaks": books.credential_leaks,
            "peak": {
                "requests": {name: books.peak_in_flight[name] for name in PROVIDERS},
                "running_jobs": books.peak_running(now),
            },
        }
        if jobs:
            wanted = [job for job in list(books.jobs) if provider in (None, job.provider)]
            report["jobs"] = [self.job(job, now, sums) for job in wanted]
        return report

    def count(self) -> dict[str, Any]:
        accepted = self._world.books.accepted
        by_provider = {provider: accepted[provider] for provider in PROVIDERS}
        return {"jobs": sum(by_provider.values()), "by_provider": by_provider}

    def webhooks(self) -> dict[str, dict[str, Any]]:
        """What has been delivered, by provider."""
        return {name: tally.as_json() for name, tally in self._world.deliveries.tallies.items()}

    def _accounts(self, now: float) -> dict[str, dict[str, dict[str, int]]]:
        """How many jobs each account has had made, and what they cost, by provider and the account's name."""
        found: dict[str, dict[str, dict[str, int]]] = {provider: {} for provider in PROVIDERS}
        for job in list(self._world.books.jobs):
            line = found[job.provider].setdefault(job.account, {"jobs": 0, "charged": 0})
            line["jobs"] += 1
            line["charged"] += job.credits(now)
        return found

    def _requests(self, provider: str) -> dict[str, int]:
        counted = self._world.books.requests[provider]
        return {name: counted[name] for name in (*OPERATIONS, "rate_limited")}

    def job(self, job: Job, now: float, sums: bool = True) -> dict[str, Any]:
        phase, charged = job.phase(now), job.credits(now)
        return {
            "provider": job.provider,
            "account": job.account,
            "id": job.id,
            "kind": job.order.kind,
            "model": job.order.model,
            "prompt": job.prompt,
            "ref": job.order.ref,
            "settings": dict(job.order.settings),
            "credits": charged,
            "credits_at_create": job.price,
            "refunded": charged != job.price,
            "status": phase,
            "error": job.order.error if phase == "failed" else None,
            "deleted": job.deleted,
            "created_at": job.created_at,
            "finished_at": job.finished_at(now),
            "outputs": self._outputs(job, sums) if phase == "succeeded" else [],
        }

    def _outputs(self, job: Job, sums: bool) -> list[dict[str, Any]]:
        text = text_of(job)
        if text is not None:
            return [{"text": text, "sha256": hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()}]
        files = listed_outputs(job, self._world.settings.imagineapi_upscales)
        if not sums:
            return [{"url": self.origins.url(job, one)} for one in files]
        return [output_json(one, self.origins.url(job, one)) for one in files]
