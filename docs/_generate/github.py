"""Markdown as GitHub reads it, for the site's reader, which wants lists indented by four."""

from __future__ import annotations

import re
from collections.abc import Iterator

_ITEM = re.compile(r"(?:\d+\.|[-*]) +")
_FENCE = re.compile(r" *```")


def four_deep(text: str) -> str:
    """What belongs to an item of a list, indented by four instead of by the width of its mark, and a blank
    line behind an item of several paragraphs."""
    return "\n".join(_lines(text.split("\n")))


def _lines(lines: list[str]) -> Iterator[str]:
    depth, fenced, paragraphs, before = 0, False, 1, ""
    for line in lines:
        item = None if fenced else _ITEM.match(line)
        if item is not None:
            if depth and paragraphs > 1 and before.strip():
                yield ""
            depth, paragraphs = len(item[0]), 1
        elif line.strip() and not line.startswith(" " * depth):
            depth = 0
        elif line.strip() and not before.strip():
            paragraphs += 1
        fenced ^= _FENCE.match(line) is not None
        belongs = depth and depth < 4 and item is None and line.strip()
        yield " " * (4 - depth) + line if belongs else line
        before = line
