"""Pages, and the Markdown that they are made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Page:
    """A page of the reference.

    Attributes:
        name: its file's, without `.md`; also in its address.
        title: in the menu.
        text: its Markdown, without the title.
    """

    name: str
    title: str
    text: str

    @property
    def uri(self) -> str:
        """Where the site has it."""
        return f"reference/{self.name}.md"

    @property
    def markdown(self) -> str:
        """All of it."""
        return f"# {self.title}\n\n{self.text.strip()}\n"


def code(text: object) -> str:
    """Text as code."""
    return f"`{text}`"


def blocks(*parts: str) -> str:
    """Paragraphs, tables and lists below each other; empty ones are left out."""
    return "\n\n".join(part.strip("\n") for part in parts if part.strip())


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; nothing where there are no rows."""
    lines = [f"| {' | '.join(map(_cell, row))} |" for row in rows]
    head = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return "\n".join([*head, *lines]) if lines else ""


def _cell(text: str) -> str:
    """Text on one line, whose bars divide nothing: those in code do not anyway."""
    parts = re.sub(r"\s+", " ", text).strip().split("`")
    return "`".join(part.replace("|", "&#124;") if at % 2 == 0 else part for at, part in enumerate(parts))


def sentence(text: str) -> str:
    """With a capital at its beginning and a full stop at its end."""
    text = text.strip()
    text = text if text.startswith("`") else text[:1].upper() + text[1:]
    return text if not text or text.endswith((".", "!", "?", ":")) else f"{text}."
