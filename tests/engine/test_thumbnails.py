"""Large pictures of a batch get thumbnails beside the outputs, and the report shows those."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from prefect_imagine.batches.records import Stored, to_record
from prefect_imagine.errors import StoreError
from prefect_imagine.reports.manifest import ManifestItem, manifest_key
from prefect_imagine.reports.report_writer import report_key, write_report
from prefect_imagine.sandbox import RateLimit, RunningSandbox
from prefect_imagine.sandbox.server.s3 import S3Server
from prefect_imagine.stores import Store, open_store
from prefect_imagine.stores.folder import FolderStore
from prefect_imagine.stores.thumbnails import SIDE
from tests.engine.engine_runs import Runs, rows_of

ROWS = [
    *rows_of("imaginelab", "a fox"),
    *rows_of("imaginelab", "a fox on film", kind="video", model="seedance-2.0-lite"),
    *rows_of("blockadelabs", "a mountain lake"),
    *rows_of("imagineapi", "four herons"),
]


def large(sandbox: RunningSandbox) -> RunningSandbox:
    sandbox.configure(media_bytes=300_000, image_pixels=1024, rate_limits={"aivisualstudio": RateLimit()})
    return sandbox


def manifest(store: Store) -> list[ManifestItem]:
    data = store.read(manifest_key("batch")) or b""
    return [ManifestItem.model_validate_json(line) for line in data.splitlines()]


def thumbnails(store: Store) -> list[str]:
    """Those the manifest names, each held to be a smaller picture in the store."""
    named = [output.thumbnail for item in manifest(store) for output in item.outputs]
    for name in filter(None, named):
        data = store.read(f"batch/{name}")
        assert data is not None
        assert max(Image.open(io.BytesIO(data)).size) <= SIDE
    return [name for name in named if name]


async def test_large_pictures_get_thumbnails_and_nothing_else_does(
    sandbox: RunningSandbox, tmp_path: Path
) -> None:
    store = open_store(str(tmp_path / "root"))
    runs = Runs(large(sandbox), store)
    ended = await runs.run(ROWS)
    assert ended.summary.exit_code == 0
    runs.check()
    items = manifest(store)
    assert {output.media_type: bool(output.thumbnail) for item in items for output in item.outputs} == {
        "image/png": True,
        "image/jpeg": True,
        "video/mp4": False,
    }
    found = thumbnails(store)
    assert sorted(f"batch/{name}" for name in found) == [each.key for each in store.list("batch/thumbnails/")]
    page = (store.read(report_key("batch")) or b"").decode()
    assert all(f'"{name}"' in page for name in found)


async def test_small_pictures_get_none(sandbox: RunningSandbox, tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "root"))
    await Runs(sandbox, store).run(ROWS)
    assert thumbnails(store) == []
    assert list(store.list("batch/thumbnails/")) == []


async def test_with_signed_links_thumbnails_are_signed_too(sandbox: RunningSandbox, aws: S3Server) -> None:
    store = open_store(f"s3://{aws.make_bucket()}/prefix")
    ended = await Runs(large(sandbox), store).run(ROWS[:1])
    [name] = thumbnails(store)
    write_report(store, "batch", manifest(store), ended.usage, presign=True)
    page = (store.read(report_key("batch")) or b"").decode()
    assert f"{name}?" in page.replace("\\u0026", "&")
    assert f'"{name}"' not in page
    store.close()


async def test_a_thumbnail_that_cannot_be_stored_costs_nothing_else(
    sandbox: RunningSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = FolderStore.put

    def refusing(self: FolderStore, key: str, data: bytes, media_type: str = "") -> None:
        if "/thumbnails/" in key:
            raise StoreError("no more room")
        put(self, key, data, media_type)

    monkeypatch.setattr(FolderStore, "put", refusing)
    store = open_store(str(tmp_path / "root"))
    runs = Runs(large(sandbox), store)
    assert (await runs.run(ROWS[:1])).summary.exit_code == 0
    runs.check()
    assert thumbnails(store) == []


def test_a_record_from_before_there_were_thumbnails_is_read() -> None:
    outputs = [{"key": "outputs/1.png", "bytes": 9, "sha256": "ab", "media_type": "image/png"}]
    record = to_record({"kind": "stored", "item": 1, "at": "2025-03-01T12:00:00Z", "outputs": outputs})
    assert isinstance(record, Stored)
    assert record.outputs[0].thumbnail is None
