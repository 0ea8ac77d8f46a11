"""The Prefect API, as far as the stack needs it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx

T = TypeVar("T")
Meanwhile = Callable[[], object]
ANSWER_SECONDS = 60.0
LOOK_SECONDS = 0.5
PAGE = 200
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

    def ended(self, run: str, seconds: float, meanwhile: Meanwhile = lambda: None) -> dict[str, Any]:
        """The flow run once it has ended; `meanwhile` is called at every look.

        Raises:
            TimeoutError: it has not ended within these seconds.
        """

        def look() -> dict[str, Any] | None:
            found = self.flow_run(run)
            return found if found["state_type"] in FINAL else None

        return _once(look, f"run {run}", seconds, meanwhile)

    def all_ended(self, pool: str, seconds: float, meanwhile: Meanwhile = lambda: None) -> Counter[str]:
        """How many runs on a pool have ended in states of which type, once all have.

        Raises:
            TimeoutError: some have not ended within these seconds.
        """

        def look() -> Counter[str] | None:
            found = self._state_types(pool)
            return found if found.keys() <= {*FINAL} else None

        return _once(look, f"all runs on pool {pool}", seconds, meanwhile)

    def _state_types(self, pool: str) -> Counter[str]:
        found: Counter[str] = Counter()
        wanted = {"work_pools": {"name": {"any_": [pool]}}, "sort": "ID_DESC", "limit": PAGE}
        while page := self.request("POST", "/flow_runs/filter", {**wanted, "offset": found.total()}):
            found.update(each["state_type"] for each in page)
        return found

    def log(self, run: str) -> str:
        """What a flow run has logged."""
        wanted = {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC"}
        return "\n".join(line["message"] for line in self.request("POST", "/logs/filter", wanted))


def _once(look: Callable[[], T | None], what: str, seconds: float, meanwhile: Meanwhile) -> T:
    """What `look` finds once it finds something; a server that is being restarted is asked again."""
    deadline = time.monotonic() + seconds
    while True:
        meanwhile()
        with _restarts_forgiven():
            if (found := look()) is not None:
                return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not ended after {seconds:.0f} s")
        time.sleep(LOOK_SECONDS)


@contextmanager
def _restarts_forgiven() -> Iterator[None]:
    try:
        yield
    except httpx.TransportError:
        return
    except httpx.HTTPStatusError as error:
        if error.response.status_code < 500:
            raise
