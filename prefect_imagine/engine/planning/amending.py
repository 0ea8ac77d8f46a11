"""What a run may make of a batch that exists, and with which of its shards it has something to do."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from prefect_imagine.batches.origin import Origin
from prefect_imagine.batches.state import Phase
from prefect_imagine.billing.estimates import Expected, expected_credits
from prefect_imagine.engine.planning.difference import Difference
from prefect_imagine.engine.planning.outlook import Candidate, KnownShard, Outlook
from prefect_imagine.errors import ConfigurationError


def allowed(
    difference: Difference,
    outlook: Outlook,
    origin: Origin | None,
    source: str | None,
    *,
    amend: bool,
    frozen: bool,
) -> Difference:
    """What is to be made of a difference. Raises `ConfigurationError` where the batch must not be amended."""
    if frozen and not difference.same:
        raise ConfigurationError(
            f"batch {outlook.batch_id!r} exists with other prompts ({outlook.items} items): choose another "
            "batch id, start a new batch, or let it be amended"
        )
    foreign = origin is not None and origin.source is not None and source not in (None, origin.source)
    if amend or not foreign or origin is None:
        return difference
    if len(difference.new) or difference.restored:
        lacking = len(difference.new) + len(difference.restored)
        raise ConfigurationError(
            f"batch {outlook.batch_id!r} was made from {origin.source} and lacks {lacking} of "
            "these prompts: choose another one with --batch-id, or make it hold these instead with --amend"
        )
    return Difference(kept=difference.kept)


def visited(
    outlook: Outlook,
    creatable: Sequence[Candidate],
    difference: Difference,
    held: Collection[int],
) -> Iterator[KnownShard]:
    """The shards with what a run has to do with each.

    Args:
        held: those that hold credits of a budget for somebody who has died.
    """
    wanted = {each.index for each in creatable}
    again = {each.index for each in creatable if each.again}
    open_still = {each.index for each in outlook.candidates if each.phase is Phase.OPEN}
    away = difference.withdrawn | (difference.gone & open_still)
    changed = away | difference.restored | again
    expected = _expected(outlook.shards, creatable)
    for shard in outlook.shards:
        changes = not changed.isdisjoint(shard.indices)
        followed = shard.number in outlook.followed or shard.number in held
        visit = changes or followed or not wanted.isdisjoint(shard.indices)
        costs = expected_credits(expected[shard.number])
        yield replace(shard, visit=visit, changes=changes, expected=costs)


def _expected(shards: Sequence[KnownShard], creatable: Sequence[Candidate]) -> dict[int, list[Expected]]:
    """What creates of each shard are expected to cost, by its number: an open one is counted as sent."""
    starts = [shard.indices.start for shard in shards]
    found: dict[int, list[Expected]] = defaultdict(list)
    for each in creatable:
        if each.phase is not Phase.OPEN:
            found[shards[bisect_right(starts, each.index) - 1].number].append(each.expected[0])
    return found
