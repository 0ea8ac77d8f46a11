"""Open attempts: creates that were sent and whose outcome is not known, and how they are settled."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from opentelemetry.trace import SpanContext

from prefect_imagine.clock import boot_seconds
from prefect_imagine.engine.history.identity import RequestIdentity, UnclaimedJobs, same
from prefect_imagine.providers.models import Generation, HistoryPage

# No clock is off by more than the time zones are apart.
LARGEST_SKEW = timedelta(hours=15)
# Between an intent and its job's own time there may be a slow answer.
USUAL_DELAY = timedelta(seconds=120)
LONGEST_DELAY = timedelta(seconds=420)


@dataclass(frozen=True)
class OpenAttempt:
    """One create whose outcome is open.

    Attributes:
        provider_at: the provider's time of the intent.
        since: boot clock of the intent, or of the moment this process learned of it if it cannot tell.
        looking_since: boot clock of the moment from which this process has looked for it unhindered.
        held_up: how many reads others' creates of the same have kept from saying whose a job is.
        known_before: how many ids the journal held before the intent.
        covering: how many reads of the history have covered its window without showing its job.
        looks: how many reads were made in all.
        confirmed: whether the last covering read was late enough to prove absence.
        clocked: whether `provider_at` is the provider's time, and not what this side took for it.
        asked_in: the span of the create, where this process has sent it.
    """

    item: int
    attempt: int
    identity: RequestIdentity
    correlator: str
    provider_at: datetime
    since: float
    looking_since: float = 0.0
    held_up: int = 0
    known_before: int = 0
    covering: int = 0
    looks: int = 0
    confirmed: bool = False
    clocked: bool = True
    asked_in: SpanContext | None = None

    @property
    def age(self) -> float:
        """Seconds since the intent."""
        return boot_seconds() - self.since

    def sent(self, known_before: int, asked_in: SpanContext | None) -> OpenAttempt:
        """The same of a create that this process has sent, with so many ids known before it."""
        return replace(self, known_before=known_before, asked_in=asked_in)

    def held(self, begun: float) -> OpenAttempt:
        """The same after one more read, begun then, that others' creates have kept from settling it."""
        return replace(self, looking_since=begun, held_up=self.held_up + 1)

    def looked(self, *, covered: bool, late: bool) -> OpenAttempt:
        """The same after one more read that did not show its job.

        Args:
            covered: whether the read would have shown a job accepted since the intent.
            late: whether it was begun when every such job must have been in the history.
        """
        return replace(
            self,
            looks=self.looks + 1,
            covering=self.covering + covered,
            confirmed=covered and late and self.covering >= 1,
        )


class Verdict(StrEnum):
    """What one read of the history says of an attempt."""

    ADOPT = "adopt"
    NOT_SEEN = "not seen"
    DOUBTFUL = "doubtful"
    AMBIGUOUS = "ambiguous"


@dataclass(frozen=True)
class Finding:
    """What one read of the history says of one attempt.

    Attributes:
        job: the one to adopt.
        spare: others that answer it just as well, and that are not meant for another attempt: creates of
            others explain them.
    """

    attempt: OpenAttempt
    verdict: Verdict
    job: Generation | None = None
    spare: tuple[Generation, ...] = ()


@dataclass(frozen=True)
class Window:
    """When the jobs of open attempts may have been created, by the clock of the provider's records.

    Attributes:
        begins: no job of theirs is older.
        doubtful_from: from here to `begins` one might be, because nothing has shown yet that the records'
            clock agrees with the provider's `Date`.
    """

    begins: datetime
    doubtful_from: datetime


def window_of(
    attempts: Sequence[OpenAttempt],
    skew: timedelta | None,
    margin: float,
    behind: timedelta = LARGEST_SKEW,
) -> Window:
    """The window of these attempts.

    Args:
        skew: by how much the records' clock is ahead of the provider's `Date`; `None` if that is unknown.
        margin: seconds by which a job's own time may lie before its intent.
        behind: the most by which the records' clock can be behind, where its skew is unknown.
    """
    asked = min(attempt.provider_at for attempt in attempts)
    begins = asked + (skew or timedelta()) - timedelta(seconds=margin)
    if not all(attempt.clocked for attempt in attempts):
        return Window(begins, begins - LARGEST_SKEW)
    return Window(begins, begins if skew is not None else begins - behind)


def behind_at_most(seen: Iterable[Generation], now: datetime) -> timedelta:
    """The most by which the records' clock can be behind the provider's `Date`: no record is of later than
    now."""
    newest = max((row.created_at for row in seen if row.created_at is not None), default=now - LARGEST_SKEW)
    return max(timedelta(), min(LARGEST_SKEW, now - newest))


def skew_of(seen: Iterable[Generation], asked_at: Mapping[str, datetime]) -> timedelta | None:
    """By how much the records' clock is ahead, judged by our own jobs among those seen; `None` if none is."""
    ahead = [
        row.created_at - asked_at[row.id] for row in seen if row.created_at is not None and row.id in asked_at
    ]
    if not ahead:
        return None
    least = min(ahead)  # no job is created before it is asked for
    return least if abs(least) > USUAL_DELAY else timedelta()


