"""What a receiver answers to deliveries, and what of them is left in the inbox."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from prefect_imagine.batches.capability import make_capability
from prefect_imagine.batches.inbox import INBOX, RECEIVER, read_inbox, read_receiver
from prefect_imagine.batches.index import put_mark
from prefect_imagine.batches.plan import write_plan
from prefect_imagine.batches.reading import segment_key
from prefect_imagine.batches.records import AnyItemRecord, Header, to_line
from prefect_imagine.clock import utc_now
from prefect_imagine.errors import StoreError
from prefect_imagine.stores import Store, open_store
from prefect_imagine.webhooks.connections import ImpatientProtocol
from tests.batches.memory_store import MemoryStore
from tests.billing.test_usage import created, intent, succeeded
from tests.engine.fake_provider import plan_of
from tests.webhooks.served import SECRET, Served, served

SIGNED_WITH = SecretStr("whsec_0123456789abcdef")
JOB = "gen_1"
BATCH = "night.of-2026"
ACCOUNT = "blockadelabs-0123456789abcdef"


def write(store: Store, seq: int, *records: AnyItemRecord) -> None:
    """A segment of the batch's journal."""
    lines = [to_line(Header(seq=seq, writer="w", lines=len(records))), *map(to_line, records)]
    store.put(segment_key(BATCH, seq), b"".join(lines))


