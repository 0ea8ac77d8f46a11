"""Each fault does what it says, and the books stay exact whatever the client saw."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from prefect_imagine.sandbox import FAULTS, FaultRule, RunningSandbox

from .callers import CREATES, Callers


@pytest.mark.parametrize("provider", CREATES)
@pytest.mark.parametrize(
    ("fault", "accepted"),
    [("error_before", 0), ("error_after", 1), ("garbage_after", 1), ("rate_limited", 0), ("no_credits", 0)],
)
def test_spoilt_creates(
    callers: Callers, sandbox: RunningSandbox, provider: str, fault: str, accepted: int
) -> None:
    sandbox.faults.add(FaultRule(fault, on="create", times=1))
    answer = callers.create(provider)
    if fault == "garbage_after":
        with pytest.raises(UnicodeDecodeError):
            answer.json()
    else:
        assert answer.is_error
    assert len(sandbox.books.jobs) == accepted
    assert callers.create(provider).is_success
    assert sandbox.report()["by_prompt"][provider] == {"a lake": accepted + 1}


@pytest.mark.parametrize("provider", CREATES)
@pytest.mark.parametrize(("fault", "accepted"), [("cut_before", 0), ("cut_after", 1)])
def test_cut_connections(
    callers: Callers, sandbox: RunningSandbox, provider: str, fault: str, accepted: int
) -> None:
    sandbox.faults.add(FaultRule(fault, provider=provider, on="create"))
    with pytest.raises(httpx.TransportError):
        callers.create(provider)
    assert len(sandbox.books.jobs) == accepted
    assert len(callers.listed(provider)) == accepted


def leave_early(callers: Callers) -> None:
    """Send a create and hang up before it is answered."""
    with pytest.raises(httpx.ReadTimeout):
        callers.client("aivisualstudio").post(
            "/generate/image", json={"prompt": "a"}, timeout=httpx.Timeout(5.0, read=0.05)
        )


def accepted_in_time(sandbox: RunningSandbox) -> int:
    """How many jobs there are once there are any; waits up to five seconds for the first."""
    deadline = time.monotonic() + 5
    while not sandbox.books.jobs and time.monotonic() < deadline:
        time.sleep(0.01)
    return len(sandbox.books.jobs)


def test_a_slow_answer_comes_after_acceptance(callers: Callers, sandbox: RunningSandbox) -> None:
    sandbox.faults.add(FaultRule("slow", seconds=60))
    leave_early(callers)
    assert accepted_in_time(sandbox) == 1


def test_slow_acceptance_outlives_the_client(callers: Callers, sandbox: RunningSandbox) -> None:
    sandbox.faults.add(FaultRule("slow_accept", seconds=0.5))
    leave_early(callers)
    assert sandbox.books.jobs == []
    assert accepted_in_time(sandbox) == 1


def test_a_reset_forgets_creates_on_their_way(callers: Callers, sandbox: RunningSandbox) -> None:
    sandbox.faults.add(FaultRule("slow_accept", seconds=0.15))
    leave_early(callers)
    sandbox.reset()
    time.sleep(0.2)
    assert sandbox.books.jobs == []


def test_server_delay(callers: Callers, sandbox: RunningSandbox) -> None:
    sandbox.configure(server_delay_seconds=0.1)
    before = time.monotonic()
    callers.made("imagineapi")
    assert time.monotonic() - before >= 0.1


def test_rate_limited_tells_when_to_return(callers: Callers, sandbox: RunningSandbox) -> None:
    sandbox.faults.add(FaultRule("rate_limited", seconds=7))
    refused = callers.create("blockadelabs")
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "7")


def test_image_error_is_a_429_of_its_own(callers: Callers, sandbox: RunningSandbox) -> None:
    sandbox.faults.add(FaultRule("image_error"))
    refused = callers.create("imagineapi")
    assert refused.status_code == 429
    assert refused.json()["errors"][0]["extensions"]["code"] == "IMAGE_ERROR"


def test_blockade_errors_as_200(callers: Callers, sandbox: RunningSandbox) -> None:
    sandbox.faults.add(FaultRule("error_200", on="create"))
    answer = callers.create("blockadelabs")
    assert (answer.status_code, set(answer.json())) == (200, {"error"})
    assert sandbox.books.jobs == []


def test_jobs_that_fail_or_hang(callers: Callers, sandbox: RunningSandbox) -> None:
    sandbox.faults.add(FaultRule("job_fails", match="bad"), FaultRule("job_hangs", match="stuck"))
    bad, stuck, good = (callers.made("aivisualstudio", prompt) for prompt in ("bad", "stuck", "good"))
    sandbox.advance(1000)
    statuses = [callers.read("aivisualstudio", job)["status"] for job in (bad, stuck, good)]
    assert statuses == ["failed", "processing", "completed"]
    assert callers.read("aivisualstudio", bad)["credits_charged"] == 0
    assert sandbox.report()["charged"]["aivisualstudio"] == 10


def test_an_expired_token_stays_expired(http: httpx.Client, sandbox: RunningSandbox) -> None:
    base = sandbox.base_urls["imaginelab"]
    form = {"username": "you@example.com", "password": "sandbox"}
    tokens = [http.post(f"{base}/auth/login", data=form).json()["access_token"] for _ in range(2)]
    headers = [{"Authorization": f"Bearer {token}"} for token in tokens]
    sandbox.faults.add(FaultRule("expired_token", times=1))
    for _ in range(2):
        assert http.get(f"{base}/auth/me", headers=headers[0]).status_code == 401
    assert http.get(f"{base}/auth/me", headers=headers[1]).is_success


def test_elsewhere_a_token_expires_once(callers: Callers, sandbox: RunningSandbox) -> None:
    sandbox.faults.add(FaultRule("expired_token", provider="aivisualstudio", times=1))
    refused = callers.client("aivisualstudio").get("/models")
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "expired_api_key")
    assert callers.client("aivisualstudio").get("/models").is_success


@pytest.fixture(params=CREATES)
def file(request: pytest.FixtureRequest, callers: Callers, sandbox: RunningSandbox) -> Iterator[MediaFile]:
    """A finished job's file, and how to download it."""
    provider = str(request.param)
    job = callers.made(provider)
    sandbox.advance(11)
    with httpx.Client(trust_env=False) as client:
        yield MediaFile(client, callers.media_url(provider, job))


