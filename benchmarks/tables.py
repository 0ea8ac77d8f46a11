"""One table of results, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Table:
    """A heading, what was done, columns and rows of cells.

    Attributes:
        plot: the file below docs/ that shows it as bars; none where it is not worth one.
        plotted: the columns that it shows.
        named: by how many columns, the first ones, its bars are named.
    """

    title: str
    note: str
    columns: tuple[str, ...]
    rows: list[tuple[object, ...]] = field(default_factory=list)
    plot: str = ""
    plotted: tuple[str, ...] = ()
    named: int = 1

    def add(self, *cells: object) -> None:
        """Add a row. Raises `ValueError` if it does not fit the columns."""
        if len(cells) != len(self.columns):
            raise ValueError(f"{len(cells)} cells for {len(self.columns)} columns")
        self.rows.append(cells)

    def markdown(self, measured: str = "") -> str:
        """The table as Markdown, with how it was measured."""
        lines = [_line(self.columns), _line(["---"] * len(self.columns))]
        lines += [_line([shown(cell) for cell in row]) for row in self.rows]
        parts = [f"## {self.title}", measured, self.note]
        parts += [f"![{self.title}]({self.plot})"] if self.plot else []
        return "\n\n".join([*filter(None, parts), "\n".join(lines)]) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def shown(cell: object) -> str:
    """Numbers with as many digits as mean something."""
    if isinstance(cell, float):
        return "-" if cell != cell else f"{cell:,.2f}" if abs(cell) < 20 else f"{cell:,.0f}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)
