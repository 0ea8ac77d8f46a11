"""Traces of the command line: a real SDK, a real collector, faults; and nothing where there is no SDK."""

from __future__ import annotations

import json
import os
import re
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefect_imagine.sandbox import FaultRule, RunningSandbox
from tests.cli.commands import Ended, Shell, until
from tests.cli.conftest import LATENCY
from tests.otlp import INSTRUMENTED, Collector, Seen, collecting

pytestmark = pytest.mark.long

PAGE = Path(__file__).parents[2] / "docs/observability.md"
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PROMPTS = [f"a secret garden number {number}" for number in range(5)]
GOOD, LOST, FAILING, REFUSED = 1, 2, 3, 4


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


@pytest.fixture(scope="module")
def traced(shell: Shell, collector: Collector) -> Shell:
    """A shell whose commands export their spans."""
    program = (*INSTRUMENTED, "-m", "prefect_imagine")
    return Shell(shell.folder, {**shell.environment, **collector.environment}, program)


@pytest.fixture(scope="module")
def ended(traced: Shell, collector: Collector, providers: RunningSandbox) -> Ended:
    """A batch of which one create is lost, one job fails, and one create is refused at first."""
    providers.reset()
    for fault, item, more in (
        ("cut_after", LOST, {}),
        ("job_fails", FAILING, {}),
        ("rate_limited", REFUSED, {"seconds": 0.1}),
    ):
        rule = FaultRule(fault, "imaginelab", "create", times=1, match=PROMPTS[item - 1], **more)  # type: ignore[arg-type]
        providers.faults.add(rule)
    collector.clear()
    file = traced.write("garden.txt", "".join(f"{each}\n" for each in PROMPTS))
    words = ("generate", file, "--provider", "imaginelab", "--json")
    return traced.run(*words, TRACEPARENT=f"00-{TRACE}-{CALLER}-01")


def the(spans: list[Seen]) -> Seen:
    assert len(spans) == 1
    return spans[0]


def of(spans: list[Seen], item: int) -> list[Seen]:
    return [each for each in spans if each.attributes["imagine.item.index"] == item]


def test_a_batch_is_a_part_of_its_callers_trace(ended: Ended, collector: Collector) -> None:
    assert (ended.code, ended.last["items"]["stored"]) == (1, 4), ended.stderr
    assert {each.trace for each in collector.spans} == {TRACE}
    run = the([each for each in collector.spans if each.attributes.get("prefect.run.type") == "flow"])
    assert run.parent == CALLER
    batch = the(collector.named("imagine.batch"))
    assert batch.parent == run.id
    assert (batch.outcome, batch.failed) == ("finished", None)
    told = ended.last
    for name, count in told["items"].items():
        assert batch.attributes[f"imagine.items.{name}"] == count
    assert batch.attributes["imagine.credits.charged"] == told["credits"]["charged"] > 0
    assert batch.attributes["imagine.providers"] == ["imaginelab"]
    for name in ("create", "poll", "store", "reconcile"):
        assert {each.parent for each in collector.named(f"imagine.{name}")} == {batch.id}, name


def test_each_create_is_a_span_that_says_what_came_of_it(ended: Ended, collector: Collector) -> None:
    creates = collector.named("imagine.create")
    assert len(creates) == ended.last["requests"]["create"] == len(PROMPTS) + 1
    good = the(of(creates, GOOD))
    assert good.outcome == "created"
    assert good.attributes["imagine.credits"] > 0
    assert good.attributes["imagine.job.id"]
    assert good.attributes["gen_ai.provider.name"] == "imaginelab"
    assert good.attributes["imagine.kind"] == "image"
    assert good.attributes["gen_ai.request.model"]
    refused, again = sorted(of(creates, REFUSED), key=lambda each: each.attributes["imagine.attempt"])
    assert (refused.outcome, refused.attributes["error.type"]) == ("refused", "RateLimitedError")
    assert (refused.attributes["imagine.reason"], refused.failed) == ("rate_limited", "rate_limited")
    assert again.outcome == "created"


def test_a_lost_create_is_linked_with_the_look_that_found_its_job(ended: Ended, collector: Collector) -> None:
    lost = the(of(collector.named("imagine.create"), LOST))
    assert (lost.outcome, lost.failed) == ("lost", "lost")
    assert lost.attributes["error.type"] == "AmbiguousCreateError"
    look = the([each for each in collector.named("imagine.reconcile") if each.events])
    assert look.links == (lost.id,)
    name, about = the_event(look)
    assert name == "imagine.settled"
    assert about["imagine.outcome"] == "adopted"
    assert (about["imagine.item.index"], about["imagine.attempt"]) == (LOST, 1)
    store = the(of(collector.named("imagine.store"), LOST))
    assert store.attributes["imagine.job.id"] == about["imagine.job.id"]


def the_event(span: Seen) -> tuple[str, dict[str, object]]:
    assert len(span.events) == 1
    return span.events[0]


