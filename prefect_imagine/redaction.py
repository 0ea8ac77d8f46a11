"""Keeps addresses' queries out of logs: signed addresses are secrets, and httpx logs every one at INFO."""

from __future__ import annotations

import logging
import re

_QUERY = re.compile(r"(https?://[^\s?\"']+)\?[^\s\"']+")


def without_query(text: str) -> str:
    """The text with the query of every address in it taken out."""
    return _QUERY.sub(r"\1?…", text)


class _WithoutQueries(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(without_query(str(arg)) if "://" in str(arg) else arg for arg in record.args)
        return True


def guard_httpx_logs() -> None:
    """Make httpx log addresses without their queries. Safe to call again."""
    logger = logging.getLogger("httpx")
    if not any(isinstance(present, _WithoutQueries) for present in logger.filters):
        logger.addFilter(_WithoutQueries())
