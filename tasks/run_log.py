"""The package's log lines in the log of the flow run, so that the UI shows them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from prefect.logging import get_run_logger


class RunLog(logging.Handler):
    """Sends lines to a flow run's logger, each with the batch that it is about.

    Attributes:
        batch_id: named in lines that do not name it themselves.
    """

    def __init__(self) -> None:
        super().__init__(level=logging.INFO)
        self._target = get_run_logger()
        self.batch_id = ""

    def emit(self, record: logging.LogRecord) -> None:
        # Flow runs side by side in one process: each gets its own lines, and those of no run's context.
        if _present.get() not in (None, self):
            return
        line = record.getMessage()
        line = line if self.batch_id in line else f"batch {self.batch_id}: {line}"
        self._target.log(record.levelno, "%s", line, exc_info=record.exc_info)


_present: ContextVar[RunLog | None] = ContextVar("prefect_imagine_run_log", default=None)


@contextmanager
def logs_in_run() -> Iterator[RunLog]:
    """Send what the package logs in this context to the present flow run's logger."""
    log = RunLog()
    _begin(log)
    token = _present.set(log)
    try:
        yield log
    finally:
        _present.reset(token)
        _end(log)


_package = logging.getLogger("prefect_imagine")
_logs: list[RunLog] = []
_before = (_package.level, _package.propagate)


def _begin(log: RunLog) -> None:
    global _before
    if not _logs:
        _before = (_package.level, _package.propagate)
        _package.setLevel(logging.INFO)
        _package.propagate = False  # the runs' loggers print it already
    _logs.append(log)
    _package.addHandler(log)


def _end(log: RunLog) -> None:
    _package.removeHandler(log)
    _logs.remove(log)
    if not _logs:
        _package.level, _package.propagate = _before
