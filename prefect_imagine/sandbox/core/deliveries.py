"""Posting notices to webhooks: soon, again where it did not work, and to nobody beyond this machine."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import aiohttp

from prefect_imagine.sandbox.core.notices import PREFIX, SIGNATURE, Notice, Tally, is_loopback, signature
from prefect_imagine.sandbox.core.settings import PROVIDERS

if TYPE_CHECKING:
    from prefect_imagine.sandbox.core.world import World

AT_ONCE = 64
GIVE_UP_SECONDS = 120.0
LONGEST_WAIT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class _Delivery:
    """A notice on its way: the next attempt's number, from 1, and the moment after which there is none."""

    notice: Notice
    tally: Tally
    ends_at: float
    attempt: int = 1


class Deliveries:
    """Delivers for one sandbox, while `running`. A reset drops what is on its way and begins new tallies."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None
        self.reset()

    def reset(self) -> None:
        self.tallies = {provider: Tally() for provider in PROVIDERS}
        self._jitter = random.Random(f"{self._world.settings.seed}:jitter")

    def post(self, notice: Notice, moment: float) -> None:
        """Deliver from that moment on (epoch seconds). What is not for this machine is only counted."""
        tally = self.tallies[notice.provider]
        if not is_loopback(notice.receiver.url):
            tally.not_delivered += 1
            return
        tally.pending += not notice.forged
        self._try_at(moment, _Delivery(notice, tally, moment + GIVE_UP_SECONDS))

    def drop(self, notice: Notice) -> None:
        """Never deliver."""
        self.tallies[notice.provider].dropped += 1

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Deliver until the block ends; what is on its way then is dropped."""
        agenda = asyncio.create_task(self._world.agenda.run())
        try:
            yield
        finally:
            agenda.cancel()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            if self._session is not None:
                await self._session.close()
            with suppress(asyncio.CancelledError):
                await agenda

    def _try_at(self, moment: float, delivery: _Delivery) -> None:
        self._world.agenda.at(moment, partial(self._start, delivery))

    def _start(self, delivery: _Delivery) -> None:
        task = asyncio.create_task(self._try(delivery))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _try(self, delivery: _Delivery) -> None:
        async with self._slots:
            if self._is_forgotten(delivery):
                return
            if not delivery.notice.forged:
                delivery.tally.sent += 1
            status = await self._send(delivery.notice)
        accepted = status is not None and 200 <= status < 300
        if delivery.notice.forged:
            delivery.tally.forged += 1
            delivery.tally.forged_accepted += accepted
        elif accepted:
            delivery.tally.accepted += 1
            delivery.tally.pending -= 1
        else:
            self._try_again(delivery, status)

    def _try_again(self, delivery: _Delivery, status: int | None) -> None:
        tally = delivery.tally
        if status is None:
            tally.failed += 1
        else:
            tally.refused[status] += 1
        again_at = self._world.clock.now() + self._wait(delivery.attempt)
        if delivery.attempt >= self._world.settings.webhook_attempts or again_at > delivery.ends_at:
            tally.given_up += 1
            tally.pending -= 1
        elif not self._is_forgotten(delivery):
            self._try_at(again_at, replace(delivery, attempt=delivery.attempt + 1))

    def _is_forgotten(self, delivery: _Delivery) -> bool:
        return delivery.tally is not self.tallies[delivery.notice.provider]

    def _wait(self, attempt: int) -> float:
        """Seconds until the next attempt: twice as long each time, less up to a half."""
        longest = self._world.settings.webhook_retry_seconds * 2.0 ** (attempt - 1)
        return min(longest, LONGEST_WAIT_SECONDS) * self._jitter.uniform(0.5, 1.0)

    async def _send(self, notice: Notice) -> int | None:
        """The answer's status; None when none came."""
        timeout = aiohttp.ClientTimeout(total=self._world.settings.webhook_timeout_seconds)
        try:
            async with self._open().post(
                notice.receiver.url,
                data=notice.body,
                headers=self._headers(notice),
                allow_redirects=False,
                timeout=timeout,
            ) as answer:
                return answer.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        return self._session

    def _headers(self, notice: Notice) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        secret, settings = notice.receiver.secret, self._world.settings
        if secret is None:
            return headers
        key = secret if settings.webhook_key_has_prefix else secret.removeprefix(PREFIX)
        moment = self._world.clock.now() + settings.clock_offset_seconds - notice.skew
        return headers | {SIGNATURE: signature(key, int(moment), notice.body)}
