"""The contract of providers, on Cog as its page "HTTP API" describes it."""

from __future__ import annotations

from base64 import b64encode

from imagine_cog import SPEC

from prefect_imagine.testing import PICTURE, Asked, Job, ProviderContract, Reply


class TestCog(ProviderContract):
    """A synchronous API whose jobs have the ids that the client chooses, and that shows none afterwards."""

    spec = SPEC
    creates = "PUT /predictions/{id}"
    checks = "GET /health-check"
    synchronous = True

    def prompt_of(self, asked: Asked) -> str:
        """One of the model's inputs."""
        return str(asked.body["input"]["prompt"])

    def record(self, job: Job) -> Reply:
        """What a synchronous create is answered with; outputs are data URLs."""
        picture = f"data:image/png;base64,{b64encode(PICTURE).decode()}"
        return Reply({"id": job.id, "status": job.status.value, "output": picture, "logs": "", "metrics": {}})
