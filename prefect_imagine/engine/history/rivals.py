"""Creates that others have sent, or that were given up: a history may show their jobs as it shows ours."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from prefect_imagine.batches.state import ItemState, Phase
from prefect_imagine.engine.history.identity import RequestIdentity


@dataclass(frozen=True, slots=True)
class OpenCreate:
    """A create that was sent, and whose job, if there is one, nobody knows.

    Attributes:
        fingerprint: of its request; requests of one identity may differ in what no history shows.
        asked_at: the provider's time of its intent; `None` where that is not known.
        awaited: whether it may still be answered: then its job is that of whoever sent it.
    """

    identity: RequestIdentity
    fingerprint: str
    asked_at: datetime | None
    awaited: bool


def open_creates(state: ItemState, identity: RequestIdentity, fingerprint: str) -> Iterator[OpenCreate]:
    """Those of an item in one of its ways, the given-up ones that were created again included."""
    if state.phase in (Phase.OPEN, Phase.UNKNOWN):
        awaited = state.phase is Phase.OPEN and not state.unanswered
        yield OpenCreate(identity, fingerprint, state.asked_at, awaited)
    for _ in range(state.possible_jobs):  # by the provider's clock it is not known when they were asked for
        yield OpenCreate(identity, fingerprint, None, awaited=False)


@dataclass(frozen=True)
class Rivals:
    """What else may have created the jobs that a history shows for one class of open attempts.

    Attributes:
        alike: how many creates ask for just the same and are not awaited: whoever claims a job of the class
            may have it, and there may be so many more of them.
        apart: whether one asks for something else, and the history could not tell which is which; or whether
            that is not known.
        awaited: when the last of those was asked for that may still be answered; `None` for none.
    """

    alike: int = 0
    apart: bool = False
    awaited: datetime | None = None

    @property
    def contest(self) -> bool:
        """Whether a job that the history shows may not be taken as long as these are open."""
        return self.apart or self.awaited is not None


def rivals_of(
    asked: Collection[str], creates: Iterable[OpenCreate], since: datetime, *, complete: bool
) -> Rivals:
    """The rivals among creates of one identity.

    Args:
        asked: the fingerprints of the requests whose jobs are looked for.
        since: no job that is looked for was asked for earlier, by the provider's clock.
        complete: whether these are all that are known to anybody.
    """
    alike, apart, awaited = 0, not complete, None
    for each in creates:
        if each.asked_at is not None and each.asked_at < since:
            continue
        apart = apart or each.fingerprint not in asked
        if each.awaited:
            awaited = max(awaited or since, each.asked_at or since)
        else:
            alike += 1
    return Rivals(alike, apart, awaited)
