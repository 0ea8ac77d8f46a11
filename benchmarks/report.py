"""Writing the results down: docs/benchmarks.md and its plots."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.plot import Bar, Chart, svg
from benchmarks.tables import Table

DOCS = Path(__file__).parent.parent / "docs"
PAGE = "benchmarks.md"
INTRODUCTION = """# Benchmarks

Ours beside a naive Prefect flow (`benchmarks/naive.py`) and beside what the rate limit itself allows,
against the sandbox on loopback. Ratios of one run hold; absolute seconds are this machine's. Each table says
what it was measured with, and when.
"""
_SECTION = re.compile(r"^(?=## )", re.MULTILINE)


def write(measured: str, table: Table) -> None:
    """Write a table and its plot in place of the one that the page has; others stay as they are."""
    page = DOCS / PAGE
    sections = _sections(page.read_text() if page.exists() else "")
    sections[table.title] = table.markdown(measured)
    if table.plot:
        (DOCS / table.plot).write_text(svg(charts_of(table)))
    page.write_text("\n".join([INTRODUCTION, *sections.values()]))


def _sections(page: str) -> dict[str, str]:
    """The sections of a page by their titles, in order."""
    _, *found = _SECTION.split(page)
    return {each.partition("\n")[0].removeprefix("## "): each.rstrip() + "\n" for each in found}


def charts_of(table: Table) -> list[Chart]:
    """A chart for each column of a table that is worth one."""
    return [_chart(table, column) for column in table.plotted]


def _chart(table: Table, column: str) -> Chart:
    place = table.columns.index(column)
    bars = []
    for row in table.rows:
        name = ", ".join(map(str, row[: table.named]))
        bars.append(Bar(name, _number(row[place]), "naive" if "naive" in name else "ours"))
    if "over bound" in table.columns and column != "429s":
        bars.append(Bar("bound", 1.0, "bound"))
    return Chart(f"{column} — {table.title.lower()}", bars)


def _number(cell: object) -> float:
    return float(str(cell).split()[0].replace(",", ""))
