"""What people do to a flow run in the UI reaches the batch that it runs."""

from __future__ import annotations

import os
import signal
from collections import Counter

import pytest
from prefect.exceptions import Pause
from prefect.states import Cancelling, Paused, Running, Suspended

from prefect_imagine.errors import BatchIncompleteError
from prefect_imagine.stores import open_store
from prefect_imagine.tasks import control
from tests.books import assert_paid_once, manifest
from tests.engine.waiting import until
from tests.flows.watched import LIMIT, MANY, Watched, watched

__all__ = ["watched"]

pytestmark = pytest.mark.long


async def test_a_paused_run_creates_nothing_until_it_is_resumed(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    await watched.set(Paused())
    await until(lambda: "nothing is created until it is resumed" in caplog.text)
    held = watched.accepted + 1  # one may have been on its way
    watched.sandbox.configure(rate_limits={"imaginelab": {**LIMIT, "limit": 10**6}})
    await watched.polled(3)
    assert watched.accepted <= held
    await watched.set(Running())
    assert (await watched.running).is_completed()
    assert_paid_once(watched.sandbox, Counter(("imaginelab", prompt.prompt) for prompt in MANY))


async def test_a_suspended_run_ends_in_order_and_stays_suspended(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    await watched.set(Suspended(timeout_seconds=300))
    with pytest.raises(Pause):
        await watched.running
    state = await watched.state()
    assert state is not None
    assert (state.is_paused(), state.name) == (True, "Suspended")
    assert f"run batch '{watched.batch_id}' again" in caplog.text
    lines = manifest(open_store(str(watched.folder)), watched.batch_id)
    assert Counter(line["status"] != "planned" for line in lines)[True] == watched.accepted < len(MANY)
    await watched.finish()


async def test_a_run_that_is_being_cancelled_ends_as_cancelled(watched: Watched) -> None:
    await watched.set(Cancelling())
    ended = await watched.running
    assert ended.is_cancelled(), ended
    error = await ended.result(raise_on_failure=False)
    assert isinstance(error, BatchIncompleteError)
    assert error.summary.items.planned == len(MANY) - watched.accepted
    await watched.finish()


async def test_a_cancelled_run_that_is_told_to_terminate_ends_as_cancelled(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "LOOK_SECONDS", 3600.0)  # its worker is faster than its own look
    await watched.set(Cancelling())
    os.kill(os.getpid(), signal.SIGTERM)
    ended = await watched.running
    assert ended.is_cancelled(), ended
    assert "told to terminate" in (ended.message or "")
    assert open_store(str(watched.folder)).read(f"{watched.batch_id}/usage.json")
    await watched.finish()
