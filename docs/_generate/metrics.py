"""The metrics of the exporter, from its own catalogue."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol

from docs._generate.markdown import Page, blocks, code, sentence, table

EXPORTER = "prefect_imagine.metrics"


class Metric(Protocol):
    """What the catalogue says of a metric."""

    @property
    def name(self) -> str: ...

    @property
    def type(self) -> str: ...

    @property
    def labels(self) -> tuple[str, ...]: ...

    @property
    def help(self) -> str: ...


def metric_page() -> Page | None:
    """All metrics; no page where there is no exporter."""
    if find_spec(EXPORTER) is None:
        return None
    catalogue: Iterable[Metric] = import_module(f"{EXPORTER}.catalogue").CATALOGUE
    return page_of(catalogue)


def page_of(catalogue: Iterable[Metric]) -> Page:
    """The page of these metrics."""
    intro = "What `prefect-imagine metrics serve` exports. It derives from the store, and survives crashes."
    rows = ([f"{code(each.name)}<br>{each.type}", _meaning(each)] for each in catalogue)
    return Page("metrics", "Metrics", blocks(intro, table(["metric", "meaning"], rows)))


def _meaning(metric: Metric) -> str:
    labels = ", ".join(map(code, metric.labels))
    return f"{sentence(metric.help)} {f'Labels: {labels}.' if labels else ''}".strip()
