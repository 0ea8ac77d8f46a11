"""Deliveries are made soon, again where they must be, and never beyond this machine."""

from __future__ import annotations

import asyncio
import threading

import httpx
import pytest

from prefect_imagine.sandbox import RunningSandbox, SandboxSettings, running_sandbox
from prefect_imagine.sandbox.core.agenda import Agenda
from prefect_imagine.sandbox.core.clock import Clock
from prefect_imagine.sandbox.core.notices import is_loopback

from .callers import Callers
from .receiver import Receiver, is_signed, receiving, settled, subscribe, tally, until


def test_what_is_refused_is_sent_again(callers: Callers, sandbox: RunningSandbox, receiver: Receiver) -> None:
    sandbox.configure(webhook_retry_seconds=3)
    receiver.statuses = [503, 503]
    hook = subscribe(callers, receiver.url)
    callers.made("aivisualstudio")
    sandbox.advance(11)
    for tried in (1, 2):
        settled(sandbox, sent=tried, refused={"503": tried}, pending=1)
        sandbox.advance(6)
    told = receiver.wait(3)
    assert len({one.raw for one in told}) == 1
    assert all(is_signed(one, hook["secret"]) for one in told)
    assert len({one.signature["t"] for one in told}) == 3
    settled(sandbox, sent=3, accepted=1, refused={"503": 2})


def test_it_is_given_up_after_some_attempts(
    callers: Callers, sandbox: RunningSandbox, receiver: Receiver
) -> None:
    sandbox.configure(webhook_retry_seconds=0.01, webhook_attempts=3)
    receiver.statuses = [500, 404, 410]
    subscribe(callers, receiver.url)
    callers.made("aivisualstudio")
    sandbox.advance(11)
    settled(sandbox, sent=3, refused={"404": 1, "410": 1, "500": 1}, given_up=1)


def test_it_is_given_up_after_some_time(
    callers: Callers, sandbox: RunningSandbox, receiver: Receiver
) -> None:
    sandbox.configure(webhook_retry_seconds=20, webhook_attempts=100)
    receiver.statuses = [500, 500]
    subscribe(callers, receiver.url)
    callers.made("aivisualstudio")
    sandbox.advance(11)
    until(lambda: tally(sandbox)["refused"] == {"500": 1})
    sandbox.advance(1000)
    settled(sandbox, sent=2, refused={"500": 2}, given_up=1)


def test_a_receiver_that_says_nothing_or_is_not_there(
    callers: Callers, sandbox: RunningSandbox, receiver: Receiver
) -> None:
    sandbox.configure(webhook_retry_seconds=0.01, webhook_attempts=2, webhook_timeout_seconds=0.2)
    receiver.held.clear()
    with receiving() as other:
        gone = other.url
    callers.made("aivisualstudio", webhook_url=receiver.url)
    callers.made("aivisualstudio", webhook_url=gone)
    sandbox.advance(11)
    settled(sandbox, sent=4, failed=4, given_up=2)


def test_redirects_are_not_followed(callers: Callers, sandbox: RunningSandbox, receiver: Receiver) -> None:
    sandbox.configure(webhook_retry_seconds=0.01, webhook_attempts=2)
    with receiving() as elsewhere:
        receiver.statuses, receiver.headers = [302, 307], {"Location": elsewhere.url}
        subscribe(callers, receiver.url)
        callers.made("aivisualstudio")
        sandbox.advance(11)
        settled(sandbox, sent=2, refused={"302": 1, "307": 1}, given_up=1)
        assert (len(receiver.received), elsewhere.received) == (2, [])


def test_nothing_leaves_this_machine(callers: Callers, sandbox: RunningSandbox, receiver: Receiver) -> None:
    sandbox.configure(imagineapi_webhook_url="https://example.com/hook")
    subscribe(callers, "https://example.com/hook")
    callers.made("aivisualstudio", webhook_url=f"http://127.0.0.1:80@example.com/{receiver.url}")
    callers.made("blockadelabs", webhook_url="http://10.0.0.1/hook")
    callers.made("imagineapi")
    sandbox.advance(11)
    settled(sandbox, not_delivered=2)
    settled(sandbox, "blockadelabs", not_delivered=3)
    settled(sandbox, "imagineapi", not_delivered=2)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:80/hook", True),
        ("https://127.8.9.1/hook", True),
        ("http://[::1]:80/hook", True),
        ("http://localhost/hook", True),
        ("ftp://localhost/hook", False),
        ("http://localhost.example.com/hook", False),
        ("http://localhost:99999999/hook", False),
        ("http://0.0.0.0/hook", False),
        ("http://127.0.0.1.example.com/", False),
        ("http://127.0.0.1@example.com/", False),
        ("http://example.com\\@127.0.0.1/", False),
        ("http://127.0.0.1\\@example.com/", False),
        ("http://2130706433/", False),
        ("http:///hook", False),
    ],
)
def test_what_is_on_this_machine(url: str, expected: bool) -> None:
    assert is_loopback(url) is expected


