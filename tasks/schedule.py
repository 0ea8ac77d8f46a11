"""The time that a flow run was meant for."""

from __future__ import annotations

from datetime import datetime

from prefect.context import FlowRunContext
from prefect.runtime import flow_run

from prefect_imagine.batches.naming import default_batch_id
from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.clock import zone_of
from prefect_imagine.errors import ConfigurationError
from prefect_imagine.prompts.spool import Asked
from prefect_imagine.prompts.templates import fill_id


def planned_time(time_zone: str) -> datetime:
    """When the present flow run was scheduled for, however late it runs and however often. Raises
    `ConfigurationError`."""
    planned: datetime = flow_run.scheduled_start_time
    # As Python's own: before Python 3.13 Prefect's is pendulum's, and warns at `replace` that this will end.
    return datetime.fromtimestamp(planned.timestamp(), zone_of(time_zone))


def batch_id_of(
    options: BatchOptions,
    time_zone: str,
    source: str | None,
    asked: Asked | None,
    *,
    again: bool,
) -> str:
    """The batch of the present flow run: as named, with `{date}` filled in; else a deployed run's own id, or
    what the run asks for. Raises `ConfigurationError`."""
    if options.batch_id:
        return fill_id(options.batch_id, planned_time(time_zone))
    if is_deployed():
        return str(flow_run.id)
    if asked is None:
        raise ConfigurationError("there are no prompts: give some, or the batch_id of a batch to go on with")
    return default_batch_id(source, asked, again=again)


def is_deployed() -> bool:
    """Whether the present flow run is one of a deployment, and not one within another flow's run."""
    context = FlowRunContext.get()
    return context is not None and context.flow_run is not None and context.flow_run.deployment_id is not None


def run_name() -> str:
    """The name of a run of `generate_batch`."""
    given = flow_run.parameters
    try:
        options = BatchOptions.model_validate(given.get("options") or {})
        named = fill_id(options.batch_id or "", planned_time(given.get("time_zone") or "UTC"))
        return f"generate {named or flow_run.id}"
    except ConfigurationError:  # which the flow itself reports
        return f"generate {flow_run.id}"
