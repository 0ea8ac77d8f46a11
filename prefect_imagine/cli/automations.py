"""`setup-automations`: the Prefect server acts on what happens to batches."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated

from cyclopts import Parameter

from prefect_imagine.cli import output, values
from prefect_imagine.cli.options import Json, value
from prefect_imagine.cli.server import prepare_prefect


def _in_minutes(time: timedelta) -> str:
    return f"{time / timedelta(minutes=1):g}"


def setup_automations(
    *,
    failures: Annotated[int, value(values.positive, "N")] = 10,
    within: Annotated[
        timedelta, value(values.minutes, "MINUTES"), Parameter(show_default=_in_minutes)
    ] = timedelta(minutes=10),
    notify: Annotated[str | None, Parameter(metavar="TYPE/NAME")] = None,
    remove: bool = False,
    json: Json = False,
) -> int:
    """Make the Prefect server act on failures and crashes.

    Args:
        failures: failed generations that cancel a batch's run.
        within: the time that they are counted in.
        notify: a notification block to tell, such as slack-webhook/alerts.
        remove: remove what this command has made.
    """
    prepare_prefect()
    from prefect_imagine.tasks import automations

    if remove:
        changes = asyncio.run(automations.remove())
    else:
        changes = asyncio.run(automations.set_up(failures=failures, within=within, notify=notify))
    if json:
        output.print_json({"automations": [asdict(each) for each in changes], "error": None})
    else:
        cells = ((each.name, each.change, each.does) for each in changes)
        output.rows("Automations on the Prefect server", ("automation", "", "does"), cells)
    return 0
