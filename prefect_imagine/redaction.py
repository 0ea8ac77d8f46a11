"""Keeps secrets and control characters out of messages and logs.

Signed addresses are secrets, and httpx logs every one at INFO; texts of others may move a terminal's
cursor or forge a line of a log.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable

LONGEST_MESSAGE = 500
_SECRETS = re.compile(r"(https?://)(?:[^\s/@]*@)?([^\s?#\"'<>]*)(?:[?#][^\s\"'<>]*)?", re.IGNORECASE)


def without_query(text: str) -> str:
    """The text with every URL cut down to its path: queries of signed URLs and user names are secrets."""
    return _SECRETS.sub(r"\1\2", text)


def printable(text: str) -> str:
    """The text on one line: whatever is no printable character is a space."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


def redacted(text: str, secrets: Iterable[str] = ()) -> str:
    """A message of somebody else's as it may be shown: short, on one line, without these secrets and without
    the queries of addresses."""
    for secret in filter(None, secrets):
        text = text.replace(secret, "***")
    return printable(without_query(text))[:LONGEST_MESSAGE].strip()


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
