"""`setup-automations`: the Prefect server acts on what happens to batches."""

from __future__ import annotations

import argparse
import asyncio
from dataclasses import asdict

from prefect_imagine.cli import output
from prefect_imagine.cli.server import prepare_prefect


def setup_automations(arguments: argparse.Namespace) -> int:
    """Make the automations, or remove them."""
    prepare_prefect()
    from prefect_imagine.tasks.automations import remove, set_up

    if arguments.remove:
        changes = asyncio.run(remove())
    else:
        changes = asyncio.run(
            set_up(failures=arguments.failures, within=arguments.within, notify=arguments.notify)
        )
    if arguments.json:
        output.print_json({"automations": [asdict(each) for each in changes], "error": None})
    else:
        cells = ((each.name, each.change, each.does) for each in changes)
        output.rows("Automations on the Prefect server", ("automation", "", "does"), cells)
    return 0
