"""Rate limits, their headers, and accounts that do not share them."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

import httpx
import pytest

from prefect_imagine.sandbox import RateLimit, RunningSandbox

from .callers import CREATES, LISTS, READS, Callers

LIMIT = "X-RateLimit-Limit"
REMAINING = "X-RateLimit-Remaining"
RESET = "X-RateLimit-Reset"


def test_headers_on_every_answer(callers: Callers, sandbox: RunningSandbox, http: httpx.Client) -> None:
    first = callers.create("aivisualstudio")
    assert (first.headers[LIMIT], first.headers[REMAINING]) == ("60", "59")
    missing = callers.client("aivisualstudio").get("/generations/gen_no")
    assert (missing.status_code, missing.headers[REMAINING]) == (404, "58")
    stranger = http.get(sandbox.base_urls["aivisualstudio"] + "/models")
    assert (stranger.status_code, stranger.headers[LIMIT]) == (401, "60")
    date = parsedate_to_datetime(first.headers["Date"]).timestamp()
    assert 59 <= int(first.headers[RESET]) - date <= 61


def test_a_fixed_window_resets(callers: Callers, sandbox: RunningSandbox) -> None:
    for _ in range(60):
        assert callers.client("aivisualstudio").get("/models").is_success
    refused = callers.create("aivisualstudio")
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limited")
    assert (refused.headers[REMAINING], refused.headers["Retry-After"]) == ("0", "60")
    assert callers.create("aivisualstudio", suffix="-other").is_success
    assert sandbox.report()["requests"]["aivisualstudio"]["rate_limited"] == 1
    sandbox.advance(61)
    assert callers.create("aivisualstudio").headers[REMAINING] == "59"


@pytest.mark.parametrize(("kind", "after_half_a_window"), [("fixed", 0), ("sliding", 0), ("bucket", 2)])
def test_kinds_of_limit(
    callers: Callers, sandbox: RunningSandbox, kind: str, after_half_a_window: int
) -> None:
    sandbox.configure(rate_limits={"imagineapi": {"limit": 4, "window_seconds": 60, "kind": kind}})
    assert _allowed(callers, 6) == 4
    sandbox.advance(30)
    assert _allowed(callers, 4) == after_half_a_window
    sandbox.advance(61)
    assert _allowed(callers, 6) == 4


def _allowed(callers: Callers, requests: int) -> int:
    return sum(callers.client("imagineapi").get("/status").is_success for _ in range(requests))


@pytest.mark.parametrize("provider", CREATES)
def test_a_429_is_in_the_providers_own_words(
    callers: Callers, sandbox: RunningSandbox, provider: str
) -> None:
    sandbox.configure(rate_limits={provider: RateLimit(1)})
    callers.made(provider)
    refused = callers.client(provider).get(LISTS[provider])
    assert refused.status_code == 429
    assert set(refused.json()) <= {"detail", "error", "errors"}
    assert LIMIT not in refused.headers
    assert ("Retry-After" in refused.headers) == (provider == "imagineapi")


@pytest.mark.parametrize("provider", CREATES)
def test_accounts_share_nothing(callers: Callers, sandbox: RunningSandbox, provider: str) -> None:
    sandbox.configure(credits={provider: 11}, rate_limits={provider: RateLimit(4)})
    job = callers.made(provider)
    other = callers.made(provider, suffix="-other")
    assert [str(one["id"]) for one in callers.listed(provider)] == [job]
    assert [str(one["id"]) for one in callers.listed(provider, "-other")] == [other]
    stranger = callers.client(provider, "-other").get(READS[provider].format(job))
    assert stranger.status_code in (403, 404)
    assert callers.client(provider).get(LISTS[provider]).is_success
    assert callers.create(provider).is_success
    assert callers.create(provider).status_code == 429
    assert callers.create(provider, suffix="-other").is_success


def test_each_account_has_its_own_balance_and_books(callers: Callers, sandbox: RunningSandbox) -> None:
    sandbox.configure(credits={"imaginelab": 10})
    for suffix in ("", "", "-other"):
        callers.made("imaginelab", suffix=suffix)
    assert callers.create("imaginelab").status_code == 402
    wallet = callers.client("imaginelab", "-other").get("/credits/wallet").json()
    assert wallet["balance"] == 5
    report = sandbox.report()
    assert report["accounts"]["imaginelab"] == {
        "you@example.com": {"jobs": 2, "charged": 10},
        "you+other@example.com": {"jobs": 1, "charged": 5},
    }
    assert report["charged"]["imaginelab"] == 15
    assert [job["account"] for job in report["jobs"]][1:] == ["you@example.com", "you+other@example.com"]


def test_the_providers_clock_is_its_own(callers: Callers, sandbox: RunningSandbox) -> None:
    sandbox.configure(clock_offset_seconds=3600)
    shifted = callers.create("aivisualstudio")
    sandbox.configure(clock_offset_seconds=0)
    plain = callers.create("aivisualstudio")
    moments = [parsedate_to_datetime(one.headers["Date"]).timestamp() for one in (shifted, plain)]
    assert 3590 < moments[0] - moments[1] < 3610
    assert 3590 < int(shifted.headers[RESET]) - int(plain.headers[RESET]) < 3610


def test_new_jobs_can_be_late_in_lists(callers: Callers, sandbox: RunningSandbox) -> None:
    sandbox.configure(history_lag_seconds=30)
    jobs = {provider: callers.made(provider) for provider in CREATES}
    for provider, job in jobs.items():
        assert callers.listed(provider) == []
        assert str(callers.read(provider, job)["id"]) == job
    sandbox.advance(31)
    for provider in jobs:
        assert len(callers.listed(provider)) == 1
