"""The contract of providers, on the four built-in ones. Each is described from the pages of its API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefect_imagine.providers.apis import aivisualstudio, blockadelabs, imagineapi, imaginelab
from prefect_imagine.providers.models import GenerationStatus
from prefect_imagine.testing import Asked, Job, ProviderContract, Reply

ENDED = {GenerationStatus.SUCCEEDED: "completed", GenerationStatus.FAILED: "failed"}


class TestImagineLab(ProviderContract):
    """The page "Dev Docs"."""

    spec = imaginelab.SPEC
    creates = "POST /generations"
    reads = "GET /generations/{id}"
    lists = "GET /generations"
    checks = "GET /auth/me"
    model = "seedream-5.0-lite"

    def record(self, job: Job) -> Reply:
        """Page: Fetch the result."""
        return Reply(
            {
                "id": job.id,
                "generation_type": "image",
                "model_name": self.model,
                "prompt": job.prompt,
                "status": ENDED.get(job.status, "processing"),
                "credit_cost": 5,
                "outputs": [job.output] if job.status is GenerationStatus.SUCCEEDED else [],
                "error_message": job.error,
                "created_at": job.created_at.isoformat(),
            }
        )


class TestBlockadeLabs(ProviderContract):
    """The pages of the API of Blockade Labs, v1."""

    spec = blockadelabs.SPEC
    creates = "POST /imagine/requests"
    reads = "GET /imagine/requests/{id}"
    lists = "GET /imagine/myRequests"
    model = "stable-skybox"

    def record(self, job: Job) -> Reply:
        """Page: Get Imagine by id."""
        statuses = {GenerationStatus.SUCCEEDED: "complete", GenerationStatus.FAILED: "error"}
        return Reply(
            {
                "response": {
                    "id": int(job.id),
                    "generator": self.model,
                    "generator_data": {"prompt": job.prompt},
                    "status": statuses.get(job.status, "processing"),
                    "file_url": job.output if job.status is GenerationStatus.SUCCEEDED else "",
                    "error_message": job.error,
                    "created_at": job.created_at.isoformat(),
                }
            }
        )

    def listing(self, jobs: Sequence[Job], asked: Asked) -> Reply:
        """Page: Get Imagine History; `offset` is the page's number."""
        size = int(asked.query["limit"])
        start = size * int(asked.query.get("offset", 0))
        rows = [self.record(job).body["response"] for job in jobs[start : start + size]]
        return Reply({"data": rows, "totalCount": len(jobs), "has_more": start + size < len(jobs)})


class TestImagineAPI(ProviderContract):
    """The pages of ImagineAPI: Directus."""

    spec = imagineapi.SPEC
    creates = "POST /items/images"
    reads = "GET /items/images/{id}"
    lists = "GET /items/images"

    def mark_of(self, asked: Asked) -> str | None:
        """The field `ref`."""
        return asked.body.get("ref")

    def record(self, job: Job) -> Reply:
        """Page: Get an image."""
        return Reply({"data": self._row(job)})

    def listing(self, jobs: Sequence[Job], asked: Asked) -> Reply:
        """Page: Get images; filters and `limit=-1` are those of Directus."""
        wanted = asked.query.get("filter[id][_in]")
        prompt = asked.query.get("filter[prompt][_eq]")
        rows = [
            job
            for job in jobs
            if (wanted is None or job.id in wanted.split(",")) and prompt in (None, job.prompt)
        ]
        whole = asked.query.get("limit") == "-1"
        return Reply({"data": [self._row(job) for job in (rows if whole else self.sliced(rows, asked))]})

    def _row(self, job: Job) -> dict[str, Any]:
        ended = job.status is GenerationStatus.SUCCEEDED
        return {
            "id": job.id,
            "prompt": job.prompt,
            "ref": job.mark,
            "status": ENDED.get(job.status, "in-progress"),
            "progress": None if job.status.terminal else 40,
            "url": None,
            "upscaled_urls": [job.output] if ended else None,
            "error": job.error,
            "date_created": job.created_at.isoformat(),
        }


class TestAIVisualStudio(ProviderContract):
    """The API documentation of AI Visual Studio, v1."""

    spec = aivisualstudio.SPEC
    creates = "POST /generate/image"
    reads = "GET /generations/{id}"
    lists = "GET /generations"
    model = "prunaai/z-image-turbo"

    def record(self, job: Job) -> Reply:
        """Page: Get Single Generation."""
        return Reply({"data": self._row(job)})

    def listing(self, jobs: Sequence[Job], asked: Asked) -> Reply:
        """Page: List Generations."""
        rows = [self._row(job) for job in self.sliced(jobs, asked)]
        return Reply({"data": rows, "total": len(jobs)})

    def _row(self, job: Job) -> dict[str, Any]:
        return {
            "id": job.id,
            "type": "image",
            "model": self.model,
            "prompt": job.prompt,
            "status": ENDED.get(job.status, "processing"),
            "credits_charged": 5,
            "output_urls": [job.output] if job.status is GenerationStatus.SUCCEEDED else [],
            "error": job.error,
            "created_at": job.created_at.isoformat(),
        }