def test_looks_and_stores_are_counted_not_jobs(
    ended: Ended, collector: Collector, providers: RunningSandbox
) -> None:
    looks = collector.named("imagine.poll")
    assert 1 <= len(looks) <= ended.last["requests"]["poll"] + ended.last["requests"]["fetch"]
    assert sum(each.attributes["imagine.jobs.ended"] for each in looks) == len(PROMPTS)
    stores = collector.named("imagine.store")
    assert Counter(each.outcome for each in stores) == {"stored": 4}
    assert of(stores, FAILING) == []
    assert all(each.attributes["imagine.bytes"] > 0 for each in stores)


def test_no_prompt_and_no_key_is_exported(
    ended: Ended, collector: Collector, providers: RunningSandbox
) -> None:
    exported = b"".join(collector.bodies)
    secrets = [value for name, value in providers.environment.items() if not name.endswith("_URL")]
    assert len(exported) > 1000
    assert all(len(each) > 4 for each in secrets)
    for each in ["secret garden", *secrets]:
        assert each.encode() not in exported, each


def test_the_page_names_every_span_and_every_attribute(ended: Ended, collector: Collector) -> None:
    ours = [each for each in collector.spans if each.scope == "prefect_imagine"]
    told = {name for each in ours for name in each.attributes}
    told |= {name for each in ours for _, about in each.events for name in about}
    spans = {each.name for each in ours} | {name for each in ours for name, _ in each.events}
    rows = set(re.findall(r"`([a-z_]+\.[a-z_.]+)`", PAGE.read_text()))
    assert told | spans <= rows


def test_collecting_is_linked_with_the_run_that_let_go(
    traced: Shell, collector: Collector, providers: RunningSandbox
) -> None:
    providers.reset()
    collector.clear()
    file = traced.write("films.txt", "a long film\n")
    words = ("generate", file, "--provider", "imaginelab", "--kind", "video", "--detach", "--output", "films")
    providers.configure(latency={"video": (600.0, 600.0)})
    assert traced.run(*words).code == 0
    begun = the(collector.named("imagine.batch"))
    assert begun.outcome == "submitted"
    collector.clear()
    providers.advance(700)
    assert traced.run("collect", "--output", "films").code == 0
    root = the(collector.named("imagine.collect"))
    assert (root.parent, root.attributes["imagine.batches"]) == ("", 1)
    look, batch = the(collector.named("imagine.poll")), the(collector.named("imagine.batch"))
    assert {look.parent, batch.parent} == {root.id}
    assert (batch.links, batch.outcome) == ((begun.id,), "finished")
    assert the(collector.named("imagine.store")).parent == batch.id


def test_a_run_that_is_told_to_stop_ends_its_spans(
    traced: Shell, collector: Collector, providers: RunningSandbox
) -> None:
    providers.reset()
    providers.configure(latency={"image": (3600.0, 3600.0)})
    collector.clear()
    file = traced.write("endless.txt", "an owl\na fox\n")
    process = traced.start("generate", file, "--provider", "imaginelab")
    until(lambda: len(providers.books.jobs) == 2)
    os.kill(process.pid, signal.SIGINT)
    assert traced.end(process).code == 130
    providers.configure(latency=LATENCY)
    batch = the(collector.named("imagine.batch"))
    assert (batch.outcome, batch.failed) == ("stopped", "interrupted")
    assert batch.attributes["imagine.stopped_by"] == ["interrupted"]
    assert [each.outcome for each in collector.named("imagine.create")] == ["created", "created"]
    known = {each.id for each in collector.spans}
    assert {each.parent for each in collector.spans} - known == {""}


def test_without_an_sdk_nothing_is_exported_and_nothing_fails(
    shell: Shell, collector: Collector, providers: RunningSandbox
) -> None:
    providers.reset()
    providers.configure(latency={"video": (600.0, 600.0)})
    collector.clear()
    file = shell.write("plain.txt", "an owl\n")
    words = ("generate", file, "--provider", "imaginelab", "--kind", "video", "--detach")
    plain = Shell(shell.folder, {**shell.environment, **collector.environment})
    assert plain.run(*words).code == 0
    assert collector.bodies == []
    (left,) = shell.folder.glob("outputs/plain/submission.json")
    assert b"traceparent" not in left.read_bytes()
    caller = f"00-{TRACE}-{CALLER}-01"
    assert plain.run("resume", "plain", "--detach", TRACEPARENT=caller).code == 0
    assert json.loads(left.read_bytes())["traceparent"] == caller


def test_the_commands_own_server_is_not_traced(
    traced: Shell, collector: Collector, providers: RunningSandbox, tmp_path: Path
) -> None:
    providers.reset()
    collector.clear()
    alone = Shell(tmp_path, {**traced.environment, "PREFECT_HOME": str(tmp_path / "prefect")}, traced.program)
    alone.environment.pop("PREFECT_API_URL")
    file = alone.write("alone.txt", "an owl\n")
    assert alone.run("generate", file, "--provider", "imaginelab").code == 0
    assert {each.scope for each in collector.spans} == {"prefect", "prefect_imagine"}


def test_a_collector_that_is_away_harms_no_batch(traced: Shell, providers: RunningSandbox) -> None:
    providers.reset()
    file = traced.write("alone.txt", "an owl\n")
    words = ("generate", file, "--provider", "imaginelab", "--batch-id", "alone")
    away = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    assert traced.run(*words, **away).code == 0
