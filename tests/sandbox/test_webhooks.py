"""Webhooks are told what the pages say, when it has happened."""

from __future__ import annotations

import time
from typing import Any

import pytest

from prefect_imagine.sandbox import RunningSandbox, SandboxSettings
from prefect_imagine.sandbox.core.notices import to_json

from .callers import Callers
from .receiver import Receiver, is_signed, settled, subscribe, until


def test_a_completed_job_is_told_as_on_the_page(
    callers: Callers, sandbox: RunningSandbox, receiver: Receiver
) -> None:
    hook = subscribe(callers, receiver.url)
    job = callers.made("aivisualstudio", 'ein "See" \u2028\U0001f305', output_format="png")
    sandbox.advance(11)
    [told] = receiver.wait()
    record = callers.read("aivisualstudio", job)
    data = {name: record[name] for name in ("id", "type", "status", "prompt", "output_url")}
    data |= {"created_at": record["created_at"], "completed_at": record["completed_at"]}
    expected = {"event": "generation.completed", "data": data, "created_at": record["completed_at"]}
    assert told.body == expected
    assert list(told.body) == list(expected)
    assert list(told.body["data"]) == list(data)
    assert told.raw.startswith(b'{"event":"generation.completed","data":{"id":"gen_')
    assert 'ein \\"See\\" \u2028\U0001f305'.encode() in told.raw
    assert told.headers["Content-Type"] == "application/json"
    assert is_signed(told, hook["secret"])
    assert abs(time.time() + 11 - int(told.signature["t"])) < 30
    settled(sandbox, sent=1, accepted=1)


def test_json_is_as_javascript_writes_it() -> None:
    assert to_json({"a": [1, None, True], "b": "\ud800\x7f\x01é/"}) == (
        b'{"a":[1,null,true],"b":"\\ud800\x7f\\u0001\xc3\xa9/"}'
    )


def test_a_failed_job_is_told_with_its_error(
    callers: Callers, sandbox: RunningSandbox, receiver: Receiver
) -> None:
    subscribe(callers, receiver.url)
    callers.made("aivisualstudio", "fail-job")
    sandbox.advance(11)
    told = receiver.wait()[0].body
    assert told["event"] == "generation.failed"
    assert (told["data"]["status"], told["data"]["error"]) == ("failed", "The generation failed")
    assert told["data"]["output_url"] is None


def test_only_active_webhooks_of_the_account_are_told_what_they_want(
    callers: Callers, sandbox: RunningSandbox, receiver: Receiver
) -> None:
    subscribe(callers, f"{receiver.url}/failed", events=["generation.failed"])
    subscribe(callers, f"{receiver.url}/other", "-other")
    client = callers.client("aivisualstudio")
    stopped, gone = (subscribe(callers, f"{receiver.url}/{name}") for name in ("stopped", "gone"))
    assert client.patch(f"/webhooks/{stopped['id']}", json={"is_active": "no"}).status_code == 400
    client.patch(f"/webhooks/{stopped['id']}", json={"is_active": False})
    client.delete(f"/webhooks/{gone['id']}")
    for prompt in ("a lake", "fail-job"):
        callers.made("aivisualstudio", prompt)
    subscribe(callers, f"{receiver.url}/late")  # while they are under way
    sandbox.advance(11)
    settled(sandbox, sent=3, accepted=3)
    told = sorted((one.path, one.body["event"]) for one in receiver.received)
    assert told == [
        ("/hook/failed", "generation.failed"),
        ("/hook/late", "generation.completed"),
        ("/hook/late", "generation.failed"),
    ]


def test_a_creates_own_address(callers: Callers, sandbox: RunningSandbox, receiver: Receiver) -> None:
    callers.made("aivisualstudio", webhook_url=receiver.url)
    sandbox.advance(11)
    [unsigned] = receiver.wait()
    assert "X-Webhook-Signature" not in unsigned.headers
    subscribe(callers, "https://example.com/hook")
    newest = subscribe(callers, receiver.url, events=["generation.failed"])
    callers.made("aivisualstudio", webhook_url=receiver.url)
    sandbox.advance(11)
    assert is_signed(receiver.wait(2)[1], newest["secret"])
    settled(sandbox, sent=2, accepted=2, not_delivered=1)
    for wrong in ("no", 3, "ftp://x/y"):
        assert callers.create("aivisualstudio", webhook_url=wrong).status_code == 400
        assert callers.create("blockadelabs", webhook_url=wrong).status_code == 400


def test_a_key_without_its_prefix(callers: Callers, sandbox: RunningSandbox, receiver: Receiver) -> None:
    hook = subscribe(callers, receiver.url)
    sandbox.configure(webhook_key_has_prefix=False, clock_offset_seconds=-5000)
    callers.made("aivisualstudio")
    sandbox.advance(11)
    [told] = receiver.wait()
    assert is_signed(told, hook["secret"].removeprefix("whsec_"))
    assert abs(time.time() + 11 - 5000 - int(told.signature["t"])) < 30


