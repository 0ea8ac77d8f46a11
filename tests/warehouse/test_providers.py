"""What providers have of an account, as their APIs give it, and held against what the batches say."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import dlt
import pytest
from pydantic import SecretStr

from prefect_imagine.errors import AuthenticationError, ConfigurationError
from prefect_imagine.providers.models import Generation, GenerationRequest, GenerationStatus
from prefect_imagine.providers.registry import (
    BUILT_IN,
    account_from_environment,
    open_client,
    register,
    unregister,
)
from prefect_imagine.sandbox import FaultRule, RateLimit, RunningSandbox
from prefect_imagine.warehouse import provider_source, rows
from prefect_imagine.warehouse.load import load
from prefect_imagine.warehouse.reconciliation import Difference, reconciliation_sql
from prefect_imagine.warehouse.settings import COLUMNS, PROVIDER_JOBS
from tests.engine.engine_runs import Runs, numbered
from tests.warehouse.loading import Warehouse

PROVIDERS = tuple(spec.name for spec in BUILT_IN)
TABLES = {
    "imagineapi": ("imagineapi_images", "prompt, status, ref"),
    "aivisualstudio": ("aivisualstudio_generations", "prompt, status, model"),
    "blockadelabs": ("blockadelabs_requests", "generator_data__prompt, status, generator"),
    "imaginelab": ("imaginelab_generations", "prompt, status, model_name"),
}
DIFFERS = "difference, our_outcome, their_status, our_credits, their_credits"
ALL = [row for provider in PROVIDERS for row in numbered(provider, 3)]


async def test_records_are_those_of_the_api(runs: Runs, warehouse: Warehouse) -> None:
    await runs.run(ALL)
    loaded = await asyncio.to_thread(warehouse.load, runs.store, *PROVIDERS)
    assert (loaded.problems, loaded.differences) == ({}, ())
    jobs = runs.sandbox.report()["jobs"]
    for provider, (table, columns) in TABLES.items():
        assert loaded.rows[table] == 3
        made = {job["id"]: job["prompt"] for job in jobs if job["provider"] == provider}
        found = {row[0]: row[1:] for row in warehouse.query(f"select id, {columns} from {table}")}
        assert {each: shown[0] for each, shown in found.items()} == made
    assert warehouse.query("select status, bot from imagineapi_status") == [("ok", "online")]
    common = warehouse.query(
        "select provider, count(*), sum(credits) from provider_jobs group by 1 order by 1"
    )
    assert [(name, count, credits) for name, count, credits in common] == [
        ("aivisualstudio", 3, 15),
        ("blockadelabs", 3, None),
        ("imagineapi", 3, None),
        ("imaginelab", 3, 15),
    ]


async def test_only_what_may_have_changed_is_read_again(runs: Runs, warehouse: Warehouse) -> None:
    """Within the days in which a provider may still change a job that is all of it, by few requests."""
    sandbox = runs.sandbox
    sandbox.configure(rate_limits={"aivisualstudio": RateLimit()})
    account = account_from_environment("aivisualstudio")
    async with aclosing(open_client(account)) as client:
        requests = [
            GenerationRequest(provider="aivisualstudio", prompt=f"{n}", model="prunaai/z-image-turbo")
            for n in range(120)
        ]
        await asyncio.gather(*(client.create(each) for each in requests))

    def lists() -> int:
        return int(sandbox.books.requests["aivisualstudio"]["list"])

    first = await asyncio.to_thread(warehouse.load, runs.store, "aivisualstudio")
    assert (first.rows["provider_jobs"], lists()) == (120, 2)
    assert first.differences == (Difference("no batch knows it", "aivisualstudio", 120),)
    again = await asyncio.to_thread(warehouse.load, runs.store, "aivisualstudio")
    assert (again.rows["provider_jobs"], lists()) == (120, 4)
    assert warehouse.query("select count(*) from provider_jobs") == [(120,)]


def test_a_walk_stops_where_nothing_can_have_changed() -> None:
    from prefect_imagine.providers.models import HistoryPage
    from prefect_imagine.warehouse.jobs import GIVEN_UP_AFTER, SETTLED_AFTER, _Walk

    now = datetime(2026, 11, 1, tzinfo=UTC)

    def job(days: float, status: GenerationStatus = GenerationStatus.SUCCEEDED) -> Generation:
        return Generation(provider="p", id=f"{days}", status=status, created_at=now - timedelta(days=days))

    first = _Walk(None, now)
    first.take(HistoryPage(generations=(job(1), job(10, GenerationStatus.RUNNING), job(20))))
    assert not first.is_back
    assert first.next_since == now - timedelta(days=10) - SETTLED_AFTER
    assert first.reaches_to(None) == now - timedelta(days=20)
    first.take(HistoryPage(generations=(job(40, GenerationStatus.RUNNING),), end=True))
    assert first.next_since == now - timedelta(days=10) - SETTLED_AFTER, GIVEN_UP_AFTER
    assert first.reaches_to(None) is None
    second = _Walk(first.next_since, now)
    second.take(HistoryPage(generations=(job(1), job(12))))
    assert not second.is_back
    second.take(HistoryPage(generations=(job(14),)))
    assert second.is_back
    assert second.reaches_to(None) is None
    unordered = _Walk(first.next_since, now)
    unordered.take(HistoryPage(generations=(job(14),), newest_first=False))
    assert not unordered.is_back
    assert unordered.next_since is None


async def test_prompts_can_be_left_out(runs: Runs, warehouse: Warehouse) -> None:
    secret = "the emperor's new clothes"
    asked: list[dict[str, Any]] = [
        {
            "provider": "imaginelab",
            "prompt": secret,
            "negative_prompt": secret,
            "settings": {"n": 2, "x": secret},
        },
        {"provider": "imaginelab", "prompt": secret, "kind": "text"},
        {"provider": "aivisualstudio", "prompt": f"forbidden-content {secret}"},
        {"provider": "imagineapi", "prompt": secret, "negative_prompt": secret, "seed": 7},
        {"provider": "blockadelabs", "prompt": secret, "negative_prompt": secret},
    ]
    await runs.run(asked)
    await asyncio.to_thread(lambda: warehouse.load(runs.store, *PROVIDERS, prompts=False))
    assert secret.encode() not in warehouse.file.read_bytes()
    assert warehouse.query("select count(*) from generations where prompt is not null") == [(0,)]
    assert warehouse.query("select settings from generations where provider = 'imagineapi'") == [
        ('{"seed":7}',)
    ]
    assert warehouse.query("select count(*) from attempts where reason is not null") != [(0,)]
    await asyncio.to_thread(lambda: warehouse.load(runs.store, *PROVIDERS, full=True))
    assert warehouse.query("select count(*) from generations where prompt is not null") == [(5,)]


async def test_what_differs_is_found(runs: Runs, warehouse: Warehouse) -> None:
    sandbox = runs.sandbox
    sandbox.faults.add(FaultRule("job_hangs", "aivisualstudio", times=1))
    await runs.run(numbered("aivisualstudio", 1), batch="detached", detach=True)
    await runs.run([*numbered("imaginelab", 2), *numbered("blockadelabs", 1)])
    account = account_from_environment("imaginelab")
    async with aclosing(open_client(account)) as client:
        [model, *_] = await client.models()
        stranger = await client.create(
            GenerationRequest(provider="imaginelab", prompt="not ours", model=model.id)
        )
        ours = next(job for job in sandbox.report()["jobs"] if job["provider"] == "imaginelab")
        await client.delete(ours["id"])
    loaded = await asyncio.to_thread(warehouse.load, runs.store, *PROVIDERS)
    assert set(loaded.differences) == {
        Difference("no batch knows it", "imaginelab", 1),
        Difference("the provider does not show it", "imaginelab", 1),
    }
    differ = {row[0]: row[1:3] for row in warehouse.query(reconciliation_sql())}
    assert differ == {
        "no batch knows it": ("imaginelab", stranger.id),
        "the provider does not show it": ("imaginelab", ours["id"]),
    }


async def test_ends_and_credits_that_differ(runs: Runs, warehouse: Warehouse) -> None:
    """A refund after the end, and a job that has ended and that nobody has collected."""
    sandbox = runs.sandbox
    sandbox.configure(latency={"image": (600.0, 600.0)})
    await runs.run(numbered("imaginelab", 1), batch="let-go", detach=True)
    sandbox.configure(latency={"image": (0.1, 0.1)}, refund_failed=False)
    sandbox.faults.add(FaultRule("job_fails", "aivisualstudio", times=1))
    await runs.run(numbered("aivisualstudio", 2), batch="failing")
    sandbox.advance(700)
    for job in sandbox.books.jobs:
        job.refundable = True
    loaded = await asyncio.to_thread(warehouse.load, runs.store, "imaginelab", "aivisualstudio")
    assert set(loaded.differences) == {
        Difference("not collected yet", "imaginelab", 1),
        Difference("other credits", "aivisualstudio", 1),
    }
    found = {row[0]: row[1:] for row in warehouse.query(f"select {DIFFERS} from ({reconciliation_sql()})")}
    assert found["other credits"] == ("failed", "failed", 5, 0)
    assert found["not collected yet"][:2] == ("running", "succeeded")


async def test_a_provider_that_fails_keeps_nothing_else_back(runs: Runs, warehouse: Warehouse) -> None:
    await runs.run(numbered("imaginelab", 2))
    right, wrong = account_from_environment("imaginelab"), account_from_environment("aivisualstudio")
    secret = "avs_sk_wrong"
    accounts = {"aivisualstudio": replace(wrong, key=SecretStr(secret)), "imaginelab": right}
    loaded = await asyncio.to_thread(load, runs.store, warehouse.target, accounts)
    assert isinstance(loaded.problems["aivisualstudio"], AuthenticationError)
    assert secret not in str(loaded.problems)
    assert (loaded.rows["provider_jobs"], loaded.rows["generations"]) == (2, 2)


def test_a_plug_in_without_a_list_says_so(keys: RunningSandbox, tmp_path: Path, warehouse: Warehouse) -> None:
    spec = replace(BUILT_IN[1], name="plugged", records=None)
    register(spec)
    try:
        account = replace(account_from_environment("blockadelabs"), spec=spec)
        with pytest.raises(ConfigurationError, match="plugged: its plug-in names no list of jobs"):
            load(str(tmp_path / "root"), warehouse.target, {"plugged": account})
    finally:
        unregister("plugged")
    assert not warehouse.file.exists()


def test_the_source_alone_has_the_names_of_the_api(keys: RunningSandbox, tmp_path: Path) -> None:
    """For pipelines of one's own; those of dlt's page on ImagineAPI among them."""
    assert {"images", "status", "provider_jobs", "provider_lists"} == set(
        provider_source("imagineapi").selected_resources
    )
    pipeline = dlt.pipeline(
        "own",
        pipelines_dir=str(tmp_path),
        destination=dlt.destinations.duckdb(str(tmp_path / "own.duckdb")),
        dataset_name="imagine_api_data",
    )
    pipeline.run(provider_source("imagineapi"))
    with pipeline.sql_client() as client:
        assert client.execute_sql("select status from status") == [("ok",)]


ODD = {
    "id": "its own",
    "Id": "same",
    "id ": "same",
    "big": [2**70, {"bigger": -(2**64)}],
    "zero_at": "0001-01-01T00:00:00+14:00",
    "never_at": "9999-12-31T23:59:59-12:00",
    "created_at": "2026-11-01T00:00:00Z",
    "nul\0": "a\0b",
    "credits_charged": 1e300,
}


def test_no_record_of_a_provider_is_too_odd_to_be_loaded(tmp_path: Path) -> None:
    odd = [
        Generation(
            provider="p",
            id=f"job-{number}",
            status=GenerationStatus.SUCCEEDED,
            credits=credits,
            created_at=datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))),
            raw=ODD,
        )
        for number, credits in enumerate([1e300, 12345678901234567890, 0.1])
    ]
    now = datetime(2026, 11, 1, tzinfo=UTC)
    pipeline = dlt.pipeline(
        "odd",
        pipelines_dir=str(tmp_path),
        destination=dlt.destinations.duckdb(str(tmp_path / "own.duckdb")),
        dataset_name="art",
    )
    raw = dlt.resource([rows.record_row(job, prompts=True) for job in odd], name="raw", primary_key="id")
    jobs = dlt.resource(
        [rows.job_row("p-1", job, now) for job in odd], name="jobs", columns=COLUMNS[PROVIDER_JOBS]
    )
    pipeline.run([raw, jobs], write_disposition="merge")
    with pipeline.sql_client() as client:
        assert client.execute_sql("select id from raw order by id") == [(job.id,) for job in odd]
        found = client.execute_sql("select credits, created_at from jobs order by job_id")
    assert found == [(None, None), (Decimal(12345678901234567890), None), (Decimal("0.1"), None)]


async def test_a_job_that_the_provider_shows_no_more(runs: Runs, warehouse: Warehouse) -> None:
    """Ours is missed, and a stranger's is a difference no longer."""
    await runs.run(numbered("imaginelab", 2))
    async with aclosing(open_client(account_from_environment("imaginelab"))) as client:
        [model, *_] = await client.models()
        stranger = await client.create(
            GenerationRequest(provider="imaginelab", prompt="not ours", model=model.id)
        )
        first = await asyncio.to_thread(warehouse.load, runs.store, "imaginelab")
        assert first.differences == (Difference("no batch knows it", "imaginelab", 1),)
        ours = next(job["id"] for job in runs.sandbox.report()["jobs"] if job["id"] != stranger.id)
        for job in (ours, stranger.id):
            await client.delete(job)
    second = await asyncio.to_thread(warehouse.load, runs.store, "imaginelab")
    assert second.differences == (Difference("the provider does not show it", "imaginelab", 1),)
    assert [row[2] for row in warehouse.query(reconciliation_sql())] == [ours]


async def test_a_job_whose_create_was_not_answered_is_no_stranger_s(runs: Runs, warehouse: Warehouse) -> None:
    runs.sandbox.faults.add(FaultRule("cut_after", "imaginelab", on="create", times=1))
    async with runs.session(numbered("imaginelab", 1)) as session:
        await session.create("imaginelab", [1])
        loaded = await asyncio.to_thread(warehouse.load, runs.store, "imaginelab")
    assert loaded.differences == (Difference("may be that of a lost create", "imaginelab", 1),)
