"""The provider's own time, as its answers give it; and the boot clock, where there is none by that name."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta

from prefect_imagine.clock import ProviderClock
from prefect_imagine.providers.limits.headers import RateHeaders

DATE = "Sat, 01 Mar 2025 12:00:00 GMT"
AT = datetime(2025, 3, 1, 12, tzinfo=UTC)


def test_an_answer_from_a_cache_is_as_old_as_it_says() -> None:
    clock = ProviderClock()
    clock.learn({"date": DATE, "age": "600"})
    assert timedelta(0) <= clock.now() - AT - timedelta(seconds=600) < timedelta(seconds=5)


def test_an_age_that_is_none_changes_nothing() -> None:
    for age in ("", "soon", "-5", "9" * 30):
        clock = ProviderClock()
        clock.learn({"date": DATE, "age": age})
        assert timedelta(0) <= clock.now() - AT < timedelta(seconds=5)


def test_a_reset_is_measured_from_when_a_cached_answer_left_its_cache() -> None:
    reset = str(int(AT.timestamp()) + 630)
    headers = {"date": DATE, "age": "600", "x-ratelimit-reset": reset}
    assert RateHeaders.of(headers, AT.timestamp() + 600).reset_in == 30


MACOS = """
import sys, time
vars(time).pop("CLOCK_BOOTTIME", None)
from prefect_imagine import clock
time.monotonic = lambda: -1e9  # it has stood still while the machine slept
sys.exit(abs(clock.boot_seconds() - time.clock_gettime(time.CLOCK_MONOTONIC)) > 5)
"""


def test_without_a_boot_clock_one_that_runs_through_sleep_is_taken() -> None:
    assert subprocess.run([sys.executable, "-c", MACOS], check=False).returncode == 0
