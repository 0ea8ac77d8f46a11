"""Items that one provider has refused, and another one creates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Protocol

from prefect_imagine.batches.plan import BatchItem
from prefect_imagine.batches.records import AnyItemRecord, Finished, Instead
from prefect_imagine.batches.state import ItemState, Phase
from prefect_imagine.clock import utc_now
from prefect_imagine.engine.open_shards import OpenShards
from prefect_imagine.engine.wake_up import WakeUp
from prefect_imagine.engine.ways.next_way import next_way
from prefect_imagine.engine.ways.possible import possible_intent

_MAY_BE_REFUSED = (Phase.PLANNED, Phase.OPEN, Phase.CREATED)


class Receiver(Protocol):
    """One provider's part of a run, as far as others hand items over to it."""

    wake_up: WakeUp

    @property
    def idle(self) -> bool:
        """Whether nothing comes of it any more, unless something comes to it."""

    def load(self, item: BatchItem) -> None:
        """Take over an item."""


class Handover:
    """Hands items over, and knows which providers may still get some. Kept as records come: nothing looks at
    all items.

    Args:
        without: providers at which nothing is created.
    """

    def __init__(self, without: Collection[str] = ()) -> None:
        self._without = frozenset(without)
        self._runs: Mapping[str, Receiver] = {}
        self._coming: dict[str, Counter[str]] = {}
        self._counted: dict[int, tuple[str, frozenset[str]]] = {}

    def connect(self, runs: Mapping[str, Receiver]) -> None:
        """Hand items over to these."""
        self._runs = runs

    def instead(self, shards: OpenShards, entries: Iterable[AnyItemRecord]) -> Iterator[AnyItemRecord]:
        """What follows upon records that are about to be written: upon refusals of items that are still
        wanted."""
        for entry in entries:
            shard = shards.of(entry.item)
            state = shard.state[entry.item]
            number = next_way(shard.item(entry.item), entry, self._without)
            if number is None or entry.item in shards.gone or state.unwanted:
                continue
            if isinstance(entry, Finished) and entry.id != state.id:
                continue  # of a job that it was created by before
            yield Instead(item=entry.item, at=utc_now(), alternative=number)
            if entry.item in shard.doubtful:
                yield possible_intent(shard.plan, entry.item, state.attempt + 1, number)

    def follow(self, item: BatchItem, state: ItemState) -> None:
        """Take in where an item stands, as it is created now."""
        if not item.alternatives:
            return
        self.forget(item.index)
        if state.phase in _MAY_BE_REFUSED:
            provider = item.request.provider
            others = frozenset(way.provider for way in item.others if way.provider != provider)
            self._counted[item.index] = (provider, others)
            for each in others:
                self._coming.setdefault(each, Counter())[provider] += 1

    def forget(self, index: int) -> None:
        """An item does not come from anybody any more."""
        provider, others = self._counted.pop(index, ("", frozenset()))
        for each in others:
            self._coming[each][provider] -= 1
            if not self._coming[each][provider] and each in self._runs:
                self._runs[each].wake_up.wake()

    def may_come(self, provider: str) -> bool:
        """Whether others may still hand items over to this one."""
        coming = self._coming.get(provider, Counter[str]())
        return any(count and not self._is_idle(source) for source, count in coming.items())

    def hand_over(self, item: BatchItem) -> None:
        """Give an item to whoever creates it now, if anybody does in this run."""
        receiver = self._runs.get(item.request.provider)
        if receiver is not None:
            receiver.load(item)
            receiver.wake_up.wake()

    def end(self) -> None:
        """One provider's part has ended: the others may have waited for it."""
        for run in self._runs.values():
            run.wake_up.wake()

    def _is_idle(self, provider: str) -> bool:
        run = self._runs.get(provider)
        return run is None or run.idle
