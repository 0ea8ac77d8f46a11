"""Each fault of webhooks does what it says, to those deliveries that its rule chooses."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from prefect_imagine.sandbox import FaultRule, RunningSandbox

from .callers import Callers, unwrapped
from .receiver import Receiver, is_signed, settled, subscribe, tally, until


def test_late(callers: Callers, sandbox: RunningSandbox, receiver: Receiver) -> None:
    sandbox.faults.add(FaultRule("webhook_late", seconds=60, match="late"))
    hook = subscribe(callers, receiver.url)
    for prompt in ("late", "in time"):
        callers.made("aivisualstudio", prompt)
    sandbox.advance(11)
    settled(sandbox, sent=1, accepted=1, pending=1)
    sandbox.advance(60)
    told = receiver.wait(2)
    assert [one.body["data"]["prompt"] for one in told] == ["in time", "late"]
    assert int(told[1].signature["t"]) - int(told[0].signature["t"]) >= 59
    assert is_signed(told[1], hook["secret"])


def test_twice_and_never(callers: Callers, sandbox: RunningSandbox, receiver: Receiver) -> None:
    sandbox.faults.add(
        FaultRule("webhook_twice", on="webhook", match="twice"),
        FaultRule("webhook_never", provider="aivisualstudio", match="never", times=1),
    )
    subscribe(callers, receiver.url)
    for prompt in ("never", "twice", "never, but once"):
        callers.made("aivisualstudio", prompt)
    sandbox.advance(11)
    settled(sandbox, sent=3, accepted=3, dropped=1)
    told = sorted(one.body["data"]["prompt"] for one in receiver.received)
    assert told == ["never, but once", "twice", "twice"]
    assert [rule["hits"] for rule in sandbox.faults.as_json()] == [1, 1]


@pytest.mark.parametrize(("seconds", "expected"), [(None, 301), (7, 7)])
def test_skewed(
    callers: Callers, sandbox: RunningSandbox, receiver: Receiver, seconds: float | None, expected: int
) -> None:
    sandbox.faults.add(FaultRule("webhook_skewed", seconds=seconds, times=1))
    hook = subscribe(callers, receiver.url)
    sandbox.configure(latency={"image": (0, 0)})
    callers.made("aivisualstudio")
    skewed = receiver.wait()[0]
    callers.made("aivisualstudio")
    sound = receiver.wait(2)[1]
    assert is_signed(skewed, hook["secret"])
    assert is_signed(sound, hook["secret"])
    assert expected <= int(sound.signature["t"]) - int(skewed.signature["t"]) < expected + 30


def create(callers: Callers, provider: str, receiver: Receiver) -> httpx.Response:
    """A create of whose job the receiver is told, also where that takes no word of its own."""
    own = {} if provider == "imagineapi" else {"webhook_url": receiver.url}
    return callers.create(provider, **own)


def told_id(body: dict[str, Any]) -> str:
    return str((body.get("data") or body.get("payload") or body)["id"])


def told_status(body: dict[str, Any]) -> str:
    return str((body.get("data") or body.get("payload") or body)["status"])


@pytest.mark.parametrize("provider", ["aivisualstudio", "blockadelabs", "imagineapi"])
def test_early(callers: Callers, sandbox: RunningSandbox, receiver: Receiver, provider: str) -> None:
    sandbox.configure(imagineapi_webhook_url=receiver.url)
    sandbox.faults.add(FaultRule("webhook_early", seconds=1000, times=1))
    callers.client(provider).timeout = httpx.Timeout(5.0, read=0.1)
    with pytest.raises(httpx.ReadTimeout):
        create(callers, provider, receiver)
    until(lambda: any(told_status(one.body).startswith("complete") for one in receiver.received))
    [job] = sandbox.books.jobs
    assert {told_id(one.body) for one in receiver.received} == {job.id}


@pytest.mark.parametrize("provider", ["aivisualstudio", "blockadelabs", "imagineapi"])
def test_the_answer_to_an_early_create(
    callers: Callers, sandbox: RunningSandbox, receiver: Receiver, provider: str
) -> None:
    sandbox.configure(imagineapi_webhook_url=receiver.url)
    sandbox.faults.add(FaultRule("webhook_early", seconds=0))
    record = unwrapped(create(callers, provider, receiver))
    assert record["status"] == ("processing" if provider == "aivisualstudio" else "pending")
    until(lambda: any(told_status(one.body).startswith("complete") for one in receiver.received))
    assert callers.read(provider, record["id"])["status"].startswith("complete")


def test_early_needs_somebody_to_tell(callers: Callers, sandbox: RunningSandbox, receiver: Receiver) -> None:
    sandbox.faults.add(FaultRule("webhook_early", seconds=1000), FaultRule("webhook_forged"))
    for provider in ("imaginelab", "blockadelabs", "imagineapi", "aivisualstudio"):
        callers.made(provider)
    assert {rule["seen"] for rule in sandbox.faults.as_json()} == {0}


def test_forged(callers: Callers, sandbox: RunningSandbox, receiver: Receiver, http: httpx.Client) -> None:
    sandbox.faults.add(FaultRule("webhook_forged", times=1))
    hook = subscribe(callers, receiver.url)
    job = callers.made("aivisualstudio", "fail-job")
    callers.made("aivisualstudio")
    sandbox.advance(6)
    [forged] = receiver.wait()
    assert forged.body["event"] == "generation.completed"
    assert forged.body["data"]["id"] == job
    assert forged.body["created_at"] == forged.body["data"]["completed_at"]
    assert not is_signed(forged, hook["secret"])
    assert callers.read("aivisualstudio", job)["status"] == "processing"
    settled(sandbox, forged=1, forged_accepted=1)
    assert http.get(forged.body["data"]["output_url"]).headers["Content-Type"] == "image/webp"
    settled(sandbox, forged=1, forged_accepted=1, forged_fetched=1)
    sandbox.advance(5)
    told = receiver.wait(3)[1:]
    assert {one.body["event"] for one in told} == {"generation.completed", "generation.failed"}
    assert all(is_signed(one, hook["secret"]) for one in told)


def test_a_forged_notice_is_sent_once(callers: Callers, sandbox: RunningSandbox, receiver: Receiver) -> None:
    sandbox.configure(webhook_retry_seconds=0)
    sandbox.faults.add(FaultRule("webhook_forged", seconds=1))
    receiver.statuses = [401]
    subscribe(callers, receiver.url)
    callers.made("aivisualstudio")
    sandbox.advance(2)
    settled(sandbox, forged=1)
    sandbox.advance(9)
    settled(sandbox, sent=1, accepted=1, forged=1)
    assert len(receiver.received) == 2


@pytest.mark.parametrize("provider", ["blockadelabs", "imagineapi"])
def test_forged_where_nothing_is_signed(
    callers: Callers, sandbox: RunningSandbox, receiver: Receiver, http: httpx.Client, provider: str
) -> None:
    sandbox.configure(imagineapi_webhook_url=receiver.url)
    sandbox.faults.add(FaultRule("webhook_forged", seconds=0.5), FaultRule("job_hangs"))
    job = create(callers, provider, receiver)
    sandbox.advance(0.6)
    [forged] = receiver.wait()
    assert told_status(forged.body) in ("complete", "completed")
    assert told_id(forged.body) in job.text
    assert "X-Webhook-Signature" not in forged.headers
    record = forged.body.get("payload", forged.body)
    url = record["file_url"] if provider == "blockadelabs" else record["upscaled_urls"][0]
    assert http.get(url).is_error
    until(lambda: tally(sandbox, provider)["forged"] == 1)
