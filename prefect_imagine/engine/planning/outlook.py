"""A batch as it stands before a run: read shard by shard, of which no more is kept than a run has to know."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from prefect_imagine.batches.plan import BatchItem, read_asked
from prefect_imagine.batches.reading import read_journal
from prefect_imagine.batches.shard import Shard
from prefect_imagine.batches.shards import FIRST, shard_numbers, shard_path
from prefect_imagine.batches.state import ItemState, Phase
from prefect_imagine.billing.bill import Bill
from prefect_imagine.billing.estimates import Expected, expected_of
from prefect_imagine.billing.root import Settled, read_unsettled, shard_books
from prefect_imagine.billing.settlement import Settlement
from prefect_imagine.billing.usage import Usage
from prefect_imagine.clock import utc_now
from prefect_imagine.engine.planning.again import Again
from prefect_imagine.engine.planning.difference import Difference, Holdings
from prefect_imagine.errors import StoreError
from prefect_imagine.providers.credits import Credits
from prefect_imagine.reports.position import Positions
from prefect_imagine.stores import Store

_FOLLOWED = (Phase.OPEN, Phase.CREATED, Phase.FINISHED)
_CANDIDATES = (Phase.PLANNED, Phase.OPEN, Phase.FAILED, Phase.UNKNOWN, Phase.WITHDRAWN)


@dataclass(frozen=True)
class KnownShard:
    """A shard as it stands before a run.

    Attributes:
        indices: those of its items.
        settled: how it has settled, if it has.
        begun: whether anything stands in its journal.
        visit: whether the run has anything to do with it.
        changes: whether items of it are to be withdrawn, restored, or created again.
        planned_at: when it was planned; `None` where nothing of it may be created.
        asked: a hash of what was asked for, of one that is yet to be written.
        expected: what a run is expected to spend on it, in credits by provider, where nothing is refused.
    """

    number: int
    indices: range
    bill: Bill
    settled: Settled | None = None
    begun: bool = False
    visit: bool = True
    changes: bool = False
    planned_at: datetime | None = None
    asked: str | None = None
    expected: Mapping[str, Credits] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Candidate:
    """An item that a run may create, as far as its state goes.

    Attributes:
        phase: where it stands; of a withdrawn one, where it stood before.
        expected: what it costs, and what may follow where it is refused.
        labels: which budgets count it may depend on them.
        again: whether somebody wants it created once more.
        jobs: how many have been, or may have been, accepted for it before it was last asked for.
    """

    index: int
    phase: Phase
    expected: tuple[Expected, ...]
    title: str
    labels: Mapping[str, str]
    again: bool
    withdrawn: bool = False
    jobs: int = 0

    @classmethod
    def of(cls, item: BatchItem, state: ItemState, again: Again) -> Candidate:
        """A planned item, or one that may be created again."""
        phase = state.withdrawn_from or state.phase
        return cls(
            index=item.index,
            phase=phase,
            expected=expected_of(_again(item, phase)),
            title=item.title,
            labels=item.request.labels,
            again=again.by(item.index, phase, state) is not None,
            withdrawn=state.phase is Phase.WITHDRAWN,
            jobs=_jobs(state, phase),
        )

    @property
    def provider(self) -> str:
        """Who would create it."""
        return self.expected[0].key.provider

    @property
    def providers(self) -> Iterator[str]:
        """Who would create it, and who may where others refuse."""
        return (each.key.provider for each in self.expected)


def _jobs(state: ItemState, phase: Phase) -> int:
    """How many jobs an item had before it was last asked for. Where it is being created in another way since
    others were refused, those belong to the same."""
    before, way = list(state.earlier), state.alternative
    if phase in (Phase.PLANNED, Phase.OPEN):
        while before and before[-1].alternative < way:
            way = before.pop().alternative
    jobs = sum(len(each.charges) + each.possible_jobs for each in (*before, state))
    return jobs + (phase is Phase.UNKNOWN)


def _again(item: BatchItem, phase: Phase) -> BatchItem:
    """An item as it would be created: whoever wants it once more begins with what was asked for."""
    return item.by(0) if phase in (Phase.FAILED, Phase.UNKNOWN) else item


@dataclass
class Outlook:
    """A batch before a run.

    Attributes:
        holdings: what it holds, to be compared with what is asked for.
        candidates: the items that a run may create.
        seen: where those stand that it may create again.
        followed: the providers of jobs under way, or of outputs to be stored, by shard.
        may_follow: those that create items of which a job fails, or a create that is open turns out refused.
        unpriced: of those the ones that tell no price for it, each with the item's labels.
    """

    batch_id: str
    shards: list[KnownShard] = field(default_factory=list)
    holdings: Holdings = field(default_factory=Holdings)
    candidates: list[Candidate] = field(default_factory=list)
    seen: dict[int, ItemState] = field(default_factory=dict)
    followed: dict[int, set[str]] = field(default_factory=dict)
    may_follow: set[str] = field(default_factory=set)
    unpriced: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    positions: Positions = field(init=False)

    def __post_init__(self) -> None:
        self.positions = Positions(self.batch_id)

    @property
    def exists(self) -> bool:
        """Whether there is such a batch."""
        return bool(self.shards)

    @property
    def usage(self) -> Usage:
        """Its bill."""
        return self.positions.result.bill.usage(utc_now())

    @property
    def items(self) -> int:
        """How many items it has."""
        return self.shards[-1].indices.stop - 1 if self.shards else 0

    def forget(self, items: Collection[int]) -> None:
        """Let these be created no more, and stay as they are."""
        self.candidates = [each for each in self.candidates if each.index not in items]
        self.seen = {index: state for index, state in self.seen.items() if index not in items}

    def creatable(self, difference: Difference) -> Iterator[Candidate]:
        """The items that a run may create: of an open one that it was not accepted may yet turn out."""
        for each in self.candidates:
            wanted = each.phase in (Phase.PLANNED, Phase.OPEN) or each.again
            away = each.index in difference.gone or (each.withdrawn and each.index not in difference.restored)
            if wanted and not away:
                yield each


def read_outlook(
    store: Store, batch_id: str, again: Again, *, compare: bool, only: int | None = None
) -> Outlook:
    """A batch as it stands; empty where there is none. Raises `StoreError`.

    Args:
        again: what of it is to be created once more.
        compare: whether it is going to be compared with what is asked for.
        only: one shard alone, where others run the rest.
    """
    outlook = Outlook(batch_id)
    numbers = shard_numbers(store, batch_id) if only is None else range(only, only + 1)
    for number in numbers:
        books = shard_books(store, batch_id, number)
        if books is None:
            _check_unplanned(store, batch_id, number, last=number == numbers[-1])
            break
        if isinstance(books, Settlement):
            shard = _settled(store, books, outlook, compare=compare)
        else:
            shard = books
            outlook.shards.append(_unsettled(number, books, books.bill, begun=books.seq > 0))
            if books.damaged:
                _follow_withdrawn(outlook, number, books)
        outlook.positions.take(shard, outlook.shards[-1].bill)
        if shard is not None:
            _take(outlook, number, shard, again, compare=compare)
    return outlook


def _unsettled(number: int, shard: Shard, bill: Bill, *, begun: bool) -> KnownShard:
    planned_at = shard.plan.planned_at
    return KnownShard(number, shard.plan.indices, bill, begun=begun, planned_at=planned_at)


def _settled(store: Store, books: Settlement, outlook: Outlook, *, compare: bool) -> Shard | None:
    """Take a settled shard in; and return it where it has items that may come back."""
    first, batch_id, number = outlook.items + 1, books.batch_id, books.shard
    outlook.shards.append(
        KnownShard(
            number=number,
            indices=range(first, first + books.usage.items),
            bill=books.bill,
            settled=Settled(books.seq, books.last_create),
            begun=True,
        )
    )
    if books.failed or books.withdrawn:
        shard = read_unsettled(store, batch_id, number)
        if shard is None:
            raise StoreError(f"the plan of {store.address}/{books.path} is gone")
        outlook.shards[-1] = replace(outlook.shards[-1], planned_at=shard.plan.planned_at)
        return shard
    if compare:
        for index, asked in read_asked(store, batch_id, number, outlook.shards[-1].indices):
            outlook.holdings.add(index, asked, Phase.STORED)
    return None


def _check_unplanned(store: Store, batch_id: str, number: int, *, last: bool) -> None:
    """Raise `StoreError` where a plan is gone. There may be none yet: of a batch that is new, or of a last
    shard that somebody is about to plan."""
    path = shard_path(batch_id, number)
    begun = number > FIRST and read_journal(store, path).seq > 0
    if begun or not last:
        raise StoreError(f"the plan of {store.address}/{path} is gone")


def _follow_withdrawn(outlook: Outlook, number: int, shard: Shard) -> None:
    """What a damaged journal says to be withdrawn may have come back, and been created, in what is lost."""
    for item, known in shard.standings():
        if known.withdrawn_from is Phase.PLANNED:
            outlook.followed.setdefault(number, set()).add(item.request.provider)


def _take(outlook: Outlook, number: int, shard: Shard, again: Again, *, compare: bool) -> None:
    for item, known in shard.standings():
        if compare:
            outlook.holdings.add(item.index, item.asked, known.phase)
        if known.phase in _FOLLOWED:
            outlook.followed.setdefault(number, set()).add(item.request.provider)
            outlook.may_follow.update(way.provider for way in item.others)
            silent = (way.provider for way in item.others if way.estimate.credits is None)
            outlook.unpriced += [(name, item.request.labels) for name in silent]
        if known.phase in _CANDIDATES:
            candidate = Candidate.of(item, known, again)
            outlook.candidates.append(candidate)
            if candidate.again:
                outlook.seen[item.index] = known
