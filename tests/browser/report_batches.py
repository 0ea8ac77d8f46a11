"""Made-up batches as folders with a report page in them, and files for it to show."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from prefect_imagine.batches.state import Phase
from prefect_imagine.billing.costs import ItemCost
from prefect_imagine.billing.usage import Usage, balance_change
from prefect_imagine.providers.models import GenerationKind, Output
from prefect_imagine.reports.manifest import ManifestItem
from prefect_imagine.sandbox.media.files import MediaSpec, render
from tests.reports.report_items import BEGUN, make_item, rendered, usage_of
from tests.stores import media_files

HOSTILE = (
    "<script>window.pwned=1</script>",
    '"><img src=x onerror=window.pwned=1>',
    "'><svg onload=window.pwned=1>",
    "</script><script>window.pwned=1</script>",
    "</textarea></noscript></title><img src=x onerror=window.pwned=1>",
    "javascript:window.pwned=1",
    "<!--<script>window.pwned=1//-->",
    "{{ 7 * 7 }}${window.pwned=1}",
    "\u202e\u2028 <a href='javascript:window.pwned=1' onfocus=window.pwned=1 autofocus>x</a>",
)
LONG_WORD = "unbreakable" * 30
JPEG = Output(
    key="outputs/1.jpg",
    thumbnail="thumbnails/1.webp",
    media_type="image/jpeg",
    bytes=10_400_000,
    sha256="ab" * 32,
)
PNG = Output(key="outputs/2.png", media_type="image/png", bytes=2048, sha256="ab" * 32)
VIDEO = Output(key="outputs/3.mp4", media_type="video/mp4", bytes=2048, sha256="ab" * 32)
SOUND = Output(key="outputs/4.wav", media_type="audio/wav", bytes=2048, sha256="ab" * 32)
TEXT = Output(key="outputs/5.txt", media_type="text/plain", text="He keeps the maps.", bytes=18, sha256="ab")


def write_batch(
    folder: Path, items: Sequence[ManifestItem], usage: Usage | None = None, **options: object
) -> Path:
    """Put the page of these items into the folder, beside the files above, and return its path."""
    files = {
        "outputs/1.jpg": media_files.picture("JPEG", size=800),
        "thumbnails/1.webp": media_files.picture("WEBP", size=200),
        "outputs/2.png": media_files.png(),
        "outputs/3.mp4": b"".join(render(MediaSpec("mp4", "a clip", "1")).chunks()),
        "outputs/4.wav": b"".join(render(MediaSpec("wav", "a sound", "1")).chunks()),
        "outputs/5.txt": b"He keeps the maps.",
    }
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    page = folder / "report.html"
    page.write_text(rendered(items, usage or usage_of(items), **options), encoding="utf-8")
    return page


def mixed() -> list[ManifestItem]:
    """Nine items of every kind and fate."""
    blockade: dict[str, Any] = {"provider": "blockadelabs", "model": "skybox"}
    spring, worlds = {"campaign": "spring"}, {"campaign": "worlds", "client": "northwind"}
    voice, video, text = GenerationKind.VOICE, GenerationKind.VIDEO, GenerationKind.TEXT
    moderation: dict[str, Any] = {
        "status": Phase.FAILED,
        "reason": "moderation",
        "error": "the prompt was flagged",
    }
    unknown: dict[str, Any] = {"status": Phase.UNKNOWN, "reason": "unknown", "error": "no answer"}
    return [
        make_item(1, "a red canoe", outputs=(JPEG,), labels=spring, cost=ItemCost(charged=5), name="canoe"),
        make_item(2, "a wooden hut", outputs=(JPEG,) * 5, labels=spring, cost=ItemCost(charged=9)),
        make_item(
            3, "a heron " * 40, outputs=(PNG,), labels=worlds, model="seedream", cost=ItemCost(charged=2)
        ),
        make_item(4, "a desert", outputs=(JPEG,), labels=worlds, cost=ItemCost(estimated=1), **blockade),
        make_item(
            5, "terraced fields", kind=video, outputs=(VIDEO,), cost=ItemCost(charged=15), model="clip"
        ),
        make_item(6, "the night train", kind=voice, outputs=(SOUND,), model="lyra"),
        make_item(7, "a lighthouse keeper", kind=text, outputs=(TEXT,), model="scribe"),
        make_item(8, "something rude", labels=spring, **moderation, **blockade),
        make_item(9, "a second clip", kind=video, outputs=(VIDEO,), model="clip"),
        make_item(10, "lost", cost=ItemCost(possible=1), **unknown, **blockade),
    ]


def hostile() -> tuple[list[ManifestItem], Usage]:
    """Markup and addresses that would do something, wherever text comes from outside."""
    items = [
        make_item(
            index,
            text,
            provider=text,
            name=text,
            model=text,
            labels={text: text},
            settings={text: text},
            id=text,
            cost=ItemCost(charged=index),
            outputs=(
                Output(key=f"outputs/{text}", media_type="text/plain", text=text, sha256=text),
                Output(key="outputs/1.jpg", thumbnail="thumbnails/1.webp", media_type="image/jpeg"),
            )
            if index % 2
            else (),
            status=Phase.STORED if index % 2 else Phase.FAILED,
            reason=None if index % 2 else text,
            error=None if index % 2 else text,
        )
        for index, text in enumerate((*HOSTILE, LONG_WORD), 1)
    ]
    balances = tuple(balance_change(text, 9, 1, 2) for text in HOSTILE)
    return items, usage_of(items).model_copy(
        update={"batch_id": HOSTILE[1] + LONG_WORD, "balances": balances}
    )


def large(count: int = 2000) -> list[ManifestItem]:
    """Items enough to stall a page that draws them all at once."""
    providers = ("imaginelab", "blockadelabs", "imagineapi", "aivisualstudio")
    return [
        make_item(
            index,
            f"Picture {index}: a heron with a brass monocle, soft window light, detailed digital painting",
            provider=providers[index % 4],
            model=f"model-{index % 7}",
            labels={"campaign": f"c{index % 9}"},
            settings={"aspect_ratio": "16:9", "seed": index},
            cost=ItemCost(charged=index % 11),
            outputs=(JPEG,) * (1 + index % 4) if index % 50 else (),
            status=Phase.STORED if index % 50 else Phase.FAILED,
            reason=None if index % 50 else "moderation",
            error=None if index % 50 else "the prompt was flagged",
            stored_at=BEGUN + timedelta(seconds=index * 3),
        )
        for index in range(1, count + 1)
    ]


def over_models() -> list[ManifestItem]:
    """Two prompts over three models, one of them only over two, and a third prompt of one model."""
    lab: dict[str, Any] = {"provider": "imaginelab", "model": "flux"}
    seedream: dict[str, Any] = {"provider": "imaginelab", "model": "seedream"}
    studio: dict[str, Any] = {"provider": "aivisualstudio", "model": "nano"}
    return [
        make_item(1, "a red canoe", outputs=(JPEG,), cost=ItemCost(charged=5), **lab),
        make_item(2, "a red canoe", outputs=(PNG,), cost=ItemCost(estimated=3), **seedream),
        make_item(3, "a red canoe", outputs=(JPEG,), cost=ItemCost(charged=7, possible=2), **studio),
        make_item(4, "a wooden hut", outputs=(PNG,), cost=ItemCost(charged=5), **lab),
        make_item(5, "a wooden hut", outputs=(PNG,), cost=ItemCost(charged=5), **lab),
        make_item(6, "a wooden hut", status=Phase.FAILED, reason="moderation", error="flagged", **studio),
        make_item(7, "a heron", outputs=(PNG,), **lab),
    ]


def tricky() -> list[ManifestItem]:
    """Prompts, settings and labels that a CSV, a template or a spreadsheet could take for something else."""
    prompts = (
        "=1+1", "+1", "-1", "@SUM(A1)", "a {brace} and }}two{{", 'says "hi", twice', "line\none\r\nand\ttwo",
        "  ümlaut 🦊".strip(), "1e5", "true", "'quoted'", "null", *HOSTILE,
    )  # fmt: skip
    settings: list[dict[str, Any]] = [
        {}, {"seed": 2**63 - 1}, {"negative_prompt": "=bad, {not} this", "aspect_ratio": "16:9"},
        {"quality": "12", "steps": 12, "hd": True, "list": [1, "two"]},
        {"duration": 2.5, "seed": 7, "style": " x "},
    ]  # fmt: skip
    return [
        make_item(
            index,
            prompt,
            provider=("imaginelab", "aivisualstudio")[index % 2],
            kind=(GenerationKind.IMAGE, GenerationKind.VIDEO)[index % 2],
            model=("flux", None)[index % 2],
            settings=settings[index % len(settings)],
            labels={"team": "=a,b", "über": prompt.strip()} if index % 3 else {},
            name=f"name-{index}" if index % 4 == 0 else None,
        )
        for index, prompt in enumerate((*prompts, "a fox", "a fox", "a fox"), 1)
    ]
