"""The Prefect API, as far as the stack needs it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx

ANSWER_SECONDS = 60.0
LOOK_SECONDS = 0.5
FINAL = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")
"""The types of the states that a flow run ends in. One that an automation resumes leaves them again."""


class Api:
    """Asks the Prefect API at an address.

    Attributes:
        url: with `/api` at its end.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """What it answers.

        Raises:
            httpx.HTTPError: it does not answer, or refuses.
        """
        with httpx.Client(base_url=self.url, timeout=ANSWER_SECONDS) as http:
            answer = http.request(method, path, json=body).raise_for_status()
            return answer.json() if answer.content else None

    def is_healthy(self) -> bool:
        """Whether it answers."""
        try:
            return bool(self.request("GET", "/health"))
        except httpx.HTTPError:
            return False

    def is_online(self, pool: str, worker: str) -> bool:
        """Whether a pool has a worker of this name, which has asked for work lately."""
        try:
            found = self.request("POST", f"/work_pools/{pool}/workers/filter", {})
        except httpx.HTTPError:
            return False
        return any(each["name"] == worker and each["status"] == "ONLINE" for each in found)

    def start_run(self, deployment: str, parameters: Mapping[str, Any]) -> str:
        """Start a run of a deployment, which is named `flow/name`; gives the run's id."""
        found = self.request("GET", f"/deployments/name/{deployment}")
        path = f"/deployments/{found['id']}/create_flow_run"
        return str(self.request("POST", path, {"parameters": dict(parameters)})["id"])

    def flow_run(self, run: str) -> dict[str, Any]:
        """A flow run as it stands."""
        found: dict[str, Any] = self.request("GET", f"/flow_runs/{run}")
        return found

    def ended(
        self, run: str, seconds: float, meanwhile: Callable[[], object] = lambda: None
    ) -> dict[str, Any]:
        """The flow run once it has ended; `meanwhile` is called at every look. A server that does not answer
        is asked again.

        Raises:
            TimeoutError: it has not ended within these seconds.
        """
        deadline = time.monotonic() + seconds
        while True:
            meanwhile()
            try:
                found = self.flow_run(run)
            except httpx.TransportError:
                found = {"state_name": "unknown, because the server does not answer", "state_type": None}
            if found["state_type"] in FINAL:
                return found
            if time.monotonic() > deadline:
                raise TimeoutError(f"run {run} is {found['state_name']} after {seconds:.0f} s")
            time.sleep(LOOK_SECONDS)

    def log(self, run: str) -> str:
        """What a flow run has logged."""
        wanted = {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC"}
        return "\n".join(line["message"] for line in self.request("POST", "/logs/filter", wanted))
