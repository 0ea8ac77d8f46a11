"""`load_history`: what batches were and cost, into a warehouse, on a schedule."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from prefect_imagine.errors import ImagineError
from prefect_imagine.flows.parameters import Bucket, Credentials, ProviderName
from prefect_imagine.providers.spec import Account
from prefect_imagine.tasks.accounts import accounts, open_output, secret_of
from prefect_imagine.tasks.artifacts import publish_loaded
from prefect_imagine.tasks.run_log import logs_in_run

if TYPE_CHECKING:
    from prefect_imagine.warehouse.load import Loaded


@flow(name="load-history", flow_run_name="load {output}", persist_result=False, retries=0)
async def load_history(
    output: str = "./outputs",
    destination: str = "duckdb",
    database: str | None = None,
    dataset: str = "imagine",
    destination_secret: str | None = None,
    providers: list[ProviderName] = [],  # noqa: B006 Prefect copies parameters, and the form wants a plain default
    credentials: Credentials = {},  # noqa: B006
    bucket: Bucket = None,
    prompts: bool = True,
    full: bool = False,
) -> State[Any]:
    """Load what is new of all batches into a warehouse, and hold it against what the providers list.

    Needs the extra prefect-imagine[warehouse]. A run that fails leaves nothing half done: the next goes on.

    Args:
        output: Folder or s3://bucket/prefix that batches are stored under.
        destination: Where to: duckdb, postgres, filesystem or another destination of dlt.
        database: File of DuckDB, or address of a filesystem.
        dataset: Schema of the tables; one for each output.
        destination_secret: Name of a Secret block with the destination's connection string; without one the
            worker's own configuration of dlt says how to get in.
        providers: Also load the accounts' own lists of jobs at these providers.
        credentials: Names of credentials blocks by provider, such as {"aivisualstudio": "team"}, or the
            blocks themselves; for others the keys in the worker's environment are taken.
        bucket: Name of an S3Bucket block to store in, or the block; the output is then the folder within it.
        prompts: With prompts, and with all else that may quote them.
        full: Load everything again.
    """
    with logs_in_run():
        try:
            from prefect_imagine.warehouse.load import Target, load  # what it needs is an extra

            secret = None if destination_secret is None else await secret_of(destination_secret)
            target = Target(destination, dataset, database, secret)
            found = await _accounts(providers, credentials)
            with closing(await open_output(output, bucket)) as store:
                loaded = await asyncio.to_thread(load, store, target, found, prompts=prompts, full=full)
        except ImagineError as error:
            return Failed(message=str(error), data=error)
    await publish_loaded(target.place, loaded.rows)
    return _state(target.place, loaded)


async def _accounts(providers: Sequence[str], credentials: Credentials) -> Mapping[str, Account]:
    return await accounts(credentials)(providers) if providers else {}


def _state(place: str, loaded: Loaded) -> State[Any]:
    message = f"{sum(loaded.rows.values())} rows into {place}"
    differences = [f"{each.provider}: {each.difference} ({each.jobs})" for each in loaded.differences]
    if differences:
        message += f"; providers list otherwise: {', '.join(differences)}"
    if loaded.lacks:
        return Failed(message=f"{message}; not loaded: {'; '.join(loaded.lacks)}")
    return Completed(message=message)
