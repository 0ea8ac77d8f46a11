"""A flow run that is deleted while it runs.

It has a Prefect server of its own: what is reported of task runs whose flow run is gone fails together with
what is reported of others at the same time, again and again, until all of it is dropped.
"""

from __future__ import annotations

import asyncio

import pytest

from prefect_imagine.stores import open_store
from tests.flows.watched import MANY, Watched, watched
from tests.prefect_server import PREFECT_SERVER_OF_DELETED, session_server

__all__ = ["watched"]

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def prefect_environment(request: pytest.FixtureRequest) -> dict[str, str]:
    return session_server(request.config, PREFECT_SERVER_OF_DELETED)


async def test_a_run_that_is_deleted_stops(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    await watched.client.delete_flow_run(watched.run_id)
    await asyncio.gather(watched.running, return_exceptions=True)
    assert watched.accepted < len(MANY)
    assert "the flow run was deleted" in caplog.text
    assert open_store(str(watched.folder)).read(f"{watched.batch_id}/usage.json")
    await watched.finish()
