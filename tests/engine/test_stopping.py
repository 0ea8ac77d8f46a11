"""A stopped run whose store has fallen silent ends all the same, and soon."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace

from prefect_imagine.engine.run_loop import run_session
from prefect_imagine.sandbox import RunningSandbox
from prefect_imagine.sandbox.server.s3 import S3Server
from prefect_imagine.stores import open_store
from tests.engine.engine_runs import HURRIED, Runs, numbered
from tests.engine.test_engine_outages import own_s3

__all__ = ["own_s3"]


async def test_a_silent_bucket_does_not_hold_a_cancelled_run(
    sandbox: RunningSandbox, own_s3: S3Server
) -> None:
    sandbox.configure(latency=dict.fromkeys(("image",), (3600.0, 3600.0)))
    runs = Runs(sandbox, open_store(f"s3://{own_s3.make_bucket()}/prefix"), replace(HURRIED, at_the_end=0.5))
    rows = numbered("aivisualstudio", 4)
    async with asyncio.timeout(30):
        opened = asyncio.Event()

        async def whole_run() -> None:
            async with runs.session(rows) as under_way:
                running = asyncio.ensure_future(run_session(under_way))
                run = under_way.runs["aivisualstudio"]
                await run.wake_up.wait_for(lambda: len(run.queues.running) == len(rows), 20)
                os.kill(own_s3.pid, signal.SIGSTOP)
                appending = asyncio.ensure_future(under_way.shards.of(1).journal.append())
                opened.set()
                await asyncio.gather(running, appending)

        going = asyncio.create_task(whole_run())
        await opened.wait()
    try:
        async with asyncio.timeout(10):
            going.cancel()
            await asyncio.gather(going, return_exceptions=True)
    finally:
        os.kill(own_s3.pid, signal.SIGCONT)
    assert going.cancelled()
