"""Who asks how often is told what; and what happens when the store does not answer."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_fd_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_fd_to_metric_families as parse_plain

from prefect_imagine.batches.index import ensure_index
from prefect_imagine.batches.records import Refused
from prefect_imagine.errors import StoreError
from prefect_imagine.metrics import CATALOGUE, Exporter, metrics_app
from prefect_imagine.metrics.families import Exposer
from prefect_imagine.metrics.root import KnownRoot
from prefect_imagine.metrics.series import MOST_MODELS, MOST_REASONS, Names
from prefect_imagine.stores import Store, open_store
from tests.batches.memory_store import MemoryStore
from tests.billing.test_usage import created, stored, succeeded
from tests.engine.waiting import until
from tests.metrics.journals import AT, Writer, intent


class GatedStore:
    """A store that counts looks, and can hold them up or fail them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.gate = threading.Event()
        self.gate.set()
        self.looks = 0
        self.fails = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def folders(self, prefix: str) -> Any:
        """Called once a look."""
        self.looks += prefix == ""
        assert self.gate.wait(60)
        if self.fails:
            raise StoreError("the store is gone")
        return self._store.folders(prefix)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store() -> GatedStore:
    memory = MemoryStore()
    ensure_index(memory)
    writer = Writer.of(memory, "b")
    writer.claim()
    writer.write(intent(1), created(1, 9), succeeded(1, 9), stored(1), intent(2))
    return GatedStore(memory)


@pytest.fixture
async def clock() -> Clock:
    return Clock()


@pytest.fixture
async def exporter(store: GatedStore, clock: Clock) -> AsyncIterator[Exporter]:
    found = Exporter(cast(Store, store), clock=clock)
    yield found
    store.gate.set()
    await found.aclose()


async def test_who_asks_again_soon_is_told_the_same(
    exporter: Exporter, store: GatedStore, clock: Clock
) -> None:
    first = await exporter.metrics(10)
    clock.now += 9
    assert await exporter.metrics(10) is first
    clock.now += 2
    assert await exporter.metrics(10) is not first
    assert store.looks == 2


async def test_those_who_ask_at_once_share_one_look(exporter: Exporter, store: GatedStore) -> None:
    store.gate.clear()
    asking = [asyncio.create_task(exporter.metrics(10)) for _ in range(20)]
    await until(lambda: store.looks > 0)
    store.gate.set()
    assert len({id(found) for found in await asyncio.gather(*asking)}) == 1
    assert store.looks == 1


async def test_a_look_that_takes_longer_than_a_scrape_goes_on(
    exporter: Exporter, store: GatedStore, clock: Clock
) -> None:
    store.gate.clear()
    with pytest.raises(StoreError, match="goes on"):
        await exporter.metrics(0.05)
    with pytest.raises(StoreError, match="goes on"):
        await exporter.metrics(0.05)
    assert store.looks == 1
    store.gate.set()
    first = await exporter.metrics(10)
    store.gate.clear()
    clock.now += 60
    assert await exporter.metrics(0.05) is first, "late, and better than nothing"
    clock.now += 61
    with pytest.raises(StoreError, match="goes on"):
        await exporter.metrics(0.05)
    store.gate.set()


async def test_a_store_that_fails_is_no_old_sample(
    exporter: Exporter, store: GatedStore, clock: Clock
) -> None:
    await exporter.metrics(10)
    clock.now += 11
    store.fails = True
    with pytest.raises(StoreError, match="gone"):
        await exporter.metrics(10)
    store.fails = False
    await exporter.metrics(10)


@asynccontextmanager
async def asking(exporter: Exporter) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(metrics_app(exporter))
    async with httpx.AsyncClient(transport=transport, base_url="http://exporter") as client:
        yield client


async def test_both_formats_name_what_the_catalogue_names(exporter: Exporter) -> None:
    async with asking(exporter) as client:
        plain = await client.get("/metrics")
        openly = await client.get(
            "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}
        )
    assert plain.headers["content-type"].startswith("text/plain; version=")
    assert openly.headers["content-type"].startswith("application/openmetrics-text")
    named = {spec.name.removesuffix("_total"): (spec.type, spec.help) for spec in CATALOGUE}
    families = list(parse_openmetrics(io.StringIO(openly.text)))  # type: ignore[no-untyped-call]
    assert {each.name: (each.type, each.documentation) for each in families} == named
    read = {each.name: each for each in parse_plain(io.StringIO(plain.text))}
    assert read.keys() == named.keys()
    labels = {spec.name.removesuffix("_total"): {*spec.labels} for spec in CATALOGUE}
    for name, family in read.items():
        assert {label for sample in family.samples for label in sample.labels} - {"le"} <= labels[name]
    [sample] = read["imagine_credits_charged"].samples
    assert (sample.value, sample.labels["model"]) == (9, "m")