def write_batch(store: Store, *records: AnyItemRecord, provider: str = "aivisualstudio") -> None:
    """An active batch of one item."""
    write_plan(store, plan_of("a kite", batch_id=BATCH, provider=provider))
    write(store, 1, *records)
    put_mark(store, BATCH, 1, 1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A root with one job of AI Visual Studio under way."""
    with closing(open_store(str(tmp_path / "root"))) as found:
        write_batch(found, intent(), created(job=JOB))
        yield found


@asynccontextmanager
async def receiver_of(store: Store) -> AsyncIterator[Served]:
    async with served(store, {"aivisualstudio": [SIGNED_WITH]}) as found:
        yield found


@dataclass
class Said:
    """A delivery of AI Visual Studio, as its page has it."""

    job: str = JOB
    status: str = "completed"
    event: str = "generation.completed"
    t: int | None = None
    more: Mapping[str, str] = field(default_factory=dict)
    secret: SecretStr = SIGNED_WITH

    @property
    def body(self) -> bytes:
        data = {
            "id": self.job,
            "type": "image",
            "status": self.status,
            "output_url": "https://cdn/x.png",
            **self.more,
        }
        return json.dumps({"event": self.event, "data": data, "created_at": "2025-01-09T12:00:15Z"}).encode()

    @property
    def headers(self) -> dict[str, str]:
        at = int(utc_now().timestamp()) if self.t is None else self.t
        key = self.secret.get_secret_value().encode()
        mac = hmac.new(key, f"{at}.".encode() + self.body, hashlib.sha256).hexdigest()
        return {"X-Webhook-Signature": f"t={at},v1={mac}"}


async def test_a_signed_end_is_durable_before_it_is_answered(store: Store) -> None:
    said = Said()
    async with receiver_of(store) as receiver:
        assert await receiver.post("/aivisualstudio", said.body, said.headers) == 200
        [delivery] = read_inbox(store, BATCH).values()
        assert (delivery.provider, delivery.job) == ("aivisualstudio", JOB)
        assert delivery.record is not None
        assert delivery.record["output_url"] == "https://cdn/x.png"
        assert [(each.job, each.batch_id, each.believed) for each in receiver.ended] == [(JOB, BATCH, True)]
        state = read_receiver(store)
        assert state is not None
        assert "aivisualstudio" in state.delivered


async def test_the_same_delivery_twice_is_one(store: Store) -> None:
    async with receiver_of(store) as receiver:
        answers = await asyncio.gather(
            *(receiver.post("/aivisualstudio", Said().body, Said().headers) for _ in range(10))
        )
        assert answers == [200] * 10
        assert len(read_inbox(store, BATCH)) == len({each.job for each in receiver.ended}) == 1


@pytest.mark.parametrize(
    "said",
    [
        Said(secret=SecretStr("whsec_of somebody else")),
        Said(t=int(utc_now().timestamp()) - 3600),
        Said(t=int(utc_now().timestamp()) + 3600),
    ],
    ids=["forged", "old", "of the future"],
)
async def test_a_bad_signature_is_refused(store: Store, said: Said) -> None:
    async with receiver_of(store) as receiver:
        assert await receiver.post("/aivisualstudio", said.body, said.headers) == 401
        assert await receiver.post("/aivisualstudio", said.body) == 401
    assert read_inbox(store, BATCH) == {}


@pytest.mark.parametrize("by", ["length", "chunks"])
async def test_what_is_too_large_is_refused(store: Store, by: str) -> None:
    body = b'{"data": {"id": "gen_1", "prompt": "%s"}}' % (b"x" * 1024 * 1024)
    async with receiver_of(store) as receiver:
        headers = {"Content-Type": "application/json"}
        content: Any = body if by == "length" else _chunks(body)
        assert await receiver.post("/aivisualstudio", content, headers) == 413


async def _chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 65536):
        yield body[start : start + 65536]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/imaginelab", 404),
        ("/nobody", 404),
        ("/blockadelabs", 404),
        ("/blockadelabs/0123456789abcdef.00000000000000000000000000000000", 404),
        ("/blockadelabs/nonsense", 404),
        ("/", 404),
        ("/a/b/c", 404),
    ],
)
async def test_strangers_find_nothing(store: Store, path: str, status: int) -> None:
    async with receiver_of(store) as receiver:
        assert await receiver.post(path, b'{"id": 1, "status": "complete"}') == status
    assert read_inbox(store, BATCH) == {}


async def test_what_is_no_end_of_a_known_job_leaves_nothing(store: Store) -> None:
    async with receiver_of(store) as receiver:
        for said in (Said(job="gen_unknown"), Said(status="processing", event="generation.updated")):
            assert await receiver.post("/aivisualstudio", said.body, said.headers) == 200
    assert [found.key for found in store.list(INBOX)] == [RECEIVER]


@dataclass
class _Raw(Said):
    raw: bytes = b""

    @property
    def body(self) -> bytes:
        return self.raw


@pytest.mark.parametrize(
    ("raw", "status"), [(b"not json", 400), (b"[]", 200), (b'{"event": "ping"}', 200), (b"[" * 50_000, 400)]
)
async def test_what_cannot_be_read_harms_nobody(store: Store, raw: bytes, status: int) -> None:
    said = _Raw(raw=raw)
    async with receiver_of(store) as receiver:
        assert await receiver.post("/aivisualstudio", said.body, said.headers) == status
        assert await receiver.post("/aivisualstudio", Said().body, Said().headers) == 200


async def test_an_unsigned_end_comes_in_by_a_capability_and_is_not_believed() -> None:
    store = MemoryStore()
    write_batch(store, intent(), created(job="1842"), provider="blockadelabs")
    body = json.dumps({"request": {"id": 1842, "status": "complete", "file_url": "https://evil"}}).encode()
    async with receiver_of(store) as receiver:
        for batch in (BATCH, ""):
            path = f"/blockadelabs/{make_capability(SECRET, ACCOUNT, batch)}"
            assert await receiver.post(path, body) == 200
        [delivery] = read_inbox(store, BATCH).values()
        assert (delivery.job, delivery.record) == ("1842", None)


async def test_a_capability_needs_no_signature_that_nobody_could_check() -> None:
    """As of a create whose own address was given to a provider that has no webhook registered."""
    store = MemoryStore()
    write_batch(store, intent(), created(job=JOB))
    path = (
        f"/aivisualstudio/{make_capability(SECRET, ACCOUNT.replace('blockadelabs', 'aivisualstudio'), BATCH)}"
    )
    async with served(store) as receiver:
        assert await receiver.post("/aivisualstudio", Said().body, Said().headers) == 401
        assert await receiver.post(path, Said().body, Said().headers) == 200
    [delivery] = read_inbox(store, BATCH).values()
    assert delivery.record is None
    async with receiver_of(store) as receiver:
        forged = Said(secret=SecretStr("whsec_other"))
        assert await receiver.post(path, forged.body, forged.headers) == 401


async def test_a_capability_is_good_for_its_own_batch_and_provider_only() -> None:
    store = MemoryStore()
    write_batch(store, intent(), created(job="1842"), provider="blockadelabs")
    body = b'{"id": 1842, "status": "complete"}'
    async with receiver_of(store) as receiver:
        other = make_capability(SECRET, ACCOUNT, "another")
        assert await receiver.post(f"/blockadelabs/{other}", body) == 200
        assert await receiver.post(f"/imagineapi/{make_capability(SECRET, ACCOUNT, BATCH)}", body) == 404
        forged = make_capability(SecretStr("a secret of somebody else"), ACCOUNT, BATCH)
        assert await receiver.post(f"/blockadelabs/{forged}", body) == 404
    assert read_inbox(store, BATCH) == {}


async def test_a_delivery_may_come_before_the_answer_to_the_create() -> None:
    store = MemoryStore()
    write_batch(store, intent())
    async with receiver_of(store) as receiver:
        said = Said()
        posted = asyncio.ensure_future(receiver.post("/aivisualstudio", said.body, said.headers))
        await asyncio.sleep(0)
        write(store, 2, created(job=JOB))
        assert await posted == 200
        assert [each.job for each in read_inbox(store, BATCH).values()] == [JOB]


async def test_an_end_that_is_known_already_leaves_nothing() -> None:
    store = MemoryStore()
    write_batch(store, intent(), created(job=JOB), succeeded(job=JOB))
    async with receiver_of(store) as receiver:
        assert await receiver.post("/aivisualstudio", Said().body, Said().headers) == 200
    assert read_inbox(store, BATCH) == {}


class GoneStore(MemoryStore):
    """A store that takes no deliveries."""

    gone = True

    def put_new(self, key: str, data: bytes, media_type: str = "application/octet-stream") -> bool:
        if self.gone and key.startswith(INBOX):
            raise StoreError("the store is gone", retryable=False)
        return super().put_new(key, data, media_type)

    def put(self, key: str, data: bytes, media_type: str = "") -> None:
        if self.gone and key.startswith(INBOX):
            raise StoreError("the store is gone", retryable=False)
        super().put(key, data, media_type)


async def test_a_store_that_is_gone_has_the_provider_come_again() -> None:
    store = GoneStore()
    write_batch(store, intent(), created(job=JOB))
    async with receiver_of(store) as receiver:
        assert await receiver.post("/aivisualstudio", Said().body, Said().headers) == 503
        store.gone = False
        assert await receiver.post("/aivisualstudio", Said().body, Said().headers) == 200
    assert len(read_inbox(store, BATCH)) == 1


@pytest.mark.parametrize("known", [True, False], ids=["of a known job", "of a job not met yet"])
async def test_a_root_that_is_gone_has_the_provider_come_again(
    store: Store, tmp_path: Path, known: bool
) -> None:
    said = Said()
    async with receiver_of(store) as receiver:
        await receiver.post("/aivisualstudio", Said(job=JOB if known else "gen_2").body, said.headers)
        assert await receiver.post("/aivisualstudio", said.body, said.headers) == 200
        (tmp_path / "root").rename(tmp_path / "away")
        (tmp_path / "root").mkdir()
        assert await receiver.post("/aivisualstudio", said.body, said.headers) == 503
    assert not list((tmp_path / "root").rglob("*~*"))


async def test_health_is_bad_until_the_store_can_be_written_to() -> None:
    store = GoneStore()
    store.gone = False
    write_batch(store, intent(), created(job=JOB))
    async with receiver_of(store) as receiver, httpx.AsyncClient() as client:
        assert (await client.get(f"{receiver.address}/health")).status_code == 200
        store.gone = True
        await receiver.post("/aivisualstudio", Said().body, Said().headers)
        for _ in range(3):
            assert (await client.get(f"{receiver.address}/health")).status_code == 503
        store.gone = False
        assert (await client.get(f"{receiver.address}/health")).status_code == 200


@pytest.mark.parametrize(
    "beside", [b'"prompt": "a fox \\ud83e"', b'"deep": ' + b"[" * 400 + b"]" * 400], ids=["cut", "deep"]
)
async def test_a_record_that_is_odd_is_taken_all_the_same(store: Store, beside: bytes) -> None:
    said = _Raw(raw=b'{"data": {"id": "%s", "status": "completed", %s}}' % (JOB.encode(), beside))
    async with receiver_of(store) as receiver:
        assert await receiver.post("/aivisualstudio", said.body, said.headers) == 200
    [delivery] = read_inbox(store, BATCH).values()
    assert delivery.job == JOB


async def test_a_connection_that_asks_for_nothing_is_closed(store: Store) -> None:
    class Hurried(ImpatientProtocol):
        patience = 0.2

    async with served(store, {"aivisualstudio": [SIGNED_WITH]}, http=Hurried) as receiver:
        host, port = receiver.address.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /aivisualstudio HTTP/1.1\r\nHost: x\r\nX-")
        assert await asyncio.wait_for(reader.read(), 30) == b""
        writer.close()
        assert await receiver.post("/aivisualstudio", Said().body, Said().headers) == 200


async def test_a_slash_at_the_end_is_no_other_address(store: Store) -> None:
    async with receiver_of(store) as receiver:
        assert await receiver.post("/aivisualstudio/", Said().body, Said().headers) == 200


async def test_neither_secrets_nor_capabilities_are_logged(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    capability = make_capability(SECRET, ACCOUNT, BATCH)
    forged = f"{capability[:-8]}{'0' * 8}"
    async with receiver_of(store) as receiver:
        for path in (f"/aivisualstudio/{forged}", f"/blockadelabs/{capability}"):
            await receiver.post(path, b'{"id": 1, "status": "complete"}')
        await receiver.post("/aivisualstudio", Said().body, Said(secret=SecretStr("whsec_other")).headers)
    ours = [record for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    logged = "\n".join(record.getMessage() for record in ours)
    for secret in (capability, forged, SECRET.get_secret_value(), SIGNED_WITH.get_secret_value()):
        assert secret not in logged


async def test_it_can_be_mounted(store: Store) -> None:
    """Where its lifespan does not reach it."""
    async with served(store, {"aivisualstudio": [SIGNED_WITH]}, mounted_at="/imagine") as receiver:
        assert read_receiver(store) is None
        assert await receiver.post("/aivisualstudio", Said().body, Said().headers) == 404
        assert await receiver.post("/imagine/aivisualstudio", Said().body, Said().headers) == 200
    assert len(read_inbox(store, BATCH)) == 1
    assert read_receiver(store) is not None
