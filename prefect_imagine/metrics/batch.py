"""One batch as metrics see it: shards whose figures stand, and shards that are read on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from prefect_imagine.batches.index import Claims
from prefect_imagine.batches.reading import segment_key
from prefect_imagine.batches.shards import shard_numbers, shard_path
from prefect_imagine.billing.root import Unsettled, shard_books, take_stock
from prefect_imagine.billing.settlement import Settlement, read_settlement
from prefect_imagine.errors import StoreError
from prefect_imagine.metrics.figures import Figures
from prefect_imagine.metrics.followed import FollowedShard
from prefect_imagine.metrics.made import Made, read_made
from prefect_imagine.stores import Store


@dataclass(frozen=True)
class StandingShard:
    """A shard of which nothing changes unless somebody goes on with it.

    Attributes:
        seq: the last segment of its journal that the figures hold.
    """

    seq: int
    figures: Figures
    damaged: bool = False


@dataclass
class KnownBatch:
    """What is known of the batches of one name: of the one that there is, and of those that were deleted.

    Attributes:
        made: which batch it is; `None` where there is none.
        past: what those that are gone had come to.
        listed: key and version of its entry where the index lists it as settled; `None` where it does not.
        claims: the claims of its shards at the last look.
        looked_at: when that was, by the boot clock.
        unreadable: whether the last look found what it could not read; the figures are those from before.
    """

    name: str
    made: Made | None = None
    past: dict[Made, Figures] = field(default_factory=dict)
    listed: tuple[str, str] | None = None
    claims: Claims | None = None
    looked_at: float = 0.0
    unreadable: bool = False
    standing: dict[int, StandingShard] = field(default_factory=dict)
    followed: dict[int, FollowedShard] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether all that its journals say could be read."""
        return not self.unreadable and not any(shard.damaged for shard in self._shards)

    @property
    def is_unsettled(self) -> bool:
        """Whether there is a batch that is not settled, as far as can be read."""
        return self.unreadable or bool(self.followed)

    def figures(self) -> Iterator[Figures]:
        """Those of its shards, and of all that was deleted."""
        yield from self.past.values()
        yield from (shard.figures for shard in self._shards)

    @property
    def _shards(self) -> Iterator[StandingShard | FollowedShard]:
        yield from self.standing.values()
        yield from self.followed.values()

    def refresh(self, store: Store, claims: Claims | None, *, listed: bool) -> None:
        """Take in what has changed. Raises `StoreError`, after which the figures are as before, or newer.

        Args:
            claims: of an active batch; by them it is known whether somebody goes on with a settled shard. Of
                others their journals are asked.
            listed: whether the index lists it as settled, so that nothing of it has to be read on.
        """
        made = read_made(store, self.name, self.made)
        if made != self.made:
            self.leave()
            self.made = made
        if made is not None:
            self._refresh_shards(store, made, claims, listed=listed)
        self.unreadable = False

    def _refresh_shards(self, store: Store, made: Made, claims: Claims | None, *, listed: bool) -> None:
        try:
            for shard in shard_numbers(store, self.name):
                known = self.standing.get(shard)
                if known is None or self._goes_on(store, shard, known.seq, claims):
                    self._refresh(store, shard, listed=listed)
        except StoreError:
            if made in self.past:  # it has come back, and what it had come to is counted until it is read
                self._forget_shards()
            raise
        self.past.pop(made, None)

    def _goes_on(self, store: Store, shard: int, seq: int, claims: Claims | None) -> bool:
        if claims is not None:
            return claims.get(shard, 0) > seq
        return store.head(segment_key(shard_path(self.name, shard), seq + 1)) is not None

    def _refresh(self, store: Store, shard: int, *, listed: bool) -> None:
        if shard not in self.followed or self.unreadable:
            self._meet(store, shard, listed=listed)
        else:
            self.followed[shard].read_on(store)
        known = self.followed.get(shard)
        if known is not None and (listed or self._has_settled(store, shard, known)):
            self.standing[shard] = StandingShard(known.seq, known.figures, known.damaged)
            del self.followed[shard]

    def _meet(self, store: Store, shard: int, *, listed: bool) -> None:
        found = (take_stock if listed else shard_books)(store, self.name, shard)
        if isinstance(found, Settlement):
            self.standing[shard] = StandingShard(found.seq, Figures.of_settled(found))
            self.followed.pop(shard, None)
        elif isinstance(found, Unsettled):
            self.followed[shard] = FollowedShard(found)
            self.standing.pop(shard, None)

    def _has_settled(self, store: Store, shard: int, known: FollowedShard) -> bool:
        if known.unfinished:
            return False
        settlement = read_settlement(store, shard_path(self.name, shard))
        return settlement is not None and settlement.seq == known.seq

    def leave(self) -> None:
        """It is not there any more: what has ended was paid for all the same, and nothing else is left. Where
        it comes back, from a disk that was away, it is read anew, and counted once."""
        if self.made is not None and self.made not in self.past:
            self.past[self.made] = Figures()
            for shard in self._shards:
                self.past[self.made].include(shard.figures.ended())
        self._forget_shards()
        self.made = self.claims = self.listed = None
        self.unreadable = False

    def _forget_shards(self) -> None:
        self.standing.clear()
        self.followed.clear()
