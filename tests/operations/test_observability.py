"""docs/observability.md, followed: its commands, and a worker, export spans to a real collector."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.types.entrypoint import EntrypointType

from prefect_imagine import generate_batch
from prefect_imagine.sandbox import RunningSandbox
from tests.cli.commands import variables
from tests.flows.prefect_api import until
from tests.operations.page import Terminal, shell_blocks
from tests.otlp import Collector, collecting

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("prefect_server")]

PAGE = Path(__file__).parents[2] / "docs/observability.md"
COLLECTOR = "http://127.0.0.1:4318"
POOL = "--pool imagine"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


@pytest.fixture
def terminal(keys: RunningSandbox, prefect_environment: dict[str, str], tmp_path: Path) -> Iterator[Terminal]:
    home = tmp_path / "home"
    home.mkdir()
    paths = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    quick = {"PREFECT_WORKER_QUERY_SECONDS": "1", "PATH": paths}
    started = Terminal(tmp_path, home, variables({**prefect_environment, **keys.environment, **quick}))
    yield started
    started.signal(signal.SIGKILL)


async def test_the_page_traces_commands_and_workers(
    terminal: Terminal, collector: Collector, tmp_path: Path
) -> None:
    (tmp_path / "prompts.csv").write_text("prompt\na secret garden\n")
    pool = f"traced-{uuid4().hex[:8]}"
    terminal.run(f"prefect work-pool create {pool} --type process")
    settings, command, worker = shell_blocks(
        PAGE.read_text(), {COLLECTOR: collector.url, POOL: f"--pool {pool}"}
    )
    terminal.run(settings)
    terminal.run(command)
    (by_hand,) = collector.named("imagine.batch")
    assert by_hand.attributes["imagine.items.stored"] == 1
    collector.clear()
    parameters = {"prompts": [{"prompt": "a secret garden", "provider": "imaginelab"}]}
    deployment = await generate_batch.ato_deployment(
        pool,
        parameters={**parameters, "output": str(tmp_path / "worked")},
        work_pool_name=pool,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    deployment_id = await deployment.aapply()
    async with get_client() as client:
        flow_run = await client.create_flow_run_from_deployment(deployment_id)
        terminal.run(worker)

        async def ended() -> bool:
            return (await client.read_flow_run(flow_run.id)).state_name == "Completed"

        await until(ended, "the worker's run to end")

        async def exported() -> bool:
            return bool(collector.named("imagine.batch"))

        await until(exported, "its spans")
        await client.delete_deployment(deployment_id)
        await client.delete_work_pool(pool)
    (batch,) = collector.named("imagine.batch")
    (run,) = (each for each in collector.spans if each.id == batch.parent)
    assert run.attributes["prefect.run.id"] == str(flow_run.id)
    assert b"secret garden" not in b"".join(collector.bodies)
