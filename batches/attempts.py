"""Open attempts: creates that were sent and whose outcome is not known, and how they are settled."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from prefect_imagine.providers.clock import boot_seconds
from prefect_imagine.providers.models import Generation, GenerationRequest, HistoryPage

# No clock is off by more than the time zones are apart.
LARGEST_SKEW = timedelta(hours=15)
# Between an intent and its job's own time there may be a slow answer.
USUAL_DELAY = timedelta(seconds=120)
EchoClass = tuple[str, str | None, str, str | None]


def echo_class(request: GenerationRequest, wire_prompt: str) -> EchoClass:
    """What a provider's history shows of a request: kind, model, prompt, and a seed where there is one.
    Requests of one class cannot be told apart there."""
    seed = request.settings.get("seed")
    prompt = " ".join(wire_prompt.split())  # some providers echo white space as they please
    return (request.kind, request.model, prompt, None if seed is None else str(seed))


@dataclass(frozen=True)
class OpenAttempt:
    """One create whose outcome is open.

    Attributes:
        provider_at: the provider's time of the intent.
        since: boot clock of the intent, or of the moment this process learned of it if it cannot tell.
        looking_since: boot clock of the moment from which this process has looked for it.
        known_before: how many ids the journal held before the intent.
        covering: how many reads of the history have covered its window without showing its job.
        looks: how many reads were made in all.
        confirmed: whether the last covering read was late enough to prove absence.
    """

    item: int
    attempt: int
    echo: EchoClass
    correlator: str
    provider_at: datetime
    since: float
    looking_since: float = 0.0
    known_before: int = 0
    covering: int = 0
    looks: int = 0
    confirmed: bool = False

    @property
    def age(self) -> float:
        """Seconds since the intent."""
        return boot_seconds() - self.since

    def ranked(self, known: int) -> OpenAttempt:
        """The same, with so many ids known before it."""
        return replace(self, known_before=known)

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
    AMBIGUOUS = "ambiguous"


@dataclass(frozen=True)
class Finding:
    """What one read of the history says of one attempt; `job` is the one to adopt."""

    attempt: OpenAttempt
    verdict: Verdict
    job: Generation | None = None


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


def window_of(attempts: Sequence[OpenAttempt], skew: timedelta | None, margin: float) -> Window:
    """The window of these attempts.

    Args:
        skew: by how much the records' clock is ahead of the provider's `Date`; `None` if that is unknown.
        margin: seconds by which a job's own time may lie before its intent.
    """
    asked = min(attempt.provider_at for attempt in attempts)
    begins = asked + (skew or timedelta()) - timedelta(seconds=margin)
    return Window(begins, begins if skew is not None else begins - LARGEST_SKEW)


def skew_of(seen: Iterable[Generation], asked_at: Mapping[str, datetime]) -> timedelta | None:
    """By how much the records' clock is ahead, judged by our own jobs among those seen; `None` if none is."""
    ahead = [
        row.created_at - asked_at[row.id] for row in seen if row.created_at is not None and row.id in asked_at
    ]
    if not ahead:
        return None
    typical = sorted(ahead)[len(ahead) // 2]
    return typical if abs(typical) > USUAL_DELAY else timedelta()


def covers(pages: Sequence[HistoryPage], since: datetime, known_before: Collection[str]) -> bool:
    """Whether these pages show every job accepted since a moment.

    They do if the list's end was seen, or, in a list that is newest first, a job older than that, or one
    that is known to have been created before.
    """
    if any(page.end for page in pages):
        return True
    times = [row.created_at for page in pages for row in page.generations if row.created_at is not None]
    in_order = all(page.newest_first for page in pages) and times == sorted(times, reverse=True)
    if not in_order or not times:
        return False
    return times[-1] < since or any(row.id in known_before for page in pages for row in page.generations)


def match(
    attempts: Sequence[OpenAttempt],
    seen: Collection[Generation],
    *,
    taken: Collection[str],
    window: Window,
    echoes_correlator: bool,
) -> list[Finding]:
    """Find the jobs of open attempts of one class among what the history shows.

    By correlator where the provider echoes one; else by count, since identical requests are different
    items. More candidates than attempts means that somebody else asked for the same: then none is taken.

    Args:
        taken: ids that belong to other items or other batches.
    """
    alike = [row for row in seen if row.id not in taken and _alike(row, attempts[0].echo)]
    findings: list[Finding] = []
    left = list(attempts)
    if echoes_correlator:
        findings, left = _by_correlator(attempts, alike)
        alike = [row for row in alike if row.correlator is None]
    candidates = [row for row in alike if row.created_at is None or row.created_at >= window.begins]
    doubtful = any(row.created_at and window.doubtful_from <= row.created_at < window.begins for row in alike)
    if doubtful and not candidates:
        return findings + [Finding(each, Verdict.AMBIGUOUS) for each in left]
    return findings + _by_count(left, candidates)


def _by_correlator(
    attempts: Sequence[OpenAttempt], candidates: Sequence[Generation]
) -> tuple[list[Finding], list[OpenAttempt]]:
    """By the item's mark, whichever attempt it names: a damaged journal may have lost a later one."""
    jobs = {_item_mark(row.correlator): row for row in candidates if row.correlator is not None}
    found = {each.item: jobs.get(_item_mark(each.correlator)) for each in attempts}
    adopted = [Finding(each, Verdict.ADOPT, found[each.item]) for each in attempts if found[each.item]]
    return adopted, [each for each in attempts if not found[each.item]]


def _item_mark(correlator: str) -> str:
    return correlator.rpartition(":")[0]


def _by_count(attempts: Sequence[OpenAttempt], candidates: Sequence[Generation]) -> list[Finding]:
    if not attempts:
        return []
    if len(candidates) > len(attempts):
        return [Finding(each, Verdict.AMBIGUOUS) for each in attempts]
    oldest_first = sorted(attempts, key=lambda each: each.provider_at)
    jobs = sorted(candidates, key=lambda row: row.created_at or oldest_first[0].provider_at)
    return [
        Finding(each, Verdict.ADOPT, jobs[place]) if place < len(jobs) else Finding(each, Verdict.NOT_SEEN)
        for place, each in enumerate(oldest_first)
    ]


def _alike(row: Generation, echo: EchoClass) -> bool:
    """Whether a job may answer a request of this class. What the provider does not echo cannot differ."""
    kind, model, prompt, seed = echo
    return (
        (row.prompt is None or " ".join(row.prompt.split()) == prompt)
        and (row.model is None or model is None or row.model == model)
        and (row.kind is None or row.kind == kind)
        and (row.echoed_seed is None or seed is None or row.echoed_seed == seed)
    )
