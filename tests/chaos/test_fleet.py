"""A batch over a fleet whose workers, and whose servers, are killed while it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.stack import missing
from tests.chaos.fleet import Plan, disturbed

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(bool(missing()), reason=missing() or "it is installed"),
    pytest.mark.timeout(1800),
]


def test_nothing_is_paid_twice_or_lost(tmp_path: Path) -> None:
    plan = Plan("fox", items=200, workers=2, every=15.0, most=4, handing_over=1)
    with disturbed(tmp_path / "fleet", plan) as chaos:
        result = chaos.run()
    assert result.verdict.problems == []
    assert result.kills >= 2
