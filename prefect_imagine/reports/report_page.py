"""The contact sheet: one self-contained page with a batch's bill and everything it made."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from jinja2.filters import do_filesizeformat

from prefect_imagine.batches.state import ItemState, Phase
from prefect_imagine.billing.costs import ItemCost, place_of
from prefect_imagine.billing.money import kind_text, money_text, told_by_provider
from prefect_imagine.billing.usage import Usage, UsageLine
from prefect_imagine.prompts.cells import setting_cells
from prefect_imagine.providers.credits import Credits
from prefect_imagine.providers.models import GenerationKind, Output
from prefect_imagine.reports.charts import HEIGHT, WIDTH, Chart, CreditCharts
from prefect_imagine.reports.durations import duration_text
from prefect_imagine.reports.manifest import EarlierWay, Items, ManifestItem

EXCERPT = 4000
EXAMPLES = 3
WHOLE = 1000
"""Items that the page itself holds, where there are no more: less than 2 MB."""
FIRST = 500
"""Items in the page itself where there are more: it opens at once, whatever the size of the batch. As many
are in the plain table that a browser without scripts shows."""
ONE_PAGE = 2000
"""Items of a data page."""
SCRIPTS = (
    "base", "tiles", "cards", "ratings", "sheet", "filters", "box", "export", "downloads", "take", "compare",
    "keyboard", "charts", "start",
)  # fmt: skip
"""The parts of the page's script, which share one scope, in order."""
STYLES = ("base", "bill", "sheet", "box", "picks", "narrow")
# Pictures larger than this would fill a browser's memory: those without a thumbnail show on request.
HEAVY_BYTES = 16 * 1024**2

# Without a colon before the first slash there is no scheme, so nothing but http(s) and relative passes.
_ADDRESS = re.compile(r"(?:https?://|(?!//)(?![^/?#]*:))[^\s\\\x00-\x1f\x7f]+", re.IGNORECASE)
_ORIGIN = re.compile(r"https?://[^/?#]+", re.IGNORECASE)
_MEDIA = {"infographic": "image", "voice": "audio", "music": "audio"}
_AMOUNTS = ("charged", "estimated", "possible")
_SHOWN = ("image", "video", "audio", "text")
_amount = "{:,}".format


@dataclass(frozen=True)
class _Media:
    """Addresses and texts by key."""

    links: Mapping[str, str]
    texts: Mapping[str, str]

    def address(self, key: str | None) -> str:
        """Where the page finds what lies under a key; nothing where that is not http(s) or relative."""
        address = self.links.get(key or "") or quote(key or "")
        return address if _ADDRESS.fullmatch(address) else ""


@dataclass(frozen=True)
class _Bar:
    """A model's credits of one kind, and their share of all its provider's credits of any kind.

    Attributes:
        band: the place of its band in the provider's chart.
    """

    amount: str
    value: Credits
    percent: float
    band: int


@dataclass(frozen=True)
class _Panel:
    """What the page shows of one provider's credits: over time, and by model."""

    line: UsageLine
    charts: Sequence[Chart]
    models: Sequence[tuple[str, Sequence[_Bar]]]


class _Cards:
    """What the page shows of each of the first items, made when it is written."""

    def __init__(self, items: Items, count: int, media: _Media) -> None:
        self._items = items
        self._count = min(count, len(items))
        self._media = media

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (_card(item, self._media) for item in islice(self._items, self._count))


@dataclass
class _Failure:
    """The items that are not stored for one reason.

    Attributes:
        unknown: whether their fate is.
        examples: the first ones of which different things were said.
    """

    reason: str
    unknown: bool
    count: int = 0
    examples: dict[str | None, ManifestItem] = field(default_factory=dict)

    def add(self, item: ManifestItem) -> None:
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.setdefault(item.error, item)


