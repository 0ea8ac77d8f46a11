"""What a run learns of a key's limits is where the next one begins, on whatever machine."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from prefect_imagine.batches.accounts.learned import OUTDATED, LearnedLimits, read_learned, write_learned
from prefect_imagine.clock import utc_now
from prefect_imagine.providers.models import GenerationKind
from prefect_imagine.sandbox import RateLimit, RunningSandbox
from prefect_imagine.stores import Store
from tests.batches.memory_store import MemoryStore
from tests.engine.engine_runs import Runs, numbered


async def test_the_next_run_begins_with_what_the_last_one_has_learned(
    sandbox: RunningSandbox, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.configure(rate_limits={"imagineapi": RateLimit(10, 2.0, headers=False)})
    runs = Runs(sandbox, store)
    first = await runs.run(numbered("imagineapi", 25), batch="first")
    [kept] = [found.key for found in store.list(".imagine/rates/")]
    learned = LearnedLimits.model_validate_json(store.read(kept) or b"")
    assert learned.rate is not None
    assert 0.1 <= learned.rate.interval <= 1.0
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another machine"))
    async with runs.session(numbered("imagineapi", 2), batch="second") as session:
        assert session.runs["imagineapi"].client.pacer.measured == learned.rate
    assert first.summary.items.stored == 25


async def test_a_pending_limit_is_kept_too(sandbox: RunningSandbox, store: Store) -> None:
    sandbox.configure(pending_caps={"blockadelabs": 3}, latency={"image": (5.0, 5.0)})
    runs = Runs(sandbox, store)
    await runs.run(numbered("blockadelabs", 6), batch="first")
    async with runs.session(numbered("blockadelabs", 2), batch="second") as session:
        assert session.runs["blockadelabs"].admission.max_pending.limit == 3


async def test_how_long_jobs_take_is_kept_too(sandbox: RunningSandbox, store: Store) -> None:
    sandbox.configure(latency={"image": (0.4, 0.4)})
    runs = Runs(sandbox, store)
    await runs.run(numbered("blockadelabs", 3), batch="first")
    async with runs.session(numbered("blockadelabs", 2), batch="second") as session:
        [(sort, seconds)] = session.runs["blockadelabs"].cadence.latencies.items()
    assert sort[0] is GenerationKind.IMAGE
    assert 0.3 <= seconds <= 60


def test_what_is_old_or_unreadable_is_not_believed() -> None:
    store = MemoryStore()
    assert read_learned(store, "imagineapi-1") is None
    write_learned(
        store, "imagineapi-1", LearnedLimits(at=utc_now() - OUTDATED - timedelta(days=1), max_pending=1)
    )
    assert read_learned(store, "imagineapi-1") is None
    store.put(".imagine/rates/imagineapi-1.json", b'{"at": "later", "burst": 3}')
    assert read_learned(store, "imagineapi-1") is None
    write_learned(store, "imagineapi-1", LearnedLimits(at=utc_now(), max_pending=1))
    assert read_learned(store, "imagineapi-1") is not None
