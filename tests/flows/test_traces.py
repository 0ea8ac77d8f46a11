"""Traces of flow runs on a real server: who asked for a run is its parent, whatever process runs it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.states import AwaitingRetry
from prefect.types.entrypoint import EntrypointType

from prefect_imagine import generate_batch
from prefect_imagine.flows import collect_batches
from prefect_imagine.flows.wake import CollectSoon
from prefect_imagine.sandbox import RunningSandbox
from prefect_imagine.stores import open_store
from prefect_imagine.tracing import continued
from prefect_imagine.webhooks import Ended
from tests.cli.commands import variables
from tests.flows.prefect_api import runs_of_deployment
from tests.otlp import INSTRUMENTED, Collector, Seen, collecting

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("prefect_server")]

END_SECONDS = 240
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PROMPTS = [{"prompt": f"a secret garden {number}", "provider": "imaginelab"} for number in range(3)]
ASKING = """
import asyncio, sys
from prefect import flow
from prefect.deployments import arun_deployment

@flow
async def asking():
    run = await arun_deployment(sys.argv[1], timeout=0, as_subflow=False)
    print(run.id)

asyncio.run(asking())
"""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


@pytest.fixture
def traced(
    keys: RunningSandbox, collector: Collector, prefect_environment: dict[str, str]
) -> Mapping[str, str]:
    """The environment of processes that export their spans."""
    return variables({**prefect_environment, **keys.environment, **collector.environment})


def run(environment: Mapping[str, str], folder: Path, *words: str) -> str:
    """What a process has printed in the end whose spans are exported."""
    ended = subprocess.run(
        [*INSTRUMENTED, *words],
        env=dict(environment),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=END_SECONDS,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def runs(collector: Collector, kind: str = "flow") -> list[Seen]:
    return [each for each in collector.spans if each.attributes.get("prefect.run.type") == kind]


async def asked_for(environment: Mapping[str, str], folder: Path) -> UUID:
    """A run of generate-batch that another flow, which is traced, has started."""
    name = f"traced-{uuid4().hex[:8]}"
    parameters = {"prompts": PROMPTS, "output": str(folder / "outputs"), "options": {"batch_id": name}}
    deployment = await generate_batch.ato_deployment(
        name, parameters=parameters, entrypoint_type=EntrypointType.MODULE_PATH
    )
    await deployment.aapply()
    asking = folder / "asking.py"
    asking.write_text(ASKING)
    return UUID(run(environment, folder, str(asking), f"generate-batch/{name}").split()[-1])


def execute(environment: Mapping[str, str], folder: Path, flow_run: UUID) -> None:
    """Do what a worker does."""
    run(environment, folder, "-m", "prefect", "flow-run", "execute", str(flow_run))


async def test_a_run_of_a_deployment_goes_on_with_the_trace_of_who_started_it(
    traced: Mapping[str, str], collector: Collector, tmp_path: Path
) -> None:
    flow_run = await asked_for(traced, tmp_path)
    (asking,) = runs(collector)
    execute(traced, tmp_path, flow_run)
    (begun,) = (each for each in runs(collector) if each.parent == asking.id)
    assert begun.attributes["prefect.run.id"] == str(flow_run)
    (batch,) = collector.named("imagine.batch")
    assert batch.parent == begun.id
    assert batch.attributes["imagine.items.stored"] == len(PROMPTS)
    creates, stores = collector.named("imagine.create"), collector.named("imagine.store")
    assert [each.outcome for each in creates] == ["created"] * len(PROMPTS)
    assert {each.parent for each in (*creates, *stores)} == {batch.id}
    assert {each.trace for each in collector.spans} == {asking.trace}
    assert {each.parent for each in runs(collector, "task")} == {begun.id}
    exported = b"".join(collector.bodies)
    assert b"secret garden" not in exported
    # What is run again, as `resume-crashed` does it, is a child of what was run before.
    async with get_client() as client:
        await client.set_flow_run_state(flow_run, AwaitingRetry(), force=True)
    execute(traced, tmp_path, flow_run)
    assert [each.parent for each in runs(collector) if each.parent != asking.id] == ["", begun.id]


async def test_where_prefect_traces_no_runs_the_label_of_the_run_names_the_parent(
    traced: Mapping[str, str], collector: Collector, tmp_path: Path
) -> None:
    flow_run = await asked_for(traced, tmp_path)
    (asking,) = runs(collector)
    execute({**traced, "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false"}, tmp_path, flow_run)
    assert runs(collector) == [asking]
    (batch,) = collector.named("imagine.batch")
    assert (batch.parent, batch.trace) == (asking.id, asking.trace)


async def test_a_run_that_a_delivery_wakes_is_in_the_trace_of_the_delivery(
    keys: RunningSandbox, tmp_path: Path
) -> None:
    name = f"woken-{uuid4().hex[:8]}"
    deployed = await collect_batches.ato_deployment(name, parameters={"output": str(tmp_path)})
    await deployed.aapply()
    wake = CollectSoon(open_store(str(tmp_path)), f"collect/{name}")
    parent = f"00-{TRACE}-{CALLER}-01"
    with continued(parent):
        await wake(Ended("imaginelab", "batch", "job", believed=True))
    async with get_client() as client:
        found = await client.read_deployment_by_name(f"collect/{name}")
        (woken,) = await runs_of_deployment(found.id)
        await client.delete_deployment(found.id)
    assert woken.labels["__OTEL_TRACEPARENT"] == parent