class _Overall:
    """What the page says of all items together."""

    def __init__(self, items: Items) -> None:
        self.span: tuple[datetime, datetime] | None = None
        failures: dict[str, _Failure] = {}
        for item in items:
            for at in (item.created_at, item.stored_at):
                self._stretch(at)
            if item.reason is not None and item.status is not Phase.WITHDRAWN:
                unknown = item.status is Phase.UNKNOWN
                failures.setdefault(item.reason, _Failure(item.reason, unknown)).add(item)
        self.failures = sorted(failures.values(), key=lambda failure: -failure.count)
        self._charts = _charts(items, *self.span) if self.span is not None else None

    def _stretch(self, at: datetime | None) -> None:
        if at is not None:
            first, last = self.span or (_utc(at), _utc(at))
            self.span = min(first, _utc(at)), max(last, _utc(at))

    def chart(self, provider: str, amount: str) -> Chart | None:
        """The chart of a provider's charged or estimated credits, if there is one."""
        return self._charts.chart(provider, amount) if self._charts is not None else None


def _charts(items: Items, begun: datetime, ended: datetime) -> CreditCharts:
    charts = CreditCharts(begun, ended)
    for item in items:
        charts.add(item)
    return charts


def render_report(
    items: Items,
    usage: Usage,
    *,
    links: Mapping[str, str] | None = None,
    texts: Mapping[str, str] | None = None,
    pages: Sequence[str] = (),
    address: str = "",
    commands: Sequence[str] = (),
) -> Iterator[str]:
    """The page in pieces, as HTML to be put as `report.html` beside the batch's outputs.

    Args:
        links: http(s) or relative addresses by key of an output or thumbnail, used as they are; what has
            none is linked by its key, relative to the page. Any other address is left out.
        texts: the content of text outputs by output key; the page carries the first 4,000 characters.
        pages: the addresses of the data pages that hold what is beyond the first items, in order; see
            `beyond` and `render_items`.
        address: the batch's own, such as `s3://bucket/prefix/batch`, for lists of its files; a folder's is
            left out, because a page may be handed on.
        commands: what people have told its runs, in words.
    """
    media = _Media(links or {}, texts or {})
    overall = _Overall(items)
    return _template().generate(
        usage=usage,
        span=overall.span,
        panels=[_panel(line, usage, overall) for line in usage.by_provider],
        chart_size=(WIDTH, HEIGHT),
        failures=overall.failures,
        cards=_Cards(items, FIRST if pages else len(items), media),
        listed=_Cards(items, FIRST, media),
        pages=list(pages),
        address=address,
        commands=commands,
        scripts=SCRIPTS,
        styles=STYLES,
        origins=sorted({match[0] for match in map(_ORIGIN.match, pages) if match}),
    )


def beyond(items: Items) -> Iterator[list[ManifestItem]]:
    """The items that the page itself does not hold, by data pages."""
    if len(items) > WHOLE:
        rest = islice(items, FIRST, None)
        while page := list(islice(rest, ONE_PAGE)):
            yield page


def render_items(
    items: Iterable[ManifestItem],
    *,
    links: Mapping[str, str] | None = None,
    texts: Mapping[str, str] | None = None,
) -> str:
    """A data page: a script that hands its items to the report page, which is all that a page opened from a
    file may load."""
    media = _Media(links or {}, texts or {})
    rows = ",\n".join(json.dumps(_card(item, media), separators=(",", ":")) for item in items)
    return f"imagineItems([{rows}]);\n"


def _template() -> Template:
    loader = FileSystemLoader(Path(__file__).parent / "page")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    environment.filters |= {"amount": _amount, "moment": _moment, "duration": duration_text}
    environment.filters |= {"money": money_text, "money_of_kind": kind_text, "prices": told_by_provider}
    return environment.get_template("report.html.j2")


def _utc(at: datetime) -> datetime:
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def _moment(at: datetime) -> str:
    return f"{_utc(at):%Y-%m-%d %H:%M:%S} UTC"


