"""Writing the results down: docs/benchmarks.md and its plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.plot import Bar, Chart, svg
from benchmarks.tables import Table

DOCS = Path(__file__).parent.parent / "docs"
PLOT = "benchmarks.svg"
INTRODUCTION = (
    "Ours beside a naive Prefect flow (`benchmarks/naive.py`) and beside what the rate limit itself allows, "
    "against the sandbox on loopback. Ratios of one run hold; absolute seconds are this machine's."
)
PLOTTED = ("requests/generation", "429s", "over bound")


def write(header: str, tables: Sequence[Table]) -> None:
    """Write all tables, and plot the one that holds ours against the naive flow."""
    parts = ["# Benchmarks", INTRODUCTION, header.strip().replace("\n", "  \n")]
    charts = [chart for table in tables for chart in charts_of(table)]
    if charts:
        (DOCS / PLOT).write_text(svg(charts))
        parts.append(f"![Ours against the naive flow and the bound]({PLOT})")
    parts += [table.markdown().strip() for table in tables]
    (DOCS / "benchmarks.md").write_text("\n\n".join(parts) + "\n")


def charts_of(table: Table) -> list[Chart]:
    """A chart for each column that is worth one, of a table that says who and how the rate was known."""
    if table.columns[:2] != ("who", "rate known by"):
        return []
    return [_chart(table, column) for column in PLOTTED if column in table.columns]


def _chart(table: Table, column: str) -> Chart:
    place = table.columns.index(column)
    bars = [
        Bar(f"{row[0]}, {row[1]}", _number(row[place]), "naive" if "naive" in str(row[0]) else "ours")
        for row in table.rows
    ]
    if column != "429s":
        bars.append(Bar("bound", 1.0, "bound"))
    return Chart(f"{column} — {table.title.lower()}", bars)


def _number(cell: object) -> float:
    return float(str(cell).split()[0].replace(",", ""))
