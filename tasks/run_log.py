"""The package's log lines in the log of the flow run, so that the UI shows them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.logging import get_run_logger


class _Forward(logging.Handler):
    def __init__(self, target: logging.Logger | logging.LoggerAdapter[logging.Logger]) -> None:
        super().__init__(level=logging.INFO)
        self._target = target

    def emit(self, record: logging.LogRecord) -> None:
        self._target.log(record.levelno, "%s", record.getMessage())


@contextmanager
def logs_in_run() -> Iterator[None]:
    """Send what the package logs to the present flow run's logger."""
    package = logging.getLogger("prefect_imagine")
    handler = _Forward(get_run_logger())
    before = package.level, package.propagate
    package.addHandler(handler)
    package.setLevel(logging.INFO)
    package.propagate = False  # the run's logger prints it already
    try:
        yield
    finally:
        package.removeHandler(handler)
        package.level, package.propagate = before
