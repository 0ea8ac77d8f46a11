"""How property tests run here: on a machine that is busy with other tests, time is no property."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
