"""Whether what a run may create is contained in what a person has approved: pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal

from prefect_imagine.batches.approvals import Approval, ApprovedLine, ApprovedShard, Changes
from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.billing.estimates import EstimateLine, Estimates
from prefect_imagine.clock import utc_now
from prefect_imagine.engine.planning.outlook import Candidate, KnownShard
from prefect_imagine.engine.planning.prepare import PreparedBatch
from prefect_imagine.providers.credits import Credits, add_credits

Span = tuple[int, int, int]


def approval_of(
    prepared: PreparedBatch, options: BatchOptions, asked_by: str, changes: Changes | None = None
) -> Approval:
    """What a yes to a batch as it was prepared allows.

    Args:
        options: as the run was told, changes aside.
        asked_by: names the run that asks.
    """
    creatable = list(_creatable(prepared, asked_by))
    return Approval(
        at=utc_now(),
        asked_by=asked_by,
        changes=changes or Changes(),
        max_credits=options.max_credits,
        max_credits_by_provider=options.max_credits_by_provider,
        lines=tuple(_lines(creatable, prepared.new)),
        shards=tuple(_shards(prepared.shards, creatable)),
    )


def changed(options: BatchOptions, changes: Changes) -> BatchOptions:
    """How a batch is to be run for whoever wants it otherwise. A limit is only ever lowered."""
    limits = [each for each in (options.max_credits, changes.max_credits) if each is not None]
    return options.model_copy(update={"max_credits": min(limits, default=None)})


def is_approved(prepared: PreparedBatch, options: BatchOptions, asked_by: str, approval: Approval) -> bool:
    """Whether a run may go on without asking again: it creates nothing but what was approved, and nothing of
    that once more.

    Args:
        prepared: with the approval's changes.
        options: as this run was told, changes aside.
        asked_by: names this run.
    """
    creatable = list(_creatable(prepared, asked_by))
    return (
        _is_no_looser(options, approval)
        and _fits(_lines(creatable, prepared.new), approval.lines)
        and _holds_items(approval, prepared.shards, creatable)
        and all(_holds_plan(approval, shard) for shard in prepared.shards if shard.asked is not None)
    )


def is_part_of(prepared: PreparedBatch, shown: Approval, asked_by: str) -> bool:
    """Whether a batch that was prepared again with changes creates nothing but what was shown before."""
    creatable = list(_creatable(prepared, asked_by))
    fits = _fits(_lines(creatable, prepared.new), shown.lines)
    return fits and _holds_items(shown, prepared.shards, creatable)


def _creatable(prepared: PreparedBatch, asked_by: str) -> Iterator[Candidate]:
    """What exists of it and may be created. A run that is begun again creates nothing of that once more which
    it has created again already."""
    for each in prepared.creatable:
        seen = prepared.seen.get(each.index)
        if seen is None or not asked_by or seen.retried_by != asked_by:
            yield each


def _lines(creatable: Iterable[Candidate], new: Iterable[EstimateLine]) -> Iterator[ApprovedLine]:
    """By provider, kind and model; a model of which something has no price has none."""
    estimates = Estimates()
    for each in creatable:
        estimates.add(each.expected)
    items: dict[tuple[str, str, str], int] = defaultdict(int)
    credits: dict[tuple[str, str, str], list[Credits | None]] = defaultdict(list)
    for line in (*estimates.lines, *new):
        key = (line.provider, line.kind, line.model)
        items[key] += line.items
        credits[key].append(line.credits)
    for (provider, kind, model), count in items.items():
        amounts = [each for each in credits[provider, kind, model] if each is not None]
        priced = len(amounts) == len(credits[provider, kind, model])
        total = add_credits(amounts) if priced else None
        yield ApprovedLine(provider=provider, kind=kind, model=model, items=count, credits=total)


def _fits(lines: Iterable[ApprovedLine], approved: Iterable[ApprovedLine]) -> bool:
    known = {(line.provider, line.kind, line.model): line for line in approved}
    for line in lines:
        most = known.get((line.provider, line.kind, line.model))
        if most is None or line.items > most.items or not _is_at_most(line.credits, most.credits):
            return False
    return True


def _is_at_most(credits: Credits | None, most: Credits | None) -> bool:
    """Of what has no price, nothing can be compared but that."""
    if credits is None or most is None:
        return credits is most
    return Decimal(str(credits)) <= Decimal(str(most))


def _is_no_looser(options: BatchOptions, approval: Approval) -> bool:
    """Whether a run's own limits allow no more than those of the run that asked."""
    told: Mapping[str, Credits | None] = {**options.max_credits_by_provider, "": options.max_credits}
    limits = {**approval.max_credits_by_provider, "": approval.max_credits}
    return all(
        (own := told.get(name)) is not None and own <= limit
        for name, limit in limits.items()
        if limit is not None
    )


def _shards(shards: Iterable[KnownShard], creatable: Iterable[Candidate]) -> Iterator[ApprovedShard]:
    found = _by_shard(shards, creatable)
    for shard in shards:
        new = [(shard.indices.start, shard.indices.stop - 1, 0)]
        items = tuple(new if shard.asked else _spans(found[shard.number]))
        if items:
            yield ApprovedShard(
                number=shard.number, planned_at=shard.planned_at, asked=shard.asked, items=items
            )


def _by_shard(shards: Iterable[KnownShard], creatable: Iterable[Candidate]) -> Mapping[int, list[Candidate]]:
    found: dict[int, list[Candidate]] = defaultdict(list)
    left = iter(sorted(creatable, key=lambda each: each.index))
    each = next(left, None)
    for shard in shards:
        while each is not None and each.index < shard.indices.stop:
            found[shard.number].append(each)
            each = next(left, None)
    return found


def _spans(items: Iterable[Candidate]) -> list[Span]:
    """Items in a row of which as much has been created, as one."""
    spans: list[Span] = []
    for each in items:
        if spans and spans[-1][1] == each.index - 1 and spans[-1][2] == each.jobs:
            spans[-1] = (spans[-1][0], each.index, each.jobs)
        else:
            spans.append((each.index, each.index, each.jobs))
    return spans


def _holds_items(approval: Approval, shards: Iterable[KnownShard], creatable: Iterable[Candidate]) -> bool:
    """Whether these may be created, and nothing has been created of them since."""
    approved = {shard.number: shard for shard in approval.shards}
    found = _by_shard(shards, creatable)
    for shard in shards:
        wanted, known = found[shard.number], approved.get(shard.number)
        if wanted and (known is None or known.planned_at != shard.planned_at):
            return False
        if known is not None and not _within(wanted, known.items):
            return False
    return True


def _within(wanted: Iterable[Candidate], spans: Iterable[Span]) -> bool:
    left = iter(spans)
    first, last, jobs = 0, 0, 0
    for each in wanted:
        while each.index > last:
            first, last, jobs = next(left, (each.index + 1, each.index + 1, 0))
        if each.index < first or each.jobs > jobs:
            return False
    return True


def _holds_plan(approval: Approval, shard: KnownShard) -> bool:
    """Whether this shard may be written: it is the one that was approved, and has not been written before."""
    known = next((each for each in approval.shards if each.number == shard.number), None)
    return known is not None and known.asked == shard.asked and approval.step == "given"