def _panel(line: UsageLine, usage: Usage, overall: _Overall) -> _Panel:
    charts = {amount: overall.chart(line.name, amount) for amount in ("charged", "estimated")}
    top = max(getattr(line, amount) for amount in _AMOUNTS)

    def bars(model: UsageLine, name: str) -> list[_Bar]:
        known = [(amount, getattr(model, amount), charts.get(amount)) for amount in _AMOUNTS]
        return [
            _Bar(amount, value, round(100 * value / top, 2), chart.band_of(name) if chart else 0)
            for amount, value, chart in known
            if value
        ]

    prefix = f"{line.name}/"
    named = [
        (model.name.removeprefix(prefix), model) for model in usage.by_model if model.name.startswith(prefix)
    ]
    shown = [(name, bars(model, name)) for name, model in named]
    shown.sort(key=lambda model: -max((bar.value for bar in model[1]), default=0))
    return _Panel(line, [chart for chart in charts.values() if chart], [each for each in shown if each[1]])


def _card(item: ManifestItem, media: _Media) -> dict[str, Any]:
    """What the page's script and its plain table show of an item."""
    request = item.request
    place = place_of(ItemState(phase=item.status, reason=item.reason))
    times = (("Created", item.created_at), ("Finished", item.finished_at), ("Stored", item.stored_at))
    return {
        "index": item.index,
        "item": item.item_id,
        "name": item.name or "",
        "prompt": request.prompt,
        "provider": request.provider,
        "kind": request.kind.value,
        "model": request.model or "",
        "status": "under way" if place in ("open", "under_way") else place,
        "phase": item.status.value,
        "reason": item.reason or "",
        "error": item.error or "",
        "costs": _costs(item.credits),
        "labels": sorted(request.labels.items()),
        "settings": list(setting_cells(request.settings)),
        "outputs": [_output(output, request.kind, media) for output in item.outputs],
        "times": [(name, _moment(at)) for name, at in times if at is not None],
        "seconds": _seconds(item),
        "id": item.id or "",
        "attempts": item.attempts,
        "before": [_refusal(each) for each in item.instead_of],
    }


def _refusal(way: EarlierWay) -> str:
    """Such as `imaginelab flux: refused (this prompt cannot be generated), 5 charged`."""
    message = f" ({way.error})" if way.error else ""
    costs = "".join(f", {amount} {name}".rstrip() for name, amount in _costs(way.credits))
    return f"{way.provider} {way.model or ''}".strip() + f": {way.reason or 'failed'}{message}{costs}"


def _seconds(item: ManifestItem) -> float | None:
    """How long the (last) job of a stored item took, until it was seen to have ended."""
    ended = item.finished_at or item.stored_at
    if item.status is not Phase.STORED or item.created_at is None or ended is None:
        return None
    return round(max(0.0, (_utc(ended) - _utc(item.created_at)).total_seconds()), 1)


def _costs(cost: ItemCost) -> list[tuple[str, str]]:
    known = [(name, _amount(value)) for name in (*_AMOUNTS, "unpriced") if (value := getattr(cost, name))]
    return [*known, ("refund unknown", "")] if cost.refund_unknown else known


def _output(output: Output, kind: GenerationKind, media: _Media) -> dict[str, Any]:
    key = output.key or ""
    shown_as = (output.media_type or _MEDIA.get(kind, kind)).partition("/")[0].lower()
    text = media.texts.get(key, output.text or "") if shown_as == "text" else ""
    return {
        "key": key,
        "href": media.address(output.key),
        "thumbnail": media.address(output.thumbnail),
        "heavy": (output.bytes or 0) > HEAVY_BYTES,
        "as": shown_as if shown_as in _SHOWN else "file",
        "text": text if len(text) <= EXCERPT else f"{text[:EXCERPT]}…",
        "media": output.media_type or "",
        "size": "" if output.bytes is None else do_filesizeformat(output.bytes),
        "sha256": output.sha256 or "",
    }