@dataclass(frozen=True)
class Known:
    """Jobs of ours that tell how far a history can be believed.

    Attributes:
        before: created before the attempts: what stands above one of them in an ordered list is newer.
        due: created since, and so long ago that a history without one of them lacks others too.
        earlier: all older ones that are due: a list that lacks one was not seen to its end, whatever it says.
    """

    before: Collection[str] = ()
    due: Collection[str] = ()
    earlier: Collection[str] = ()


def covers(pages: Sequence[HistoryPage], since: datetime, known: Known) -> bool:
    """Whether these pages show every job accepted since a moment.

    They do if the list's end was seen, or, in a list that is newest first, a job older than that, or older
    than one that is known to have been created before: of two that were created in the same second either
    may come first.
    """
    rows = [row for page in pages for row in page.generations]
    shown = {row.id for row in rows}
    if not shown.issuperset(known.due):
        return False
    if any(page.end for page in pages) and shown.issuperset(known.earlier):
        return True
    dated = [(row.created_at, row.id) for row in rows if row.created_at is not None]
    times = [created_at for created_at, _ in dated]
    in_order = all(page.newest_first for page in pages) and times == sorted(times, reverse=True)
    if not in_order or not times:
        return False
    anchors = (created_at for created_at, job in dated if job in known.before)
    return times[-1] < since or any(times[-1] < created_at for created_at in anchors)


def match(
    attempts: Sequence[OpenAttempt],
    seen: Collection[Generation],
    *,
    taken: Collection[str],
    window: Window,
    echoes_correlator: bool,
    told_faithfully: bool | None,
    unclaimed: UnclaimedJobs,
    alike: int = 0,
) -> list[Finding]:
    """Find the jobs of open attempts of one class among what the history shows.

    By correlator where the provider echoes one, whatever else it echoes; else by count, since identical
    requests are different items. More candidates than creates that are known means that somebody else asked
    for the same: then none is taken. A job that nobody claims, and that may be theirs although it is told
    otherwise, is not taken, but nor are they absent then.

    Args:
        taken: ids that belong to other items or other batches.
        told_faithfully: whether this history tells jobs of this kind and model as they were asked for;
            `None` where none of ours shows it.
        unclaimed: those in the window that nobody has claimed, and that answer no create that is not settled.
        alike: how many creates of others, or given up, ask for the same.
    """
    identity = attempts[0].identity
    free = [row for row in seen if row.id not in taken]
    findings: list[Finding] = []
    left = list(attempts)
    if echoes_correlator:
        findings, left = _by_correlator(attempts, free)
        free = [row for row in free if row.correlator is None]
    answers = [row for row in free if same(row, identity)]
    candidates = [row for row in answers if within(row, window)]
    older = any(row.created_at and window.doubtful_from <= row.created_at < window.begins for row in answers)
    if older and not candidates:
        return findings + [Finding(each, Verdict.AMBIGUOUS) for each in left]
    doubtful = unclaimed.may_answer(identity, told_faithfully)
    return findings + [doubted(each) if doubtful else each for each in _by_count(left, candidates, alike)]


def within(row: Generation, window: Window) -> bool:
    """Whether a job may have been created in a window: what tells no time may."""
    return row.created_at is None or row.created_at >= window.begins


def reused_ids(
    seen: Iterable[Generation], claimed: Mapping[str, datetime | None], skew: timedelta | None
) -> set[str]:
    """The ids among those claimed whose jobs are much younger than what is said to have asked for them."""
    found = ((row, claimed.get(row.id)) for row in seen)
    delay = LONGEST_DELAY + (skew or timedelta())
    return {
        row.id
        for row, asked_at in found
        if row.created_at is not None and asked_at is not None and row.created_at - asked_at > delay
    }


def doubted(finding: Finding) -> Finding:
    """The same, where the history shows a job that may be this attempt's."""
    return replace(finding, verdict=Verdict.DOUBTFUL) if finding.verdict is Verdict.NOT_SEEN else finding


def _by_correlator(
    attempts: Sequence[OpenAttempt], candidates: Sequence[Generation]
) -> tuple[list[Finding], list[OpenAttempt]]:
    """By the item's mark, whichever attempt it names: a damaged journal may have lost a later one."""
    jobs = {item_mark(row.correlator): row for row in candidates if row.correlator is not None}
    found = {each.item: jobs.get(item_mark(each.correlator)) for each in attempts}
    adopted = [Finding(each, Verdict.ADOPT, found[each.item]) for each in attempts if found[each.item]]
    return adopted, [each for each in attempts if not found[each.item]]


def item_mark(correlator: str) -> str:
    """The part of a mark that names the item, whichever attempt it is."""
    return correlator.rpartition(":")[0]


def _by_count(attempts: Sequence[OpenAttempt], candidates: Sequence[Generation], alike: int) -> list[Finding]:
    if not attempts:
        return []
    if len(candidates) > len(attempts) + alike:
        return [Finding(each, Verdict.AMBIGUOUS) for each in attempts]
    oldest_first = sorted(attempts, key=lambda each: each.provider_at)
    jobs = sorted(candidates, key=lambda row: row.created_at or oldest_first[0].provider_at)
    spare = tuple(jobs[len(attempts) :])
    return [
        Finding(each, Verdict.ADOPT, jobs[place], spare)
        if place < len(jobs)
        else Finding(each, Verdict.NOT_SEEN)
        for place, each in enumerate(oldest_first)
    ]
