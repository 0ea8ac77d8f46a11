"""Takes deliveries in: who may deliver, what is written down, and what is answered."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from pydantic import SecretStr
from pydantic_core import PydanticSerializationError

from prefect_imagine.batches.blocking import Blocking
from prefect_imagine.batches.capability import read_capability
from prefect_imagine.batches.inbox import (
    BEAT_SECONDS,
    LARGEST_BODY,
    Delivery,
    ReceiverState,
    put_delivery,
    put_receiver,
)
from prefect_imagine.batches.index import check_root, ensure_index
from prefect_imagine.clock import boot_seconds, utc_now
from prefect_imagine.errors import ConfigurationError, SignatureError, StoreError, UnexpectedResponseError
from prefect_imagine.providers.registry import spec_of
from prefect_imagine.providers.signatures import check_signature
from prefect_imagine.providers.transport.answers import loaded
from prefect_imagine.providers.webhook_scheme import Delivered, WebhookScheme
from prefect_imagine.stores import Store
from prefect_imagine.webhooks.counts import DeliveryCounts, add_delivery_counts
from prefect_imagine.webhooks.known_jobs import KnownJobs

logger = logging.getLogger(__name__)

T = TypeVar("T")

OK, BAD_REQUEST, UNAUTHORIZED, NOT_FOUND, TOO_LARGE, UNAVAILABLE = 200, 400, 401, 404, 413, 503
UNKNOWN_PROVIDER = "no_such_provider"
STORE_SECONDS = 6.0
"""How long the store may fail, or say nothing, before the provider is told to come again."""
PATIENCE_SECONDS = 4.0
ANSWER_SECONDS = 4.0
"""How long a delivery waits for the answer to the create of its job."""


@dataclass(frozen=True)
class Ended:
    """A job is said to have ended.

    Attributes:
        believed: whether a signature shows that the provider says so.
    """

    provider: str
    batch_id: str
    job: str
    believed: bool


class _Refused(Exception):
    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Receiver:
    """Takes deliveries in for the batches under one root. Whoever follows a job takes them from the inbox,
    and finds out by itself what none has come of.

    Args:
        signing_secrets: by provider, those that its deliveries may be signed with.
        capability_secret: the one that addresses of providers without signatures are made with.
        on_ended: is awaited for each job that is said to have ended, after that is durable; of what is
            delivered again, again.
        now: the present time.
    """

    def __init__(
        self,
        store: Store,
        *,
        signing_secrets: Mapping[str, Sequence[SecretStr]],
        capability_secret: SecretStr | None = None,
        on_ended: Callable[[Ended], Awaitable[None]] | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._store = store
        self._signing_secrets = signing_secrets
        self._capability_secret = capability_secret
        self._on_ended = on_ended
        self._now = now
        self._blocking = Blocking(patience=PATIENCE_SECONDS)
        self._jobs = KnownJobs(store, self._blocking)
        self._delivered: dict[str, datetime] = {}
        self._uncounted = DeliveryCounts()
        self._beaten_at = -BEAT_SECONDS
        self._indexed = False

    async def take(
        self, provider: str, capability: str | None, headers: Mapping[str, str], body: bytes | None
    ) -> int:
        """Take one delivery in, and return the HTTP status that answers it.

        Args:
            capability: the last part of the address, if it has one.
            headers: by name in lower case.
            body: `None` where it is larger than it may be.
        """
        try:
            status, outcome = OK, await self._take(provider, capability, headers, body)
        except _Refused as refusal:
            status, outcome = refusal.status, str(refusal)
        except StoreError as error:
            logger.error("a delivery of %s cannot be written down: %s", provider, error)
            status, outcome = UNAVAILABLE, "store"
            self._beaten_at = -BEAT_SECONDS
        self._count(provider, outcome)
        if status not in (OK, UNAVAILABLE):
            logger.warning("a delivery was refused with %d: %s", status, outcome)
        return status

    async def _take(
        self, provider: str, capability: str | None, headers: Mapping[str, str], body: bytes | None
    ) -> str:
        scheme = _scheme_of(provider)
        batch_id = self._batch_of(provider, capability)
        signature = headers.get((scheme.signature_header or "").lower())
        if capability is None and not scheme.signed:
            raise _Refused(NOT_FOUND, "no_capability")
        if body is None or len(body) > LARGEST_BODY:
            raise _Refused(TOO_LARGE, "too_large")
        secrets = self._signing_secrets.get(provider, ())
        # By a capability, what is not signed, or with a secret that nobody has told, is a hint all the same.
        believed = scheme.signed and (capability is None or (signature is not None and bool(secrets)))
        if believed:
            self._check(signature, body, secrets)
        said = _read(provider, scheme, body)
        if said is None or not said.ended:
            return "no_end"
        return await self._write_down(provider, batch_id, said, believed=believed)

    def _batch_of(self, provider: str, capability: str | None) -> str:
        """The batch that a capability is for; empty where it, or a signature, is for any."""
        if capability is None:
            return ""
        secret = self._capability_secret
        batch_id = None if secret is None else read_capability(secret, provider, capability)
        if batch_id is None:
            raise _Refused(NOT_FOUND, "bad_capability")
        return batch_id

    def _check(self, signature: str | None, body: bytes, secrets: Sequence[SecretStr]) -> None:
        try:
            check_signature(signature, body, secrets, self._now().timestamp())
        except SignatureError as error:
            raise _Refused(UNAUTHORIZED, f"bad_signature: {error}") from error

    async def _write_down(self, provider: str, batch_id: str, said: Delivered, *, believed: bool) -> str:
        found = await self._known(provider, said.job)
        if found is None or batch_id not in ("", found):
            return "unknown_job"
        now = self._now()
        record = dict(said.record) if believed else None
        new = await self._put(found, Delivery(provider=provider, job=said.job, at=now, record=record))
        if new and said.ended_at is not None:
            self._uncounted += DeliveryCounts.of_lag(provider, (now - said.ended_at).total_seconds())
        await self._tell(Ended(provider, found, said.job, believed))
        is_first = provider not in self._delivered
        self._delivered[provider] = now
        with suppress(StoreError):
            await self.beat(0.0 if is_first else BEAT_SECONDS)
        return "accepted" if new else "repeated"

    async def _put(self, batch_id: str, delivery: Delivery) -> bool:
        """Make a delivery durable, and say whether it is new. A record that is nested too deeply to be
        written down is left to be asked for."""
        await self._stored(check_root, self._store)
        try:
            return await self._stored(put_delivery, self._store, batch_id, delivery)
        except PydanticSerializationError:
            bare = delivery.model_copy(update={"record": None})
            return await self._stored(put_delivery, self._store, batch_id, bare)

    async def _tell(self, ended: Ended) -> None:
        """Also of what is repeated: whoever wrote it down may have died before."""
        if self._on_ended is not None:
            await self._on_ended(ended)

    async def _stored(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do something with the store, which has to answer in time. Raises `StoreError`."""
        async with self._in_time(STORE_SECONDS):
            if not self._indexed:
                await self._blocking(ensure_index, self._store)
                self._indexed = True
            return await self._blocking(work, *arguments)

    @asynccontextmanager
    async def _in_time(self, seconds: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError as error:
            raise StoreError(f"{self._store.address} does not answer", retryable=True) from error

    async def _known(self, provider: str, job: str) -> str | None:
        """The batch of a job. While creates are being answered, one that is not known may become so."""
        until = boot_seconds() + ANSWER_SECONDS
        found, may_come = self._jobs.batch_of(provider, job), True
        while found is None and may_come and boot_seconds() < until:
            await self._stored(check_root, self._store)
            async with self._in_time(ANSWER_SECONDS):
                await self._jobs.refresh()
            found, may_come = self._jobs.batch_of(provider, job), self._jobs.may_come(provider)
        return found

    async def beat(self, every: float = BEAT_SECONDS) -> None:
        """Say that a receiver lives, unless that was said so few seconds ago, and nothing has failed since.
        Raises `StoreError`."""
        if boot_seconds() < self._beaten_at + every:
            return
        state = ReceiverState(at=self._now(), delivered=dict(self._delivered))
        self._beaten_at = -BEAT_SECONDS
        await self._stored(put_receiver, self._store, state)
        await self._write_counts()
        self._beaten_at = boot_seconds()

    def _count(self, provider: str, outcome: str) -> None:
        self.counts[outcome] += 1
        known = provider if outcome != UNKNOWN_PROVIDER else ""  # anybody may ask for any other name
        self._uncounted += DeliveryCounts.of(known, outcome.partition(":")[0])

    async def _write_counts(self) -> None:
        counted, self._uncounted = self._uncounted, DeliveryCounts()
        try:
            if counted != DeliveryCounts():
                await self._stored(add_delivery_counts, self._store, counted)
        except BaseException:  # it may have been written all the same: better counted twice than lost
            self._uncounted += counted
            raise

    async def keep_beating(self) -> None:
        """Say so again and again."""
        while True:
            try:
                await self.beat()
            except StoreError as error:
                logger.warning("the store cannot be written to: %s", error)
            await asyncio.sleep(BEAT_SECONDS / 2)

    async def aclose(self) -> None:
        """Write down what was counted last, and give threads back."""
        try:
            await self._write_counts()
        except StoreError as error:
            logger.warning("the last counts of deliveries are lost: %s", error)
        await self._blocking.aclose()


def _scheme_of(provider: str) -> WebhookScheme:
    try:
        scheme = spec_of(provider).webhooks
    except ConfigurationError:
        scheme = None
    if scheme is None:
        raise _Refused(NOT_FOUND, UNKNOWN_PROVIDER)
    return scheme


def _read(provider: str, scheme: WebhookScheme, body: bytes) -> Delivered | None:
    """What a body says; `None` where it is none about a job."""
    try:
        return scheme.read(provider, loaded(body))
    except (ValueError, RecursionError) as error:
        raise _Refused(BAD_REQUEST, "no_json") from error
    except UnexpectedResponseError:
        return None