def test_blockade_labs_tells_every_status(
    callers: Callers, sandbox: RunningSandbox, receiver: Receiver
) -> None:
    job = callers.made("blockadelabs", webhook_url=receiver.url)
    failing = callers.made("blockadelabs", "fail-job", webhook_url=f"{receiver.url}/failing")
    callers.made("blockadelabs")
    sandbox.advance(1.5)
    until(lambda: len(receiver.received) == 2)
    assert {one.body["status"] for one in receiver.received} == {"dispatched"}
    sandbox.advance(10)
    told = receiver.wait(6)
    settled(sandbox, "blockadelabs", sent=6, accepted=6)
    assert {one.body["status"] for one in told if one.path == "/hook"} == {
        "dispatched",
        "processing",
        "complete",
    }
    assert {one.body["status"] for one in told if one.path != "/hook"} == {
        "dispatched",
        "processing",
        "error",
    }
    last = {one.body["status"]: one for one in told if one.body["id"] == int(job)}["complete"]
    assert last.body == callers.read("blockadelabs", job)
    assert "webhook_url" not in last.body["generator_data"]
    assert "X-Webhook-Signature" not in last.headers
    error = next(one.body for one in told if one.body["status"] == "error")
    assert (error["id"], error["error_message"]) == (int(failing), "The generation failed")


def test_blockade_labs_tells_of_a_cancelled_job_once(
    callers: Callers, sandbox: RunningSandbox, receiver: Receiver
) -> None:
    sandbox.configure(blockade_webhook_envelope="response")
    first, second = (callers.made("blockadelabs", webhook_url=receiver.url) for _ in range(2))
    client = callers.client("blockadelabs")
    assert client.delete(f"/imagine/requests/{first}").is_success
    assert client.delete("/imagine/requests/pending").is_success
    told = [one.body["response"] for one in receiver.wait(2)]
    assert sorted((one["id"], one["status"]) for one in told) == [
        (int(first), "abort"),
        (int(second), "abort"),
    ]
    sandbox.advance(1000)
    callers.made("blockadelabs", webhook_url=receiver.url)
    sandbox.advance(1.5)
    assert receiver.wait(3)[2].body["response"]["status"] == "dispatched"
    settled(sandbox, "blockadelabs", sent=3, accepted=3)


def test_imagineapi_tells_one_address_of_all_jobs(
    callers: Callers, sandbox: RunningSandbox, receiver: Receiver
) -> None:
    callers.made("imagineapi", "before")
    sandbox.configure(imagineapi_webhook_url=receiver.url, imagineapi_queued=True)
    job = callers.made("imagineapi", ref="r")
    banned = callers.made("imagineapi", "forbidden-content", suffix="-other")
    sandbox.advance(11)
    told = [one.body for one in receiver.wait(6)]
    assert {one["event"] for one in told} == {"images.items.update"}
    assert sorted((one["payload"]["id"] == job, one["payload"]["status"]) for one in told) == [
        (False, "failed"),
        (False, "in-progress"),
        (False, "queued"),
        (True, "completed"),
        (True, "in-progress"),
        (True, "queued"),
    ]
    done = next(one["payload"] for one in told if one["payload"]["status"] == "completed")
    assert done == callers.read("imagineapi", job)
    failed = next(one["payload"] for one in told if one["payload"]["status"] == "failed")
    assert failed == callers.read("imagineapi", banned, "-other")
    settled(sandbox, "imagineapi", sent=6, accepted=6)


@pytest.mark.parametrize("wrong", [{"imagineapi_webhook_url": "no"}, {"webhook_attempts": -1}])
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="webhook"):
        SandboxSettings(**wrong)


def test_which_addresses_can_be_registered(callers: Callers, receiver: Receiver) -> None:
    client = callers.client("aivisualstudio")
    for url in (receiver.url, "http://localhost/x", "http://[::1]/x", "https://example.com/x"):
        assert client.post("/webhooks", json={"url": url}).is_success
    for wrong in ("http://example.com/x", "http://10.0.0.1/x", "ftp://localhost/x", "https://[", "", None):
        assert client.post("/webhooks", json={"url": wrong}).status_code == 400


def test_a_secret_is_shown_once(callers: Callers) -> None:
    hook = subscribe(callers, "https://example.com/hook")
    assert hook["secret"].startswith("whsec_")
    listed = callers.client("aivisualstudio").get("/webhooks").json()["data"]
    assert listed == [{name: value for name, value in hook.items() if name != "secret"}]
