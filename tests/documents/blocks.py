"""The fenced blocks of the documentation's pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").rglob("*.md"))
    if path.name != "CHANGELOG.md"
)
RUNNABLE = ("sh", "python")
_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    language: str
    text: str

    @property
    def is_runnable(self) -> bool:
        """Whether a reader may run it as it stands."""
        return self.language in RUNNABLE

    @property
    def commands(self) -> Iterator[str]:
        """The command lines in a block of a terminal's contents: what follows a `$`."""
        joined = re.sub(r"\\\n\s*", " ", self.text)
        return (line.removeprefix("$ ") for line in joined.splitlines() if line.startswith("$ "))


def blocks_of(page: Path) -> list[Block]:
    """All of its blocks."""
    text = page.read_text(encoding="utf-8")
    return [Block(page, language, block) for _, language, block in _BLOCK.findall(text)]


def name_of(page: Path) -> str:
    """Where a page is in the repository."""
    return page.relative_to(ROOT).as_posix()