def test_a_reset_drops_what_is_pending(callers: Callers, sandbox: RunningSandbox, receiver: Receiver) -> None:
    sandbox.configure(webhook_retry_seconds=5)
    receiver.statuses = [503]
    subscribe(callers, receiver.url)
    callers.made("aivisualstudio", "refused")
    sandbox.advance(11)
    until(lambda: tally(sandbox)["refused"] == {"503": 1})
    callers.made("aivisualstudio", "under way")
    sandbox.reset()
    sandbox.advance(100)
    subscribe(callers, receiver.url)
    callers.made("aivisualstudio", "after")
    sandbox.advance(11)
    settled(sandbox, sent=1, accepted=1)
    assert [one.body["data"]["prompt"] for one in receiver.received] == ["refused", "after"]


def test_many_are_delivered_at_once(callers: Callers, sandbox: RunningSandbox, receiver: Receiver) -> None:
    sandbox.configure(rate_limits={"aivisualstudio": {"limit": None}}, webhook_timeout_seconds=60)
    receiver.held.clear()
    for number in range(80):
        callers.made("aivisualstudio", str(number), webhook_url=receiver.url)
    sandbox.advance(11)
    until(lambda: len(receiver.received) == 64)
    assert tally(sandbox)["pending"] == 80
    receiver.held.set()
    settled(sandbox, sent=80, accepted=80)
    assert len({one.body["data"]["prompt"] for one in receiver.received}) == 80


def test_the_end_of_the_sandbox_waits_for_no_answer(receiver: Receiver) -> None:
    receiver.held.clear()
    before = threading.active_count()
    with (
        running_sandbox(SandboxSettings(webhook_timeout_seconds=1000)) as sandbox,
        Callers(sandbox) as callers,
    ):
        for url in (receiver.url, "http://127.0.0.1:1/refused"):
            callers.made("aivisualstudio", webhook_url=url)
        sandbox.advance(11)
        receiver.wait()
    receiver.held.set()
    until(lambda: threading.active_count() == before)


def test_deliveries_over_http(callers: Callers, sandbox: RunningSandbox, http: httpx.Client) -> None:
    callers.made("aivisualstudio", webhook_url="https://example.com/")
    http.post(f"{sandbox.url}/_sandbox/advance", json={"seconds": 11})
    until(lambda: tally(sandbox)["not_delivered"] == 1)
    told = http.get(f"{sandbox.url}/_sandbox/webhooks").json()
    assert told == sandbox.report(jobs=False)["webhooks"]
    assert told["imaginelab"]["sent"] == 0


class CountingClock(Clock):
    """Tells how often it was looked at."""

    looks = 0

    def now(self) -> float:
        self.looks += 1
        return super().now()


async def test_waiting_looks_at_no_clock() -> None:
    clock = CountingClock()
    agenda, done, both = Agenda(clock), list[str](), asyncio.Event()
    agenda.at(clock.now() + 3601, both.set)
    agenda.at(clock.now() + 3600, lambda: done.append("second"))
    agenda.at(clock.now() + 1800, lambda: done.append("first"))
    running = asyncio.create_task(agenda.run())
    await asyncio.sleep(0.1)
    assert clock.looks < 10
    clock.advance(3602)
    agenda.wake()
    await asyncio.wait_for(both.wait(), 30)
    assert done == ["first", "second"]
    running.cancel()
    await asyncio.wait([running], timeout=30)


@pytest.mark.parametrize("steps", range(5))
async def test_an_agenda_that_is_woken_can_be_cancelled(steps: int) -> None:
    agenda = Agenda(Clock())
    agenda.at(Clock().now() + 3600, lambda: None)
    running = asyncio.create_task(agenda.run())
    await asyncio.sleep(0.01)
    agenda.wake()
    for _ in range(steps):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running], timeout=30)
    assert running.cancelled()