@dataclass(frozen=True)
class MediaFile:
    client: httpx.Client
    url: str

    def get(self) -> httpx.Response:
        return self.client.get(self.url)


@pytest.mark.parametrize(("fault", "status"), [("error_before", 503), ("rate_limited", 429)])
def test_media_refused(sandbox: RunningSandbox, file: MediaFile, fault: str, status: int) -> None:
    sandbox.faults.add(FaultRule(fault, on="media", times=1))
    assert [file.get().status_code for _ in range(2)] == [status, 200]


@pytest.mark.parametrize("fault", ["cut_before", "cut_body"])
def test_media_cut(sandbox: RunningSandbox, file: MediaFile, fault: str) -> None:
    sandbox.faults.add(FaultRule(fault, on="media", times=1))
    with pytest.raises(httpx.TransportError):
        file.get()
    assert file.get().is_success


def test_media_spoilt_but_200(sandbox: RunningSandbox, file: MediaFile) -> None:
    whole = file.get().content
    for fault in ("html", "truncated", "empty"):
        sandbox.faults.clear()
        sandbox.faults.add(FaultRule(fault))
        spoilt = file.get()
        assert spoilt.status_code == 200
        assert int(spoilt.headers["Content-Length"]) == len(spoilt.content)
        assert spoilt.content != whole
        if fault == "html":
            assert spoilt.headers["Content-Type"].startswith("text/html")
        else:
            assert whole.startswith(spoilt.content)


def test_media_sound_but_odd(sandbox: RunningSandbox, file: MediaFile) -> None:
    whole = file.get().content
    sandbox.faults.add(FaultRule("no_length", times=1), FaultRule("wrong_type", skip=1))
    chunked, untyped = file.get(), file.get()
    assert chunked.content == untyped.content == whole
    assert "Content-Length" not in chunked.headers
    assert untyped.headers["Content-Type"] == "application/octet-stream"


@pytest.mark.parametrize("provider", CREATES)
def test_expired_addresses_are_refreshed_by_reading(
    callers: Callers, sandbox: RunningSandbox, http: httpx.Client, provider: str
) -> None:
    job = callers.made(provider)
    sandbox.advance(11)
    old = callers.media_url(provider, job)
    sandbox.faults.add(FaultRule("expired_url", times=1))
    assert [http.get(old).status_code for _ in range(2)] == [403, 403]
    new = callers.media_url(provider, job)
    assert new != old
    assert http.get(new).is_success


def test_rules_choose_their_requests(callers: Callers, sandbox: RunningSandbox) -> None:
    sandbox.faults.add(FaultRule("error_before", on="create", skip=1, times=1, match="lake", status=503))
    statuses = [callers.create("blockadelabs", prompt).status_code for prompt in ("a lake", "a hill")]
    statuses += [callers.create("blockadelabs").status_code for _ in range(2)]
    assert statuses == [200, 200, 503, 200]
    assert callers.listed("blockadelabs")
    assert sandbox.faults.as_json()[0]["hits"] == 1


def test_rates_are_the_same_for_the_same_seed(callers: Callers, sandbox: RunningSandbox) -> None:
    def outcomes() -> list[int]:
        sandbox.reset()
        sandbox.faults.add(FaultRule("error_before", on="create", rate=0.5))
        return [callers.create("imagineapi").status_code for _ in range(20)]

    first = outcomes()
    assert first == outcomes()
    assert {200, 500} == set(first)


@pytest.mark.parametrize(
    "wrong",
    [
        {"fault": "nonesuch"},
        {"fault": "slow", "on": "never"},
        {"fault": "slow", "rate": 2},
        {"fault": "slow", "provider": "nobody"},
        {"no": 1},
        3,
    ],
)
def test_wrong_rules_are_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"unknown|a fault is|rate"):
        FaultRule.from_json(wrong)


def test_every_fault_can_be_named() -> None:
    assert {FaultRule(name).fault for name in FAULTS} == set(FAULTS)
