"""What is known of the jobs that a read of the history shows, of this run's and of others'."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.batches.shard import ways
from prefect_imagine.engine.history.attempts import OpenAttempt, reused_ids
from prefect_imagine.engine.history.identity import RequestIdentity
from prefect_imagine.engine.history.judgement import Evidence
from prefect_imagine.engine.history.rivals import OpenCreate, Rivals, open_creates, rivals_of
from prefect_imagine.engine.provider_run import ProviderRun
from prefect_imagine.engine.stages.history_reader import Reading
from prefect_imagine.providers.models import Mark


@dataclass(frozen=True)
class Gathered:
    """What one read is judged by, and who else may have created what it shows, by what was asked for."""

    evidence: Evidence
    rivals: Mapping[RequestIdentity, Rivals]


async def gather(
    run: ProviderRun, blocking: Blocking, reading: Reading, groups: Sequence[Sequence[OpenAttempt]]
) -> Gathered:
    """What has to be known to judge a read that has been made. Raises `StoreError`.

    Args:
        groups: the open attempts, each with all others of its class.
    """
    # Asked after the history was read: of any job it showed, the owner's intent is durable by now.
    since = reading.asked_since(run.timing.deadline + run.timing.create)
    others = await blocking(run.other_batches.jobs, run.provider, since)
    reused = await blocking.once(reused_ids, reading.rows, others.ids, reading.skew)
    own = {row.id: run.jobs.owned[row.id] for row in reading.rows if row.id in run.jobs.owned}
    creates: dict[RequestIdentity, list[OpenCreate]] = defaultdict(list)
    for each in (*others.creates, *_not_looked_for(run)):
        creates[each.identity].append(each)
    rivals = {}
    for group in groups:
        asked = {run.shards.item(attempt.item).request.fingerprint for attempt in group}
        identity = group[0].identity
        rivals[identity] = rivals_of(asked, creates.get(identity, ()), since, complete=not others.incomplete)
    evidence = Evidence(
        rows=reading.rows,
        window=reading.window,
        own=own,
        taken={row.id for row in reading.rows if row.id in own or row.id in others.ids},
        reused=reused - own.keys(),
        unsettled={*_being_sent(run), *creates, *(each.identity for each in run.queues.open.values())},
        by_mark=run.client.capabilities.mark is not Mark.NONE,
        alike={identity: each.alike for identity, each in rivals.items()},
    )
    return Gathered(evidence, rivals)


def _being_sent(run: ProviderRun) -> Iterator[RequestIdentity]:
    return (run.identity(run.shards.item(index)) for index in run.admission.sending)


def _not_looked_for(run: ProviderRun) -> Iterator[OpenCreate]:
    """This run's own creates that may have a job that is not known, and that it does not look for."""
    for index in run.jobs.may_be_unknown - run.queues.open.keys():
        for way in ways(run.shards.item(index), run.state(index)):
            if way.item.request.provider == run.provider:
                yield from open_creates(way.state, run.identity(way.item), way.item.request.fingerprint)
