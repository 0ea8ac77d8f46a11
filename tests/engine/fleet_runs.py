"""Batches handed to a fleet, whose shards run side by side on the plain engine."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from functools import partial

from prefect_imagine.batches.fleet.dispatch import Dispatch, ShardEnd, put_end, read_dispatch
from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.clock import utc_now
from prefect_imagine.engine.fleet.closing import closing_fleet
from prefect_imagine.engine.fleet.handing_over import Placement, hand_over
from prefect_imagine.engine.open_session import open_session
from prefect_imagine.engine.planning.persist import persist_plan
from prefect_imagine.engine.planning.prepare import Part, prepare_batch
from prefect_imagine.engine.run_loop import run_session
from prefect_imagine.prompts.requested import Defaults, ask
from prefect_imagine.reports.summary import Summary
from tests.engine.engine_runs import TIMING, Row, Runs

BATCH = "fleet"


class FleetRuns(Runs):
    """Hands batches over, and runs their shards, each with fresh clients as a worker of its own would."""

    async def hand_over(
        self, rows: Sequence[Row] | None, workers: int = 2, asked_by: str = "me", **options: object
    ) -> Dispatch:
        """Plan a batch for so many workers, and hand it over."""
        chosen = BatchOptions.model_validate({"batch_id": BATCH, "timing": TIMING, **options})
        asked = None
        if rows is not None:
            asked = ask(list(enumerate(rows, 1)), Defaults(), {})
            self.asked = Counter((each.request.provider, each.request.prompt) for each in asked)
            self.batches[BATCH] = self.asked
        prepared_of = prepare_batch(self.store, BATCH, asked, self.accounts, chosen, workers=workers)
        async with prepared_of as prepared:
            prepared = await persist_plan(self.store, prepared)
            known = read_dispatch(self.store, BATCH)
            after = 0 if known is None else known.generation
            placement = Placement(pool="none", output=self.store.address, asked_by=asked_by, after=after)
            return await hand_over(self.store, prepared, chosen, placement)

    async def work(self, dispatch: Dispatch, *shards: int) -> list[Summary]:
        """Run these shards, or all, side by side; gives the end of the batch, once for each who closes it."""
        ended = await asyncio.gather(
            *(self._run(dispatch, shard) for shard in shards or sorted(dispatch.shards))
        )
        return [each for each in ended if each is not None]

    async def _run(self, dispatch: Dispatch, shard: int) -> Summary | None:
        part = Part(shard, partial(dispatch.share, shard), dispatch.commands_seen)
        end = ShardEnd(at=utc_now())
        prepared_of = prepare_batch(self.store, BATCH, None, self.accounts, dispatch.options, part=part)
        async with prepared_of as prepared:
            if not prepared.settled:
                session_of = open_session(prepared, self.store, dispatch.options, pauses=self.pauses)
                async with session_of as session:
                    await run_session(session)
                    await session.close_books()
                    end = ShardEnd(at=utc_now(), stops=tuple(session.stops))
        put_end(self.store, dispatch, shard, end)
        async with closing_fleet(self.store, dispatch) as closed:
            return None if closed is None else closed.summary