async def test_without_a_store_it_is_unavailable(exporter: Exporter, store: GatedStore) -> None:
    async with asking(exporter) as client:
        assert (await client.get("/health")).json() == {"status": "ok"}
    store.fails = True
    failing = Exporter(cast(Store, store))
    async with asking(failing) as client:
        answer = await client.get("/metrics")
        assert (answer.status_code, answer.text) == (503, "the store is gone\n")
        assert (await client.get("/health")).status_code == 503
    await failing.aclose()


async def test_a_root_that_goes_away_is_a_store_that_fails(tmp_path: Path) -> None:
    root, away = tmp_path / "root", tmp_path / "away"
    clock = Clock()
    with closing(open_store(str(root))) as store:
        exporter = Exporter(store, patience=0, clock=clock)
        async with asking(exporter) as client:

            async def answers() -> tuple[int, str, int]:
                clock.now += 11
                figures, health = await client.get("/metrics"), await client.get("/health")
                return figures.status_code, figures.text, health.status_code

            status, text, health = await answers()
            assert (status, health) == (200, 200), "a root that is empty, or not there yet"
            assert "imagine_active_batches 0.0" in text
            writer = Writer.of(store, "b", made=AT)
            writer.claim()
            writer.write(intent(1), created(1, 9), succeeded(1, 9), stored(1), intent(2))
            before = figures_of((await answers())[1])
            assert before["imagine_credits_charged_total"] == 9
            for _ in range(2):
                root.rename(away)
                for _ in range(2):
                    gone = f"{root} is gone: it has no index any more\n"
                    assert await answers() == (503, gone, 503)
                away.rename(root)
                status, text, health = await answers()
                assert (status, health) == (200, 200)
                assert figures_of(text) == before
        await exporter.aclose()


def figures_of(text: str) -> dict[str, float]:
    """All values but those of the look itself, by name, added up."""
    samples = [sample for family in parse_plain(io.StringIO(text)) for sample in family.samples]
    sums: dict[str, float] = {}
    for sample in samples:
        if "oldest" not in sample.name and not sample.name.startswith("imagine_sample"):
            sums[sample.name] = sums.get(sample.name, 0) + sample.value
    return sums


async def test_prometheus_says_how_long_it_waits(exporter: Exporter, store: GatedStore) -> None:
    store.gate.clear()
    async with asking(exporter) as client:
        answer = await client.get("/metrics", headers={"X-Prometheus-Scrape-Timeout-Seconds": "0.7"})
    assert answer.status_code == 503
    assert "within 0.5 s" in answer.text
    store.gate.set()


def test_the_number_of_series_is_bounded(store: GatedStore) -> None:
    most = MOST_MODELS + 5
    exposer, root = Exposer(), KnownRoot(cast(Store, store), now=lambda: AT)
    for number in range(most):
        writer = Writer.of(cast(Store, store), f"n{number}", 1, model=f"model-{number:03}")
        writer.claim()
        reason = Refused(item=1, at=AT, attempt=1, final=True, reason=f"reason {number:03}", message="")
        writer.write(intent(1), reason)
    metrics = {each.name: each for each in exposer.expose(root.look()).metrics}
    root.close()
    items = metrics["imagine_items"].samples
    assert len({each.labels["model"] for each in items}) == MOST_MODELS + 1
    assert sum(each.value for each in items) == most + 3
    failed = [each for each in metrics["imagine_generations"].samples if each.labels["outcome"] == "failed"]
    assert len({each.labels["reason"] for each in failed if each.value}) == MOST_REASONS + 1
    assert sum(each.value for each in failed) == most


def test_a_name_that_had_its_own_series_keeps_it() -> None:
    names = Names(2)
    names.meet(["b", "d", "c"])
    names.meet(["a"])
    assert [names[name] for name in "abcd"] == ["other", "b", "c", "other"]
