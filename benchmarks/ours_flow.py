"""The flow that people run, with a Prefect server."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.runs import Job
from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.flows import generate_batch
from prefect_imagine.tasks import waves


async def generate(job: Job) -> tuple[int, dict[str, Any]]:
    """Make or resume the batch."""
    made = _counted()
    # As a file: Prefect takes no parameters above 512 KB, which a list of some 2,500 prompts exceeds.
    prompts = Path(tempfile.gettempdir()) / f"prompts-{os.getpid()}.txt"
    prompts.write_text("\n".join(job.prompts))
    state = await generate_batch(
        prompts=str(prompts),
        output=job.output,
        provider=job.provider,
        kind=job.kind,
        options=BatchOptions(batch_id=job.batch_id, rates=job.rates),
        return_state=True,
    )
    prompts.unlink()
    message = state.message or ""
    stored = int(message.split()[0]) if message[:1].isdigit() else 0
    return stored, {"state": state.type.value, "message": message, "task_runs": made.total()}


def _counted() -> Counter[str]:
    """The task runs that the flow makes from now on, by their stage."""
    made: Counter[str] = Counter()

    def count(stage: str) -> None:
        call = getattr(waves.PrefectStages, stage)

        async def counted(self: waves.PrefectStages, *arguments: Any) -> object:
            made[stage] += 1
            return await call(self, *arguments)

        setattr(waves.PrefectStages, stage, counted)

    for stage in ("create", "poll", "store_outputs"):
        count(stage)
    return made
