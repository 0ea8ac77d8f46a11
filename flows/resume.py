"""Going on with a flow run that crashed."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound
from prefect.states import AwaitingRetry, Completed, Failed
from pydantic import Field


@flow(name="resume-crashed", flow_run_name="resume {flow_run_id}", persist_result=False, retries=0)
async def resume_crashed(
    flow_run_id: UUID,
    at_most: Annotated[int, Field(ge=1)] = 3,
) -> State[Any]:
    """Schedule a crashed flow run again: the same run, with the same batch, which goes on where it stopped.

    Leaves alone what has not crashed, what belongs to no deployment, and what has crashed too often.

    Args:
        flow_run_id: A crashed run of generate-batch, or of generate-shard.
        at_most: Leave a run alone that has crashed so many times.
    """
    async with get_client() as client:
        try:
            run = await client.read_flow_run(flow_run_id)
        except ObjectNotFound:
            return Failed(message=f"there is no flow run {flow_run_id}")
        if run.state is None or not run.state.is_crashed():
            return Completed(message=f"{run.name} has not crashed: it is {run.state_name}")
        if run.deployment_id is None:
            return Failed(message=f"{run.name} belongs to no deployment: resume its batch by hand")
        crashes = sum(state.is_crashed() for state in await client.read_flow_run_states(flow_run_id))
        if crashes >= at_most:
            return Failed(message=f"{run.name} has crashed {crashes} times: look into its logs")
        await client.set_flow_run_state(run.id, AwaitingRetry(), force=True)
    return Completed(message=f"{run.name} is scheduled again")
