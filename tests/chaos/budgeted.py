"""`python -m tests.chaos.budgeted PROMPTS ROOT BATCH CLOCK`: the engine as a process that shares budgets.

Its idea of today is a file's: seconds by which its clock is ahead.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

from prefect_imagine.batches.options import BatchOptions
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
from tests.chaos.plain import TIMING

RATE = "20/1s"
SHARD_SIZE = 15


async def main(prompts: str, root: str, batch: str, clock: Path) -> int:
    """Run a batch as far as its budgets let it."""

    def now() -> datetime:
        return utc_now() + timedelta(seconds=float(clock.read_text()))

    asked = asked_in(prompts, None, Defaults(), variables(utc_now()), Problems())
    providers = {each.request.provider for each in asked}
    options = BatchOptions(timing=TIMING, rates=dict.fromkeys(providers, RATE), shard_size=SHARD_SIZE)
    with closing(open_store(root)) as store:
        async with prepare_batch(store, batch, asked, accounts_for({}), options, now=now) as opened:
            opened = await persist_plan(store, opened)
            async with open_session(opened, store, options, now=now) as session:
                await run_session(session)
                summary, _ = await session.close_books()
    print(summary.error, file=sys.stderr)
    return summary.exit_code


if __name__ == "__main__":
    try:
        _, prompts, root, batch, clock = sys.argv
        sys.exit(asyncio.run(main(prompts, root, batch, Path(clock))))
    except (BatchBusyError, FencedError) as error:
        print(error, file=sys.stderr)
        sys.exit(BUSY)
