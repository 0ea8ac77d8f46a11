"""`load`: batches, and what providers have of them, into a warehouse. It needs no Prefect server."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from prefect_imagine.cli import output, values
from prefect_imagine.cli.addresses import absolute
from prefect_imagine.cli.blocks import accounts_for
from prefect_imagine.cli.options import DEFAULT_OUTPUT, Credentials, Json, Output, values_of
from prefect_imagine.providers.registry import provider_names
from prefect_imagine.providers.spec import Account
from prefect_imagine.reports.summary import INFRASTRUCTURE, SOME_FAILED

if TYPE_CHECKING:
    from prefect_imagine.warehouse.load import Loaded, Target


def load_history(
    *,
    under: Output = DEFAULT_OUTPUT,
    destination: Annotated[str, Parameter(metavar="NAME")] = "duckdb",
    database: Annotated[str | None, Parameter(metavar="FILE")] = None,
    dataset: Annotated[str, Parameter(metavar="NAME")] = "imagine",
    provider: Annotated[
        tuple[str, ...],
        values_of(values.provider, "P"),
        Parameter(help=f"also the account's own list of jobs at: {', '.join(provider_names())}"),
    ] = (),
    credentials: Credentials = (),
    no_prompts: bool = False,
    full: bool = False,
    json: Json = False,
) -> int:
    """Load what is new into a warehouse, and hold it against what providers list.

    Args:
        destination: duckdb, postgres, filesystem or another of dlt's; its configuration says how to get in.
        database: the file of DuckDB, or the address of a filesystem.
        dataset: the schema of the tables; one for each root.
        no_prompts: leave out prompts, and all that may quote them.
        full: load everything again.
    """
    from prefect_imagine.warehouse.load import Target, load  # what it needs is an extra

    target = Target(destination, dataset, database)
    accounts = asyncio.run(_accounts(provider, dict(credentials)))
    loaded = load(absolute(under), target, accounts, prompts=not no_prompts, full=full)
    _show(target, loaded, to_stderr=json)
    for problem in loaded.lacks:
        output.complain(problem)
    if json:
        differences = [vars(each) for each in loaded.differences]
        output.print_json(
            {
                "destination": target.destination,
                "dataset": target.dataset,
                "rows": loaded.rows,
                "differences": differences,
                "left_out": [{"batch_id": name, "error": why} for name, why in loaded.left_out.items()],
                "error": "; ".join(loaded.lacks) or None,
            }
        )
    return INFRASTRUCTURE if loaded.problems else SOME_FAILED if loaded.left_out else 0


async def _accounts(providers: Sequence[str], credentials: Mapping[str, str]) -> Mapping[str, Account]:
    return await accounts_for(credentials)(providers) if providers else {}


def _show(target: Target, loaded: Loaded, *, to_stderr: bool) -> None:
    title = f"Loaded into {target.place}"
    if loaded.rows:
        output.rows(title, ("table",), sorted(loaded.rows.items()), right=("rows",), to_stderr=to_stderr)
    else:
        nothing = "there are no batches" if loaded.empty else "nothing is new"
        output.line(f"{title}: {nothing}", to_stderr=to_stderr)
    if loaded.differences:
        cells = ((each.provider, each.difference, each.jobs) for each in loaded.differences)
        output.rows(
            "Providers list otherwise",
            ("provider", "difference"),
            cells,
            right=("jobs",),
            to_stderr=to_stderr,
        )
