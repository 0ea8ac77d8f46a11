"""`python -m tests.chaos.plain PROMPTS ROOT BATCH [--force]`: the engine as a process, without Prefect.

Starts in a fraction of the command line's time. Ends with the run's own exit code, 4 when fenced.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from contextlib import closing

from prefect_imagine.batches.options import BatchOptions, Timing
from prefect_imagine.cli.blocks import accounts_for
from prefect_imagine.clock import utc_now
from prefect_imagine.engine.open_session import open_session
from prefect_imagine.engine.planning.persist import persist_plan
from prefect_imagine.engine.planning.prepare import prepare_batch
from prefect_imagine.engine.run_loop import run_session
from prefect_imagine.errors import BatchBusyError, FencedError
from prefect_imagine.prompts.formats import Problems
from prefect_imagine.prompts.requested import Defaults
from prefect_imagine.prompts.source import asked_in
from prefect_imagine.prompts.templates import variables
from prefect_imagine.reports.summary import BUSY
from prefect_imagine.stores import open_store

TIMING = Timing(deadline=1, create=1.5, settle=0.5)
RATE = "8/1s"


async def main(prompts: str, root: str, batch: str, *, force: bool) -> int:
    """Run a batch as far as it goes."""
    problems = Problems()
    asked = asked_in(prompts, None, Defaults(), variables(utc_now()), problems)
    problems.check()
    providers = {each.request.provider for each in asked}
    options = BatchOptions(timing=TIMING, rates=dict.fromkeys(providers, RATE))
    with closing(open_store(root)) as store:
        async with prepare_batch(store, batch, asked, accounts_for({}), options) as opened:
            opened = await persist_plan(store, opened) or opened
            async with open_session(opened, store, options, force=force) as session:
                await run_session(session)
                summary, _ = await session.close_books()
    return summary.exit_code


def command(arguments: Sequence[str]) -> int:
    """The exit code of what the arguments ask for."""
    prompts, root, batch = arguments[:3]
    try:
        return asyncio.run(main(prompts, root, batch, force="--force" in arguments))
    except (BatchBusyError, FencedError) as error:
        print(error, file=sys.stderr)
        return BUSY


if __name__ == "__main__":
    sys.exit(command(sys.argv[1:]))
