"""What one read of the history says of all open attempts together: pure, and linear in what it shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from prefect_imagine.engine.history.attempts import (
    Finding,
    OpenAttempt,
    Window,
    doubted,
    item_mark,
    match,
    within,
)
from prefect_imagine.engine.history.identity import IdentityIndex, RequestIdentity, UnclaimedJobs, faithful
from prefect_imagine.providers.models import Generation


@dataclass(frozen=True)
class Evidence:
    """One read of the history, and what is known of the jobs in it.

    Attributes:
        window: when the jobs of the open attempts may have been created.
        own: what was asked for by this batch's known jobs, by id.
        taken: ids that belong to this batch or to others under its root.
        unsettled: what is asked for by creates whose fate is not known, of this batch and others.
        by_mark: whether the provider echoes our marks.
        alike: by what is asked for, how many creates of others, or given up, ask for just that.
        reused: ids of others whose jobs were created so long after they were asked for that the provider may
            have given an id once more, as one does that was set up anew.
    """

    rows: Sequence[Generation]
    window: Window
    own: Mapping[str, RequestIdentity]
    taken: AbstractSet[str]
    unsettled: AbstractSet[RequestIdentity]
    by_mark: bool
    alike: Mapping[RequestIdentity, int] = field(default_factory=dict)
    reused: AbstractSet[str] = frozenset()


def judge(groups: Sequence[Sequence[OpenAttempt]], evidence: Evidence) -> list[list[Finding]]:
    """The findings of each group; the attempts of a group are of one class."""
    alike, unclaimed = _sorted(evidence)
    told = faithful((row, evidence.own[row.id]) for row in evidence.rows if row.id in evidence.own)
    marked = _by_item(evidence)
    taken = set(evidence.taken)
    found = []
    for group in groups:
        identity = group[0].identity
        own_marks = (marked.get(item_mark(attempt.correlator)) for attempt in group)
        findings = match(
            group,
            [*alike[identity], *(row for row in own_marks if row is not None and row not in alike[identity])],
            taken=taken,
            window=evidence.window,
            echoes_correlator=evidence.by_mark,
            told_faithfully=told.get(identity[:2]),
            unclaimed=unclaimed,
            alike=evidence.alike.get(identity, 0),
        )
        if any(row.id in evidence.reused and within(row, evidence.window) for row in alike[identity]):
            findings = [doubted(finding) for finding in findings]
        taken |= {finding.job.id for finding in findings if finding.job is not None}
        found.append(findings)
    return found


def _sorted(evidence: Evidence) -> tuple[dict[RequestIdentity, list[Generation]], UnclaimedJobs]:
    """The jobs that may answer each class, and those that nobody has claimed and that answer none."""
    index = IdentityIndex(evidence.unsettled)
    alike: dict[RequestIdentity, list[Generation]] = defaultdict(list)
    unclaimed = []
    for row in evidence.rows:
        answered = index.answered_by(row)
        for identity in answered:
            alike[identity].append(row)
        marked = evidence.by_mark and row.correlator is not None
        if not (answered or marked or row.id in evidence.taken) and within(row, evidence.window):
            unclaimed.append(row)
    return alike, UnclaimedJobs(unclaimed)


def _by_item(evidence: Evidence) -> dict[str, Generation]:
    if not evidence.by_mark:
        return {}
    rows = evidence.rows
    return {item_mark(row.correlator): row for row in rows if row.correlator is not None}
