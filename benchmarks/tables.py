"""One table of results, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Table:
    """A heading, what was done, columns and rows of cells."""

    title: str
    note: str
    columns: tuple[str, ...]
    rows: list[tuple[object, ...]] = field(default_factory=list)

    def add(self, *cells: object) -> None:
        """Add a row. Raises `ValueError` if it does not fit the columns."""
        if len(cells) != len(self.columns):
            raise ValueError(f"{len(cells)} cells for {len(self.columns)} columns")
        self.rows.append(cells)

    def markdown(self) -> str:
        """The table as Markdown."""
        lines = [_line(self.columns), _line(["---"] * len(self.columns))]
        lines += [_line([shown(cell) for cell in row]) for row in self.rows]
        return "\n".join([f"## {self.title}", "", self.note, "", *lines, ""])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def shown(cell: object) -> str:
    """Numbers with as many digits as mean something."""
    if isinstance(cell, float):
        return "-" if cell != cell else f"{cell:,.2f}" if abs(cell) < 20 else f"{cell:,.0f}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)
