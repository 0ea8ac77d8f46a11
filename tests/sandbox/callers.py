"""Clients of the four APIs that know the credentials, and the shortest way to make a job on each."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import httpx

from prefect_imagine.sandbox import RunningSandbox

KEYS = {
    "imaginelab": {"Authorization": "Bearer imaginelab-sandbox-key"},
    "blockadelabs": {"x-api-key": "blockade-sandbox"},
    "imagineapi": {"Authorization": "Bearer imagineapi-sandbox"},
    "aivisualstudio": {"Authorization": "Bearer avs_live_sandbox"},
}
CREATES: dict[str, tuple[str, dict[str, Any]]] = {
    "imaginelab": ("/generations", {"generation_type": "image", "model_name": "seedream-5.0-lite"}),
    "blockadelabs": ("/imagine/requests", {"generator": "stable-skybox"}),
    "imagineapi": ("/items/images", {}),
    "aivisualstudio": ("/generate/image", {}),
}
READS = {
    "imaginelab": "/generations/{}",
    "blockadelabs": "/imagine/requests/{}",
    "imagineapi": "/items/images/{}",
    "aivisualstudio": "/generations/{}",
}
LISTS = {
    "imaginelab": "/generations",
    "blockadelabs": "/imagine/myRequests",
    "imagineapi": "/items/images",
    "aivisualstudio": "/generations",
}


class Callers:
    """One client for each provider; `suffix` names another account."""

    def __init__(self, sandbox: RunningSandbox) -> None:
        self._sandbox = sandbox
        self._stack = ExitStack()
        self._clients: dict[tuple[str, str], httpx.Client] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def client(self, provider: str, suffix: str = "") -> httpx.Client:
        if (provider, suffix) not in self._clients:
            headers = {name: value + suffix for name, value in KEYS[provider].items()}
            base = self._sandbox.base_urls[provider]
            made = httpx.Client(base_url=base, headers=headers, timeout=5.0, trust_env=False)
            self._clients[provider, suffix] = self._stack.enter_context(made)
        return self._clients[provider, suffix]

    def create(self, provider: str, prompt: str = "a lake", suffix: str = "", **more: Any) -> httpx.Response:
        path, body = CREATES[provider]
        return self.client(provider, suffix).post(path, json={**body, "prompt": prompt, **more})

    def made(self, provider: str, prompt: str = "a lake", suffix: str = "", **more: Any) -> str:
        """The id of a new job."""
        response = self.create(provider, prompt, suffix, **more)
        assert response.is_success, response.text
        return str(unwrapped(response)["id"])

    def read(self, provider: str, job_id: str, suffix: str = "") -> dict[str, Any]:
        return unwrapped(self.client(provider, suffix).get(READS[provider].format(job_id)))

    def listed(self, provider: str, suffix: str = "", **query: Any) -> list[dict[str, Any]]:
        answer = self.client(provider, suffix).get(LISTS[provider], params=query).json()
        rows: list[dict[str, Any]] = answer if isinstance(answer, list) else answer["data"]
        return rows

    def media_url(self, provider: str, job_id: str) -> str:
        """The address of a finished job's first file."""
        record = self.read(provider, job_id)
        for name in ("output_url", "file_url"):
            if name in record:
                return str(record[name])
        return str(record["upscaled_urls"][0] if provider == "imagineapi" else record["outputs"][0]["url"])


def unwrapped(response: httpx.Response) -> dict[str, Any]:
    """The record in an answer, whatever it is wrapped in."""
    answer: dict[str, Any] = response.json()
    for name in ("response", "request", "data"):
        if isinstance(answer.get(name), dict):
            inner: dict[str, Any] = answer[name]
            return inner
    return answer
