"""A hundred keys, each shared by machines: the pacing's own arithmetic against simulated limits, on a clock
of its own."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from statistics import mean

from benchmarks.rig import Rig
from benchmarks.tables import Table
from prefect_imagine.providers.limits.pace import Pace
from prefect_imagine.providers.limits.rates import Rate
from prefect_imagine.sandbox.core.settings import RateLimit
from tests.providers.simulated import TRIPS, Key, Machine, greedy

SEED = 1
KEYS, QUICK_KEYS = 100, 5
WORKERS = 10
WINDOWS = 10
"""Of each limit that are measured, after one in which the workers begin."""
MINUTE = RateLimit(60, 60.0, "fixed", headers=True)


@dataclass(frozen=True)
class Setting:
    """What each of the keys has.

    Attributes:
        known: by what the workers know the limit.
        tells_wait: whether a 429 has `Retry-After`, where there are no other headers.
        rate: what each worker is told to keep.
        meet: whether the workers know how many they are, and how long the window is: those who store under
            one root do.
        windows: how many are measured.
    """

    known: str
    rule: RateLimit = MINUTE
    workers: int = WORKERS
    tells_wait: bool = False
    rate: Rate | None = None
    meet: bool = False
    windows: int = WINDOWS


SILENT = replace(MINUTE, headers=False)
FAST, FAST_WINDOWS = RateLimit(600, 60.0, "fixed", headers=True), 3
SLIDING, BUCKET = replace(MINUTE, kind="sliding"), replace(MINUTE, kind="bucket")
SETTINGS = (
    *(Setting("headers", workers=number) for number in (1, 2, WORKERS)),
    *(Setting("headers", workers=number, meet=True) for number in (2, 4, WORKERS, 20)),
    *(Setting("headers", SLIDING, number) for number in (1, 2, WORKERS)),
    *(Setting("headers", SLIDING, number, meet=True) for number in (2, 4, WORKERS)),
    *(Setting("headers", BUCKET, meet=meet) for meet in (False, True)),
    *(Setting("headers", FAST, windows=FAST_WINDOWS, meet=meet) for meet in (False, True)),
    *(Setting("429s with Retry-After", SILENT, workers=number, tells_wait=True) for number in (1, WORKERS)),
    *(Setting("429s only", SILENT, workers=number) for number in (1, WORKERS)),
    Setting("--rate, a tenth each", SILENT, tells_wait=True, rate=Rate(6, 60.0)),
    *(
        Setting("--rate, all of it each", SILENT, tells_wait=True, rate=Rate(60, 60.0), meet=meet)
        for meet in (False, True)
    ),
)


def measure(rig: Rig) -> Table:
    """Keys do not touch each other, so they are simulated side by side, each with its own dice."""
    keys = QUICK_KEYS if rig.quick else KEYS
    table = Table(
        "Many keys and workers, simulated",
        f"{keys} keys, each with so many workers on machines of their own: no shared file, no Prefect. Those "
        "that know of each other store under one root. All want more than the limit allows, send again what "
        "is refused, and begin within the first window; "
        f"then {WINDOWS} windows are counted ({FAST_WINDOWS} of those of {FAST.limit}). Requests take "
        f"{TRIPS[0]}-{TRIPS[1]} s; seed {SEED}. Use: what passed over what the limit allows. Share: what of "
        "a key's passed requests a worker sent, over an equal part; the least and the most of all workers. "
        "Asks: looks at the pace for each request.",
        (
            "limit known by",
            "of each other",
            "limit",
            "kind",
            "workers a key",
            "workers",
            "use",
            "lowest use of a key",
            "429s of requests",
            "429s a worker and hour",
            "least share",
            "most share",
            "asks a request",
        ),
    )
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        for setting in SETTINGS:
            counted = list(pool.map(partial(_simulated, setting), range(keys), chunksize=5))
            table.add(*_row(setting, counted))
    return table


@dataclass(frozen=True)
class _Counted:
    """Of one key while it was measured: requests that passed by worker, 429s, asks."""

    passed: tuple[int, ...]
    refused: int
    asks_a_request: float


def _simulated(setting: Setting, number: int) -> _Counted:
    dice = random.Random(f"{SEED} {number}")
    random.seed(f"{SEED} {number}")  # waits after a 429 have a random part
    window = setting.rule.window_seconds
    machines = [_machine(setting, dice) for _ in range(setting.workers)]
    end = (1 + setting.windows) * window
    Key(setting.rule, machines, tells_wait=setting.tells_wait).run(end)
    return _Counted(
        passed=tuple(sum(at > window for at in each.landed) for each in machines),
        refused=sum(at > window for each in machines for at in each.refused),
        asks_a_request=sum(each.asked for each in machines) / sum(each.sent for each in machines),
    )


def _machine(setting: Setting, dice: random.Random) -> Machine:
    known = Pace(machines=setting.workers, window=setting.rule.window_seconds) if setting.meet else Pace()
    return greedy(dice, setting.rule, known, setting.rate)


def _row(setting: Setting, counted: list[_Counted]) -> Iterator[object]:
    rule, windows = setting.rule, setting.windows
    workers = setting.workers * len(counted)
    allowed = (rule.limit or 1) * windows
    uses = [sum(each.passed) / allowed for each in counted]
    refused = sum(each.refused for each in counted)
    shares = [passed / mean(each.passed) for each in counted for passed in each.passed]
    yield from (
        setting.known,
        "yes" if setting.meet else "no",
        f"{rule.limit} / {rule.window_seconds:g} s",
        rule.kind,
    )
    yield from (setting.workers, workers, mean(uses), min(uses))
    yield f"{refused / (refused + sum(sum(each.passed) for each in counted)):.1%}"
    yield refused / workers / (windows * rule.window_seconds / 3600)
    yield from (min(shares), max(shares), mean(each.asks_a_request for each in counted))
