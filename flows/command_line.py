"""The flow run of a batch that the command line has prepared."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from prefect import Flow, flow
from prefect.client.schemas.objects import State
from prefect.states import Failed

from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.engine.observer import Observer
from prefect_imagine.engine.planning.prepare import PreparedBatch
from prefect_imagine.errors import ImagineError
from prefect_imagine.flows.run_batch import run_batch
from prefect_imagine.stores import Store
from prefect_imagine.tasks.run_log import logs_in_run
from prefect_imagine.tasks.schedule import run_name


def flow_of(
    store: Store, prepared: PreparedBatch, observer: Observer
) -> Flow[..., Coroutine[Any, Any, State[Any]]]:
    """A flow by the name of `generate_batch` that runs this batch: its prompts need not pass through Prefect.

    Its parameters only show in the UI where the batch lies, whose keys are taken, and how it is run.
    """

    @flow(name="generate-batch", flow_run_name=run_name, persist_result=False, retries=0)
    async def generate_batch(output: str, credentials: dict[str, str], options: BatchOptions) -> State[Any]:
        with logs_in_run() as log:
            log.batch_id = prepared.batch_id
            try:
                return await run_batch(store, prepared, options, observer)
            except ImagineError as error:
                observer.failed(error)
                return Failed(message=str(error), data=error)

    return generate_batch
