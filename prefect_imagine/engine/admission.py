"""Which items may be created now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable

from prefect_imagine.batches.plan import BatchItem
from prefect_imagine.clock import boot_seconds
from prefect_imagine.engine.history.identity import RequestIdentity
from prefect_imagine.engine.open_shards import OpenShards
from prefect_imagine.engine.pending_limit import PendingLimit
from prefect_imagine.engine.queues import Queues
from prefect_imagine.engine.wake_up import WakeUp

MAX_LOST_CREATES = 4
"""Creates of one item, each lost and proven absent, after which it is given up where others are accepted."""


class Admission:
    """Decides which items of a provider may be created now, and knows which are being sent.

    Attributes:
        sending: items whose create is being sent right now.
        max_pending: how many jobs may be pending at once, as far as the provider has shown.
        readable: whether a job of this key has been read.
        unread: items whose create was answered as a success, but with no job that could be read.
        accepted: how many creates this run has seen accepted.
        probe: the item that was released although the history had not shown any job of ours yet.
    """

    def __init__(
        self,
        shards: OpenShards,
        queues: Queues,
        wake_up: WakeUp,
        identity: Callable[[BatchItem], RequestIdentity],
    ) -> None:
        self._held_by: set[str] = set()
        self.sending: set[int] = set()
        self.max_pending = PendingLimit()
        self.readable = False
        self.unread: set[int] = set()
        self.accepted = 0
        self.probe: int | None = None
        self._shards = shards
        self._queues = queues
        self._wake_up = wake_up
        self._identity = identity
        self._admitted: Counter[tuple[RequestIdentity, str]] = Counter()
        self._last_sent: dict[RequestIdentity, float] = {}
        self._left: set[RequestIdentity] = set()
        self._accepted_before: dict[int, list[int]] = {}

    @property
    def held(self) -> bool:
        """Whether nothing is created for now, because somebody has paused the run."""
        return bool(self._held_by)

    def hold(self, by: str, held: bool) -> None:
        """Create nothing for now, or go on, as far as this one is concerned: all who hold have to let go."""
        (self._held_by.add if held else self._held_by.discard)(by)
        self._wake_up.notify()

    @property
    def waiting(self) -> bool:
        """Whether another create has to wait: the run is paused, or one was answered with no job, and it is
        not known yet whether what this key creates can be read at all."""
        return self.held or not self.unread.isdisjoint(self._queues.open)

    def full(self, coming: Collection[int] = ()) -> bool:
        """Whether the provider will take no more jobs for now, if it gets those that are coming."""
        return self.max_pending.reached(len(self._queues.running) + len(self.sending.union(coming)))

    def acquire(self, item: BatchItem) -> bool:
        """Take a place among the creates of one identity, if there may be one now.

        While an attempt of this identity is open, or one with other settings is under way, there may not:
        the history could not tell their jobs apart. But the probe may pass those that were asked for just as
        it is: they wait for it.
        """
        identity = self._identity(item)
        fingerprint = item.request.fingerprint
        waiting = {
            self._shards.item(attempt.item).request.fingerprint
            for attempt in self._queues.open.values()
            if attempt.identity == identity
        }
        if waiting and not (item.index == self.probe and waiting == {fingerprint}):
            return False
        if any(one == identity and other != fingerprint for one, other in self._admitted):
            return False
        self._admitted[identity, fingerprint] += 1
        return True

    def release(self, item: BatchItem) -> None:
        """Give the place back."""
        key = (self._identity(item), item.request.fingerprint)
        self._admitted[key] -= 1
        if not self._admitted[key]:
            del self._admitted[key]
        self._wake_up.notify()

    def begin_send(self, item: BatchItem) -> None:
        """A create of this item is being sent from now on."""
        self.sending.add(item.index)
        self._last_sent[self._identity(item)] = boot_seconds()

    def end_send(self, item: BatchItem) -> None:
        """It is no longer."""
        self.sending.discard(item.index)
        self._last_sent[self._identity(item)] = boot_seconds()

    def quiet_since(self, identity: RequestIdentity, moment: float) -> bool:
        """Whether no create of this identity has been under way at any time from then on (boot clock)."""
        sending = any(self._identity(self._shards.item(index)) == identity for index in self.sending)
        return not sending and self._last_sent.get(identity, 0.0) < moment

    def forget(self, indices: range, identities: Iterable[RequestIdentity]) -> None:
        """These items are left. When requests of their identities were sent matters as long as anything is
        looked for."""
        if self.probe in indices:
            self.probe = None
        self.unread.difference_update(indices)
        self._left.update(identities)
        if not self._queues.open:
            for identity in self._left:
                self._last_sent.pop(identity, None)
            self._left.clear()

    def count_loss(self, index: int) -> None:
        """A create of this item was sent, and its outcome is not known."""
        self._accepted_before.setdefault(index, []).append(self.accepted)

    def attempts_exhausted(self, index: int) -> bool:
        """Whether an item's creates are lost again and again while the provider takes others."""
        before = self._accepted_before.get(index, [])
        return len(before) >= MAX_LOST_CREATES and self.accepted > before[0]
