"""Items and bills of made-up batches, for tests of the report page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect_imagine.batches.state import ItemState, Phase
from prefect_imagine.billing.costs import ItemCost, outcome
from prefect_imagine.billing.usage import Tally, Usage, UsageLine, add_tallies
from prefect_imagine.providers.models import GenerationKind, GenerationRequest, Output
from prefect_imagine.reports.manifest import ManifestItem
from prefect_imagine.reports.report_page import render_report

BEGUN = datetime(2025, 3, 1, 12, tzinfo=UTC)
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</script><script>alert(2)</script>",
    "</noscript><img src=x>",
    "<!--<script>",
    "{{ 7 * 7 }} {% include 'x' %}",
    "' onmouseover='alert(1)",
    "line\u2028separator\u2029 & \x00 end",
]


def make_item(
    index: int = 1,
    prompt: str = "a fox",
    *,
    provider: str = "imaginelab",
    kind: GenerationKind = GenerationKind.IMAGE,
    model: str | None = "flux",
    labels: dict[str, str] | None = None,
    settings: dict[str, Any] | None = None,
    outputs: tuple[Output, ...] = (),
    status: Phase = Phase.STORED,
    cost: ItemCost | None = None,
    **known: Any,
) -> ManifestItem:
    request = GenerationRequest(
        provider=provider,
        kind=kind,
        model=model,
        prompt=prompt,
        labels=labels or {},
        settings=settings or {},
    )
    fields: dict[str, Any] = {
        "item_id": f"item-{index}", "name": None, "id": f"job-{index}", "attempts": 1, "created_at": BEGUN,
        "finished_at": None, "stored_at": BEGUN + timedelta(seconds=index), "reason": None, "error": None,
    }  # fmt: skip
    return ManifestItem(
        index=index,
        request=request,
        status=status,
        credits=cost or ItemCost(),
        outputs=outputs,
        **(fields | known),
    )


def make_usage(items: int = 1, **known: Any) -> Usage:
    fields: dict[str, Any] = {
        "batch_id": "foxes-1", "as_of": BEGUN, "items": items, "stored": items, "failed": 0, "unknown": 0,
        "planned": 0, "charged": 0, "estimated": 0, "possible": 0, "unpriced_items": 0,
        "refund_unknown_items": 0, "by_provider": (), "by_model": (), "by_label": (),
    }  # fmt: skip
    return Usage(**(fields | known))


def make_line(name: str, **known: Any) -> UsageLine:
    return UsageLine(name=name, **({"items": 3, "stored": 3} | known))


def stored(key: str, media_type: str = "image/png", **known: Any) -> Output:
    return Output(key=key, media_type=media_type, bytes=2048, sha256="ab" * 32, **known)


def rendered(items: Sequence[ManifestItem], usage: Usage, **options: Any) -> str:
    """The whole report page."""
    return "".join(render_report(items, usage, **options))


def usage_of(items: Sequence[ManifestItem]) -> Usage:
    """The bill of these items."""
    everything = _line("", items)
    counts = {name: getattr(everything, name) for name in ("stored", "failed", "unknown")}
    sums = {name: getattr(everything, name) for name in ("charged", "estimated", "possible")}
    return make_usage(
        len(items),
        planned=len(items) - sum(counts.values()),
        by_provider=_lines(items, lambda item: [item.request.provider]),
        by_model=_lines(items, lambda item: ["/".join(_words(item.request))]),
        by_label=_lines(
            items, lambda item: [f"{name}={value}" for name, value in item.request.labels.items()]
        ),
        **counts,
        **sums,
    )


def _words(request: GenerationRequest) -> tuple[str, str, str]:
    return request.provider, request.kind.value, request.model or "default"


def _lines(
    items: Sequence[ManifestItem], names: Callable[[ManifestItem], list[str]]
) -> tuple[UsageLine, ...]:
    groups: dict[str, list[ManifestItem]] = {}
    for item in items:
        for name in names(item):
            groups.setdefault(name, []).append(item)
    return tuple(_line(name, group) for name, group in groups.items())


def _line(name: str, items: Sequence[ManifestItem]) -> UsageLine:
    tallies = [_tally(item) for item in items]
    return UsageLine(**add_tallies(name, tallies).model_dump())


def _tally(item: ManifestItem) -> Tally:
    ended = outcome(ItemState(phase=item.status, reason=item.reason))
    counts = {name: int(ended == name) for name in ("stored", "failed", "unknown")}
    return Tally(items=1, **counts, **item.credits.model_dump(exclude={"refund_unknown"}))
