"""Keys that may not read what they create, and servers that count media among their requests."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefect_imagine.errors import ConfigurationError
from prefect_imagine.sandbox import FaultRule, RateLimit, RunningSandbox
from prefect_imagine.stores import open_store
from tests.engine.engine_runs import Runs, numbered
from tests.providers.clients import PROVIDERS


@pytest.fixture
def runs(sandbox: RunningSandbox, tmp_path: Path) -> Runs:
    sandbox.configure(rate_limits=dict.fromkeys(PROVIDERS, RateLimit()))
    return Runs(sandbox, open_store(str(tmp_path / "root")))


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_where_lists_are_refused_everything_is_stored_one_by_one(runs: Runs, provider: str) -> None:
    runs.sandbox.configure(access={provider: "no_lists"})
    ended = await runs.run(numbered(provider, 6))
    assert ended.summary.exit_code == 0
    runs.check()


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_where_lists_are_refused_lost_answers_stay_unknown_and_the_rest_is_stored(
    runs: Runs, provider: str
) -> None:
    runs.sandbox.configure(access={provider: "no_lists"})
    runs.sandbox.faults.add(FaultRule("cut_after", provider, "create", times=3, skip=1))
    rows = numbered(provider, 10)
    ended = await runs.run(rows)
    items = ended.summary.items
    assert (ended.summary.exit_code, items.stored, items.unknown) == (1, 7, 3), ended.summary
    again = await runs.run()
    assert again.summary.exit_code == 1
    assert set(runs.accepted(provider).values()) == {1}
    assert len(runs.accepted(provider)) == len(rows)
    runs.sandbox.configure(access={provider: "full"})
    found = await runs.run(recreate_unknown=False)
    assert found.summary.requests.create == 0


@pytest.mark.parametrize("provider", ["imaginelab", "blockadelabs", "aivisualstudio"])
async def test_a_key_that_may_read_nothing_pays_for_nothing(runs: Runs, provider: str) -> None:
    runs.sandbox.configure(access={provider: "no_reads"})
    with pytest.raises(ConfigurationError, match="may not read generations"):
        await runs.run(numbered(provider, 6))
    assert runs.accepted(provider) == {}


async def test_a_token_whose_creates_are_answered_with_nothing_pays_for_one(runs: Runs) -> None:
    runs.sandbox.configure(access={"imagineapi": "no_reads"})
    ended = await runs.run(numbered("imagineapi", 20))
    assert len(runs.accepted("imagineapi")) == 1
    assert ended.summary.stopped_by == ("unreadable",)
    assert (ended.summary.items.unknown, ended.summary.items.planned) == (1, 19)
    runs.sandbox.configure(access={"imagineapi": "full"})
    await runs.run()
    assert set(runs.accepted("imagineapi").values()) == {1}


async def test_a_role_that_may_not_create_ref_is_served_without(runs: Runs) -> None:
    runs.sandbox.configure(imagineapi_has_ref=False)
    ended = await runs.run(numbered("imagineapi", 5))
    assert ended.summary.exit_code == 0
    runs.check()


async def test_media_that_count_among_the_requests_take_their_turn(runs: Runs) -> None:
    limit = RateLimit(limit=6, window_seconds=1.0)
    runs.sandbox.configure(media_limited=True, rate_limits={"imagineapi": limit})
    ended = await runs.run(numbered("imagineapi", 8), rates={"imagineapi": "6/1s"})
    assert ended.summary.exit_code == 0, ended.summary
    runs.check()


async def test_media_that_need_the_token_get_it(runs: Runs) -> None:
    runs.sandbox.configure(imagineapi_assets_need_token=True)
    ended = await runs.run(numbered("imagineapi", 3))
    assert ended.summary.exit_code == 0
    runs.check()


async def test_a_server_that_gives_fewer_rows_than_asked_for_loses_nothing(runs: Runs) -> None:
    runs.sandbox.configure(query_limit_max=10)
    runs.sandbox.faults.add(FaultRule("cut_after", "imagineapi", "create", times=4, skip=12))
    ended = await runs.run(numbered("imagineapi", 24))
    assert ended.summary.exit_code == 0, ended.summary
    assert ended.summary.requests.create == 24
    runs.check()
