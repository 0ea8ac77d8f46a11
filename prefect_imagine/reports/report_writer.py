"""Writing a batch's report page beside its outputs."""

from __future__ import annotations

import io
from itertools import islice

from prefect_imagine.batches.control.wanted import read_wanted
from prefect_imagine.billing.usage import Usage
from prefect_imagine.reports.manifest import Items
from prefect_imagine.reports.report_page import EXCERPT, beyond, render_items, render_report
from prefect_imagine.stores import Store

MOST_TEXTS = 500
MOST_COMMANDS = 50
"""The last ones are shown."""


def report_key(batch_id: str) -> str:
    """Where the report lies below the root."""
    return f"{batch_id}/report.html"


def write_report(store: Store, batch_id: str, items: Items, usage: Usage, *, presign: bool = False) -> None:
    """Put `report.html`, replacing an older one; and for a large batch data pages under `report/`.

    Args:
        presign: link outputs, thumbnails and data pages by signed addresses, which work wherever the page is
            opened and expire.
    """
    keys = (key for item in items for output in item.outputs for key in (output.key, output.thumbnail) if key)
    links = {key: store.link(f"{batch_id}/{key}") for key in keys} if presign else None
    texts = _texts(store, batch_id, items)
    pages = []
    for number, part in enumerate(beyond(items), start=1):
        key = f"report/{number:04d}.js"
        data = render_items(part, links=links, texts=texts).encode()
        store.put(f"{batch_id}/{key}", data, "text/javascript; charset=utf-8")
        pages.append(store.link(f"{batch_id}/{key}") if presign and "://" in store.address else key)
    page = io.BytesIO()
    address = f"{store.address}/{batch_id}" if "://" in store.address else ""
    commands = read_wanted(store, batch_id).told[-MOST_COMMANDS:]
    for piece in render_report(
        items, usage, links=links, texts=texts, pages=pages, address=address, commands=commands
    ):
        page.write(piece.encode())
    store.put(report_key(batch_id), page.getvalue(), "text/html; charset=utf-8")


def _texts(store: Store, batch_id: str, items: Items) -> dict[str, str]:
    """The beginnings of text outputs, as many as a page can show without becoming slow to write."""
    keys = (
        output.key
        for item in items
        for output in item.outputs
        if output.key is not None and (output.media_type or "").startswith("text/")
    )
    read = {key: store.read(f"{batch_id}/{key}") for key in islice(keys, MOST_TEXTS)}
    return {key: data[: EXCERPT * 4].decode(errors="replace") for key, data in read.items() if data}
