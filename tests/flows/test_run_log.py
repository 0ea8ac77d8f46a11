"""The package's log lines in flow runs that overlap in one process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from prefect import flow

from prefect_imagine.tasks.run_log import logs_in_run

package = logging.getLogger("prefect_imagine")


class _Lines(logging.Handler):
    """Keeps what comes by from the loggers below a name."""

    def __init__(self, name: str, *, traces: bool = False) -> None:
        super().__init__()
        self._traces = traces
        self.addFilter(logging.Filter(name))
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(self.format(record) if self._traces else record.getMessage())


@contextmanager
def _heard(logger: logging.Logger, below: str, *, traces: bool = False) -> Iterator[list[str]]:
    lines, level = _Lines(below, traces=traces), logger.level
    logger.addHandler(lines)
    logger.setLevel(logging.INFO)
    yield lines.told
    logger.setLevel(level)
    logger.removeHandler(lines)


async def test_flow_runs_that_overlap_leave_the_logger_as_it_was(prefect_server: str) -> None:
    """The one that begins first ends first."""
    before = (package.level, package.propagate, list(package.handlers))
    second_began, first_ended = asyncio.Event(), asyncio.Event()

    @flow
    async def first() -> None:
        with logs_in_run() as log:
            log.batch_id = "one"
            await second_began.wait()
            logging.getLogger("prefect_imagine.batches").info("first line")
        first_ended.set()

    @flow
    async def second() -> None:
        with logs_in_run() as log:
            log.batch_id = "two"
            second_began.set()
            await first_ended.wait()
            logging.getLogger("prefect_imagine.batches").info("second line")

    runs, root = logging.getLogger("prefect.flow_runs"), logging.getLogger()
    with _heard(runs, "prefect.flow_runs") as told, _heard(root, "prefect_imagine") as printed:
        await asyncio.gather(first(), second())
    assert [line for line in told if " line" in line] == ["batch one: first line", "batch two: second line"]
    assert printed == [], "the runs' loggers print it already"
    assert (package.level, package.propagate, package.handlers) == before


async def test_an_unexpected_error_brings_its_traceback(prefect_server: str) -> None:
    @flow
    async def failing() -> None:
        with logs_in_run():
            try:
                raise LookupError("nobody foresaw this")
            except LookupError:
                logging.getLogger("prefect_imagine.batches").exception("item 5")

    runs = logging.getLogger("prefect.flow_runs")
    with _heard(runs, "prefect.flow_runs", traces=True) as told:
        await failing()
    assert any("nobody foresaw this" in line and "Traceback" in line for line in told)
