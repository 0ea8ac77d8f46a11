"""Named places where a test may kill the process, to prove that nothing is lost or paid twice there.

Off unless `PREFECT_IMAGINE_FAILPOINT` names a place and which passage of it kills: `after_post:3`.
"""

from __future__ import annotations

import os
import signal
from collections import Counter

NAMES = (
    "before_intent",
    "after_intent",
    "after_post",
    "before_created",
    "after_created",
    "mid_upload",
    "before_stored",
    "mid_manifest",
    "after_approval",
)
VARIABLE = "PREFECT_IMAGINE_FAILPOINT"
"""For tests alone: the place where the process kills itself, and at which passage, such as `after_post:3`."""
_passages: Counter[str] = Counter()


def reach(name: str) -> None:
    """Die here, if a test asked for it."""
    wanted = os.environ.get(VARIABLE)
    if not wanted:
        return
    place, _, passage = wanted.partition(":")
    _passages[name] += 1
    if place == name and _passages[name] == int(passage or 1):
        os.kill(os.getpid(), signal.SIGKILL)
