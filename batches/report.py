"""The contact sheet: one self-contained page with a batch's bill and everything it made."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from jinja2.filters import do_filesizeformat

from prefect_imagine.batches.manifest import ManifestItem
from prefect_imagine.batches.state import ItemState
from prefect_imagine.batches.usage import ItemCost, Usage, outcome
from prefect_imagine.providers.credits import Credits, add_credits
from prefect_imagine.providers.models import GenerationKind, Output

EXCERPT = 4000
CURVE_WIDTH, CURVE_HEIGHT = 240, 48

# Without a colon before the first slash there is no scheme, so nothing but http(s) and relative passes.
_ADDRESS = re.compile(r"(?:https?://|(?!//)(?![^/?#]*:))[^\s\\\x00-\x1f\x7f]+", re.IGNORECASE)
_DATA_PICTURE = re.compile(r"data:image/(?:png|jpeg|webp|gif|avif);base64,[A-Za-z0-9+/=]+")
_MEDIA = {"infographic": "image", "voice": "audio", "music": "audio"}
_SHOWN = ("image", "video", "audio", "text")
_amount = "{:,}".format


@dataclass(frozen=True)
class _Media:
    """Addresses, texts and smaller pictures by output key."""

    links: Mapping[str, str]
    texts: Mapping[str, str]
    thumbnails: Mapping[str, str]


@dataclass(frozen=True)
class _Curve:
    """A provider's credits as they added up: an SVG path each for charged and estimated credits."""

    begun: datetime
    ended: datetime
    paths: tuple[tuple[str, str], ...]


def render_report(
    items: Sequence[ManifestItem],
    usage: Usage,
    *,
    links: Mapping[str, str] | None = None,
    texts: Mapping[str, str] | None = None,
    thumbnails: Mapping[str, str] | None = None,
) -> str:
    """The page, as HTML to be put as `report.html` beside the batch's outputs.

    Args:
        links: http(s) or relative addresses by output key, used as they are; an output without one is
            linked by its key, relative to the page. Any other address is left out.
        texts: the content of text outputs by output key; the page carries the first 4,000 characters.
        thumbnails: smaller pictures by output key, each a `data:image/…;base64,` URI or an address.
    """
    media = _Media(links or {}, texts or {}, thumbnails or {})
    times = [_utc(at) for item in items for at in (item.created_at, item.stored_at) if at]
    return _template().render(
        usage=usage,
        span=(min(times), max(times)) if times else None,
        curves={line.name: _curve(items, line.name) for line in usage.by_provider},
        curve_size=(CURVE_WIDTH, CURVE_HEIGHT),
        failures=_failures(items),
        cards=[_card(item, media) for item in items],
    )


def _template() -> Template:
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    environment.filters |= {"amount": _amount, "moment": _moment, "duration": _duration}
    return environment.get_template("report.html.j2")


def _utc(at: datetime) -> datetime:
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def _moment(at: datetime) -> str:
    return f"{_utc(at):%Y-%m-%d %H:%M:%S} UTC"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{seconds:g} s"


def _curve(items: Iterable[ManifestItem], provider: str) -> _Curve | None:
    known = (
        (item.stored_at or item.finished_at or item.created_at, item.credits)
        for item in items
        if item.request.provider == provider and (item.credits.charged or item.credits.estimated)
    )
    costs = sorted(((_utc(at), cost) for at, cost in known if at is not None), key=lambda pair: pair[0])
    if not costs or costs[0][0] == costs[-1][0]:
        return None
    sums = {"charged": _sums(costs, "charged"), "estimated": _sums(costs, "estimated")}
    top = max(max(steps.values()) for steps in sums.values())
    paths = tuple((amount, _path(steps, top)) for amount, steps in sums.items() if any(steps.values()))
    return _Curve(costs[0][0], costs[-1][0], paths)


def _sums(costs: Sequence[tuple[datetime, ItemCost]], amount: str) -> dict[int, Credits]:
    """The sum so far, by column of the chart."""
    begun, span = costs[0][0], costs[-1][0] - costs[0][0]
    total: Credits = 0
    steps = {}
    for at, cost in costs:
        total = add_credits([total, getattr(cost, amount)])
        steps[round(CURVE_WIDTH * ((at - begun) / span))] = total
    return steps


def _path(steps: Mapping[int, Credits], top: Credits) -> str:
    corners = [f"H{x}V{CURVE_HEIGHT * (1 - value / top):.2f}" for x, value in steps.items()]
    return " ".join([f"M0 {CURVE_HEIGHT}", *corners])


def _failures(items: Iterable[ManifestItem]) -> list[tuple[str, list[ManifestItem]]]:
    """The items that are not stored, by reason, the commonest first."""
    groups: dict[str, list[ManifestItem]] = {}
    for item in items:
        if item.reason is not None:
            groups.setdefault(item.reason, []).append(item)
    return sorted(groups.items(), key=lambda group: -len(group[1]))


def _card(item: ManifestItem, media: _Media) -> dict[str, Any]:
    """What the page's script and its plain table show of an item."""
    request = item.request
    times = (("Created", item.created_at), ("Finished", item.finished_at), ("Stored", item.stored_at))
    return {
        "index": item.index,
        "name": item.name or "",
        "prompt": request.prompt,
        "provider": request.provider,
        "kind": request.kind.value,
        "model": request.model or "default",
        "status": outcome(ItemState(phase=item.status, reason=item.reason)),
        "phase": item.status.value,
        "reason": item.reason or "",
        "error": item.error or "",
        "costs": _costs(item.credits),
        "labels": [f"{name}={value}" for name, value in sorted(request.labels.items())],
        "settings": [(name, _setting(value)) for name, value in sorted(request.settings.items())],
        "outputs": [_output(output, request.kind, media) for output in item.outputs],
        "times": [(name, _moment(at)) for name, at in times if at is not None],
        "id": item.id or "",
        "attempts": item.attempts,
    }


def _setting(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _costs(cost: ItemCost) -> list[tuple[str, str]]:
    amounts = ("charged", "estimated", "possible", "unpriced")
    known = [(name, _amount(value)) for name in amounts if (value := getattr(cost, name))]
    return [*known, ("refund unknown", "")] if cost.refund_unknown else known


def _output(output: Output, kind: GenerationKind, media: _Media) -> dict[str, Any]:
    key = output.key or ""
    shown_as = (output.media_type or _MEDIA.get(kind, kind)).partition("/")[0].lower()
    text = media.texts.get(key, output.text or "") if shown_as == "text" else ""
    thumbnail = media.thumbnails.get(key, "")
    return {
        "file": key.rpartition("/")[2],
        "href": _safe(media.links.get(key) or quote(key)),
        "thumbnail": thumbnail if _DATA_PICTURE.fullmatch(thumbnail) else _safe(thumbnail),
        "as": shown_as if shown_as in _SHOWN else "file",
        "text": text if len(text) <= EXCERPT else f"{text[:EXCERPT]}…",
        "media": output.media_type or "",
        "size": "" if output.bytes is None else do_filesizeformat(output.bytes),
        "sha256": output.sha256 or "",
    }


def _safe(address: str) -> str:
    """The address if it is http(s) or relative to the page, else nothing."""
    return address if _ADDRESS.fullmatch(address) else ""
