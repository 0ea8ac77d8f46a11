"""Makes docs/dashboard.svg: what two panels of the dashboard show of a run, by a real Prometheus that scrapes
the exporter meanwhile. Grafana is not run. From the project's folder: python -m docs.metrics_picture"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory

from prefect_imagine.providers.prices import PriceList
from prefect_imagine.sandbox import FaultRule, RunningSandbox, SandboxSettings, running_sandbox
from prefect_imagine.stores import open_store
from tests.cli.commands import Shell
from tests.engine.engine_runs import Runs, numbered
from tests.metrics.expressions import of_dashboard
from tests.metrics.prometheus import ExporterProcess, Prometheus, prometheus

PICTURE = Path(__file__).with_name("dashboard.svg")
PANELS = ("Items that are not done", "Charged and estimated, by model")
EACH = 40
LATENCY = {"image": (6.0, 25.0)}
RATES = {"imaginelab": "20/10s", "blockadelabs": "4/10s", "imagineapi": "5/10s", "aivisualstudio": "8/10s"}
STEP_SECONDS = 5
COLOURS = ("#2f6f4f", "#b5533c", "#3f6fb0", "#c79a2d", "#7a5aa6", "#8a8f98")
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 760, 300, 56, 40, 72


@dataclass(frozen=True)
class Line:
    """A series: seconds since the start, and values."""

    name: str
    points: Sequence[tuple[float, float]]


async def run(sandbox: RunningSandbox, root: Path) -> None:
    """A batch over all four providers, of which a few items fail and some answers are lost."""
    sandbox.faults.add(
        FaultRule("job_fails", on="create", rate=0.04), FaultRule("cut_after", on="create", rate=0.03)
    )
    rows = [row for provider in RATES for row in numbered(provider, EACH)]
    prices = {name: PriceList(default=2) for name in ("blockadelabs", "imagineapi")}
    with closing(open_store(str(root))) as store:
        await Runs(sandbox, store).run(rows, batch="spring", rates=RATES, prices=prices)


def lines_of(found: Prometheus, expressions: Sequence[str], begun: float, ended: float) -> list[Line]:
    """The series of a panel, from the beginning on."""
    lines = []
    for expression in expressions:
        told = found.api(
            "query_range", query=expression, start=str(begun), end=str(ended), step=str(STEP_SECONDS)
        )
        for each in told["result"]:
            labels = [value for name, value in sorted(each["metric"].items()) if name != "kind"]
            points = [(float(at) - begun, float(value)) for at, value in each["values"]]
            lines.append(Line(" ".join(labels), points))
    return lines


def drawn(title: str, lines: Sequence[Line], seconds: float, top: int) -> list[str]:
    """A panel as SVG, at this height."""
    most = max((value for line in lines for _, value in line.points), default=0.0) or 1.0
    across, down = WIDTH - LEFT - 20, HEIGHT - TOP - BOTTOM
    parts = [f'<text x="12" y="{top + 24}" font-weight="600">{escape(title)}</text>']
    for part in range(5):
        y, value = top + TOP + down * (1 - part / 4), f"{most * part / 4:g}"
        parts += [
            f'<line x1="{LEFT}" x2="{LEFT + across}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e3e5e8"/>',
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" fill="#5b6068">{value}</text>',
        ]
    for minute in range(int(seconds // 60) + 1):
        x = LEFT + across * minute * 60 / seconds
        parts.append(f'<text x="{x:.1f}" y="{top + TOP + down + 18}" fill="#5b6068">{minute} min</text>')
    for place, line in enumerate(lines):
        colour = COLOURS[place % len(COLOURS)]
        path = " ".join(
            f"{LEFT + across * at / seconds:.1f},{top + TOP + down * (1 - value / most):.1f}"
            for at, value in line.points
        )
        x, y = 12 + place % 2 * 370, top + TOP + down + 38 + place // 2 * 16
        parts += [
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>',
            f'<rect x="{x}" y="{y - 9}" width="10" height="10" fill="{colour}"/>',
            f'<text x="{x + 16}" y="{y}">{escape(line.name)}</text>',
        ]
    return parts


def main() -> None:
    """Run the batch while it is watched, and draw what was seen."""
    with (
        TemporaryDirectory(ignore_cleanup_errors=True) as scratch,
        running_sandbox(SandboxSettings(latency=LATENCY, image_pixels=32)) as sandbox,
    ):
        folder = Path(scratch)
        exporter = ExporterProcess(Shell(folder, {"HOME": scratch}), folder / "root")
        exporter.start()
        try:
            with prometheus(folder / "prometheus", {"exporter:9787": exporter.address}) as found:
                begun = time.time()
                asyncio.run(run(sandbox, exporter.root))
                found.until(f"imagine_sample_timestamp_seconds > {time.time()}")
                ended = time.time()
                panels = {
                    title: lines_of(
                        found, [text for name, text in of_dashboard() if name == title], begun, ended
                    )
                    for title in PANELS
                }
        finally:
            exporter.kill()
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {len(panels) * HEIGHT}" '
        'font-family="system-ui, sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{len(panels) * HEIGHT}" fill="#ffffff"/>',
    ]
    for place, (title, lines) in enumerate(panels.items()):
        parts += drawn(title, lines, ended - begun, place * HEIGHT)
    PICTURE.write_text("\n".join([*parts, "</svg>", ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
