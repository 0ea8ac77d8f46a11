"""What a person would look at in the UI, read through the API."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterName,
)
from prefect.client.schemas.objects import FlowRun, State

T = TypeVar("T")
WAIT_SECONDS = 180.0


async def until(look: Callable[[], Awaitable[T | None]], what: str) -> T:
    """What `look` finds, once it finds something."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        found = await look()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        await asyncio.sleep(0.1)


async def flow_run_of(state: State[Any]) -> FlowRun:
    """The flow run that ended in a state."""
    assert state.state_details.flow_run_id is not None
    async with get_client() as client:
        return await client.read_flow_run(state.state_details.flow_run_id)


async def run_named(name: str, state: str) -> FlowRun:
    """The flow run of a name, once it is in a state."""

    async def look() -> FlowRun | None:
        async with get_client() as client:
            runs = await client.read_flow_runs(
                flow_run_filter=FlowRunFilter(name=FlowRunFilterName(any_=[name]))
            )
        return next((run for run in runs if run.state_name == state), None)

    return await until(look, f"{name} to be {state}")


async def answered(name: str, answer: dict[str, Any]) -> FlowRun:
    """The flow run of a name that asks a person, once it has been answered."""
    paused = await run_named(name, "Paused")
    async with get_client() as client:
        told = await client.resume_flow_run(paused.id, run_input=answer)
        while "schema not found" in str(told.details):  # the form comes after the state
            await asyncio.sleep(0.1)
            told = await client.resume_flow_run(paused.id, run_input=answer)
    assert told.status.value == "ACCEPT", told
    return paused


async def runs_of_deployment(deployment: UUID) -> list[FlowRun]:
    """The runs of one deployment: the server of all tests has more than it gives at once."""
    async with get_client() as client:
        of_it = DeploymentFilter(id=DeploymentFilterId(any_=[deployment]))
        return await client.read_flow_runs(deployment_filter=of_it)


async def artifacts_of(api_url: str, flow_run_id: UUID) -> dict[str, Any]:
    """The data of a flow run's artifacts by key; tables as lists of rows."""
    only = {"flow_runs": {"id": {"any_": [str(flow_run_id)]}}}
    async with httpx.AsyncClient(base_url=api_url, timeout=WAIT_SECONDS) as http:
        found = (await http.post("/artifacts/filter", json=only)).json()
    return {
        each["key"]: json.loads(each["data"]) if each["type"] == "table" else each["data"] for each in found
    }


async def events_about(
    api_url: str, resource: str, count: int, prefix: str = "imagine."
) -> list[dict[str, Any]]:
    """The package's events about a resource, or those of such names, oldest first, once there are so many."""
    wanted = {"filter": {"event": {"prefix": [prefix]}, "resource": {"id": [resource]}}}

    async def look() -> list[dict[str, Any]] | None:
        async with httpx.AsyncClient(base_url=api_url, timeout=WAIT_SECONDS) as http:
            told: list[dict[str, Any]] = (await http.post("/events/filter", json=wanted)).json()["events"]
        return told[::-1] if len(told) >= count else None

    return await until(look, f"{count} events about {resource}")
