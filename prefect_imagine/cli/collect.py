"""`collect`: what has become of jobs that nobody waits for. It needs no Prefect server."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Annotated

from prefect_imagine.batches.options import Timing
from prefect_imagine.cli import output, values
from prefect_imagine.cli.addresses import absolute
from prefect_imagine.cli.blocks import accounts_for
from prefect_imagine.cli.options import DEFAULT_OUTPUT, Credentials, Json, Output, value, values_of
from prefect_imagine.engine.collecting.collect import Collected, collect
from prefect_imagine.engine.collecting.survey import Scope
from prefect_imagine.providers.models import GenerationKind
from prefect_imagine.reports.summary import INFRASTRUCTURE, SOME_FAILED
from prefect_imagine.stores import open_store

DAYS = 3.0


def collect_all(
    *,
    under: Output = DEFAULT_OUTPUT,
    credentials: Credentials = (),
    days: Annotated[float, value(values.days, "N")] = DAYS,
    deadline: Annotated[tuple[tuple[GenerationKind, float], ...], values_of(values.deadline, "KIND=S")] = (),
    json: Json = False,
) -> int:
    """Store what has ended of all active batches that nobody runs; creates nothing.

    Args:
        days: look at batches that were written to in the last so many days.
        deadline: seconds after which a job counts as overdue, where its batch does not say.
    """
    scope = Scope(days, timing=Timing(longest_by_kind=dict(deadline)))
    with closing(open_store(absolute(under))) as store:
        found = asyncio.run(collect(store, accounts_for(dict(credentials)), scope))
    _show(found, to_stderr=json)
    for each in found:
        if each.unseen:
            output.say(f"{each.batch_id}: {each.unseen} jobs are not shown by their provider: another key's?")
    problems = [f"{each.batch_id}: {problem}" for each in found for problem in each.problems]
    for problem in problems:
        output.complain(problem)
    if json:
        batches = [_contract(each) for each in found]
        output.print_json({"batches": batches, "error": "; ".join(problems) or None})
    return INFRASTRUCTURE if problems else SOME_FAILED if any(each.failed for each in found) else 0


def _show(found: Sequence[Collected], *, to_stderr: bool) -> None:
    if not found:
        output.say("nothing is under way")
        return
    cells = [
        (each.batch_id, _standing(each), counts.get("stored", ""), counts.get("failed", ""), each.running)
        for each, counts in ((each, _counts(each)) for each in found)
    ]
    output.rows(
        "Collected",
        ("batch", "standing"),
        cells,
        right=("stored", "failed", "under way"),
        to_stderr=to_stderr,
    )


def _standing(collected: Collected) -> str:
    if collected.busy:
        return "is being run"
    if collected.problems:
        return "could not be looked at"
    if collected.taken_in is None:
        return "nothing has ended"
    planned = collected.taken_in.summary.items.planned
    closed = f"books closed, {planned} to create: resume" if planned else "books closed"
    return closed if collected.taken_in.closed else "goes on"


def _counts(collected: Collected) -> Mapping[str, int]:
    return {} if collected.taken_in is None else collected.taken_in.summary.items.model_dump()


def _contract(collected: Collected) -> dict[str, object]:
    taken_in = collected.taken_in
    return {
        "batch_id": collected.batch_id,
        "under_way": collected.running,
        "unseen": collected.unseen,
        "busy": collected.busy,
        "closed": taken_in is not None and taken_in.closed,
        "summary": None if taken_in is None else output.contract(taken_in.summary),
        "problems": list(collected.problems),
    }
