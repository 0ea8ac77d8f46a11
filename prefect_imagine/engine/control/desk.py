"""Obeys the commands that are given to a batch, from its beginning on and while it runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.batches.control.commands import Command, commands_since
from prefect_imagine.batches.control.wanted import RetryOf, Wanted
from prefect_imagine.batches.records import Obeyed, Retry
from prefect_imagine.billing.credit_limit import CreditLimit
from prefect_imagine.clock import utc_now
from prefect_imagine.engine.open_shards import OpenShards
from prefect_imagine.engine.provider_run import ProviderRun
from prefect_imagine.errors import ImagineError
from prefect_imagine.providers.limits.rates import Rate
from prefect_imagine.stores import Store

logger = logging.getLogger(__name__)

LOOK_SECONDS = 3.0
"""From one look for commands to the next: they are obeyed within ten seconds."""


class CommandDesk:
    """Obeys the commands to one batch.

    Attributes:
        wanted: what they add up to.
    """

    def __init__(
        self,
        store: Store,
        blocking: Blocking,
        batch_id: str,
        wanted: Wanted,
        shards: OpenShards,
        runs: Mapping[str, ProviderRun],
        limit: CreditLimit,
    ) -> None:
        self.wanted = wanted
        self._store = store
        self._blocking = blocking
        self._batch_id = batch_id
        self._shards = shards
        self._runs = runs
        self._limit = limit

    @property
    def pauses(self) -> dict[str, Command]:
        """The providers of the batch with which nothing is created for now, with the command."""
        return self.wanted.pauses(self._runs)

    def begin(self, set_after: int) -> None:
        """Begin as the commands say that were given before.

        Args:
            set_after: of these, up to this one, limits are void.
        """
        self._limit.change(*self.wanted.max_credits(set_after))
        for provider, rate in self.wanted.rates(set_after).items():
            self._keep_below(provider, rate)
        self._hold()
        for provider, command in self.pauses.items():
            logger.warning("%s: paused %s", provider, command.given)

    async def keep_obeying(self) -> None:
        """Obey what is commanded, for as long as the batch runs."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
            except ImagineError as error:
                logger.warning("commands could not be looked for: %s", error)

    async def look(self) -> None:
        """Obey what has been commanded since the last look. Raises `FencedError` or `StoreError`."""
        found = await self._blocking(self._read)
        for number, command in found:
            self.wanted = self.wanted.and_then(number, command)
        for number, command in found:
            await self._obey(number, command)

    def _read(self) -> list[tuple[int, Command]]:
        return list(commands_since(self._store, self._batch_id, self.wanted.last))

    async def _obey(self, number: int, command: Command) -> None:
        match command.kind:
            case "cancel":
                return  # whoever cancels takes the batch over, and the run ends as fenced
            case "pause" | "resume":
                self._hold()
            case "set":
                self._limit.change(*Wanted({number: command}).max_credits(0))
                for provider, rate in command.rates.items():
                    self._keep_below(provider, rate)
                for run in self._runs.values():
                    run.wake_up.notify()  # creates that wait for credits look again
            case "retry":
                await self._create_again(number, command)
        logger.warning("%s %s", command.kind, command.given)
        await self._shards.note(Obeyed(at=utc_now(), command=number, what=command.kind, given=command.given))

    def _hold(self) -> None:
        paused = self.pauses
        for provider, run in self._runs.items():
            run.admission.hold("command", provider in paused)

    def _keep_below(self, provider: str, rate: str) -> None:
        if provider in self._runs:
            self._runs[provider].client.pacer.keep_below(Rate.parse(rate))

    async def _create_again(self, number: int, command: Command) -> None:
        """Create items again of shards that are open; those of others are for the next run."""
        again = self.wanted.again()
        for shard in self._shards:
            for index in [index for index in command.items if index in shard.plan.indices]:
                run = self._runs.get(shard.plan.item(index).request.provider)
                state = shard.state[index]
                wanted = RetryOf(number, command.recreate_unknown).wants(state.phase, state)
                if run is not None and run.creates and wanted:
                    # Of several that name it, all are obeyed by creating it once.
                    await run.record(Retry(item=index, at=utc_now(), command=again[index].number))
                    run.requeue(index)
