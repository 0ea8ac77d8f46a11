"""What else lies under a root: folders that are no batches, and batches that cannot be read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path

import boto3
import pytest

from prefect_imagine.batches.index import batches_since
from prefect_imagine.batches.plan import write_plan
from prefect_imagine.batches.records import Header, to_line
from prefect_imagine.billing.root import books_since
from prefect_imagine.billing.settlement import Settlement
from prefect_imagine.engine.history.identity import RequestIdentity
from prefect_imagine.engine.history.other_batches import OtherBatches, OtherJobs
from prefect_imagine.stores import Store, open_store
from tests.batches.journals import AT, created, intent
from tests.engine.fake_provider import PROVIDER, plan_of
from tests.engine.surveyed import under_way

ODD = ["team\\art", "tab\there", " ", "-", ".hidden", "ü", "\udcff", "a b", "x" * 121, "%41", "ends\n"]
IN_BUCKETS = ["team\\art", " ", "-", "ü", "a b", "x" * 121, "%41"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, root: Path) -> Iterator[Store]:
    """One batch, `b`, which has created something and does not know it."""
    where = str(root)
    if request.param == "s3":
        where = f"s3://{request.getfixturevalue('aws').make_bucket()}/prefix"
    found = open_store(where)
    write_batch(found)
    yield found
    found.close()


def write_batch(store: Store) -> None:
    write_plan(store, plan_of("a kite"))
    lines = [to_line(Header(seq=1, writer="me", lines=2)), to_line(intent()), to_line(created())]
    store.put("b/journal/00000001.jsonl", b"".join(lines))


NOTHING = RequestIdentity("", None, "", None)


def claims_of(store: Store) -> OtherJobs:
    return OtherBatches(store, "mine", lambda item: NOTHING, lambda: ()).jobs(PROVIDER, AT)


def read_under(store: Store) -> list[str]:
    """The ids of the batches whose books are read; none of them is settled."""
    found = [books for books in books_since(store, AT) if not isinstance(books, Settlement)]
    return [books.plan.batch_id for books in found]


def the_job() -> dict[str, datetime | None]:
    """The id of the batch's one job, and when it was asked for."""
    return {"job-1-1": intent().provider_at}


def put_odd(store: Store, root: Path) -> None:
    """Files in folders by all those names; a bucket takes what its server takes."""
    if not store.address.startswith("s3://"):
        for name in ODD:
            (root / name).mkdir()
            (root / name / "x.png").write_bytes(b"-")
        return
    bucket, _, prefix = store.address.removeprefix("s3://").partition("/")
    with closing(boto3.session.Session().client("s3")) as client:
        for name in IN_BUCKETS:
            client.put_object(Bucket=bucket, Key=f"{prefix}/{name}/x.png", Body=b"-")


def test_a_folder_that_cannot_be_a_batch_is_none(store: Store, root: Path) -> None:
    put_odd(store, root)
    assert batches_since(store, AT) == ["b"]
    assert read_under(store) == ["b"]
    assert under_way(store) == ["b"]
    assert claims_of(store) == OtherJobs(ids=the_job())


@pytest.fixture
def folder(root: Path) -> Store:
    found = open_store(str(root))
    write_batch(found)
    return found


def circle(path: Path) -> None:
    """What nobody can open, whoever he is."""
    path.symlink_to(path.name)


@pytest.mark.parametrize("name", ["journal", "plan.jsonl"])
def test_a_batch_that_cannot_be_read_is_left_out_and_doubted(
    folder: Store, root: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    folder.put("c/outputs/x.png", b"-")
    if name == "plan.jsonl":
        folder.put("c/journal/00000001.jsonl", b"")
    circle(root / "c" / name)
    assert read_under(folder) == ["b"]
    assert "batch c cannot be read and is left out" in caplog.text
    assert claims_of(folder) == OtherJobs(ids=the_job(), incomplete=True)


def test_a_neighbour_that_cannot_be_read_is_told_once(
    folder: Store, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.put("c/outputs/x.png", b"-")
    circle(root / "c" / "journal")
    other_batches = OtherBatches(folder, "mine", lambda item: NOTHING, lambda: ())
    assert all(other_batches.jobs(PROVIDER, AT).incomplete for _ in range(3))
    assert caplog.text.count("the neighbouring batch c cannot be read") == 1


def test_files_and_links_where_folders_are_expected_are_no_batches(folder: Store, root: Path) -> None:
    (root / "loose").write_bytes(b"-")
    circle(root / "circle")
    (root / "c").mkdir()
    (root / "c" / "journal").write_bytes(b"-")
    (root / "nowhere").symlink_to(root / "absent")
    assert read_under(folder) == ["b"]
    assert claims_of(folder) == OtherJobs(ids=the_job())


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_this_user_may_not_read_is_left_out_and_doubted(folder: Store, root: Path) -> None:
    (root / "c").mkdir(mode=0)
    assert read_under(folder) == ["b"]
    assert claims_of(folder) == OtherJobs(ids=the_job(), incomplete=True)
