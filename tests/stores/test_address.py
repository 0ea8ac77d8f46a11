"""Addresses of stores as people write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefect_imagine.errors import ConfigurationError
from prefect_imagine.sandbox.server.s3 import S3Server
from prefect_imagine.stores import open_store


@pytest.mark.parametrize("ending", ["", "/"])
def test_a_path_is_a_folder(tmp_path: Path, ending: str) -> None:
    assert open_store(f"{tmp_path}/out{ending}").address == f"{tmp_path}/out"
    assert not (tmp_path / "out").exists()


def test_a_relative_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_store("./outputs").address == str(tmp_path / "outputs")


def test_a_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_store("~/outputs").address == str(tmp_path / "outputs")


def test_a_file_url_is_a_folder(tmp_path: Path) -> None:
    assert open_store(f"file://{tmp_path}/a%20b").address == f"{tmp_path}/a b"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
    ],
)
def test_a_bucket_may_have_a_prefix(aws: S3Server, address: str, shown: str) -> None:
    store = open_store(address)
    assert store.address == shown
    store.close()


@pytest.mark.parametrize(
    "address",
    ["", "  ", "s3://", "s3:///prefix", "s3://bucket/../other", "s3://bucket/a//b", "gs://bucket/x"],
)
def test_a_bad_address_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError):
        open_store(address)


@pytest.mark.parametrize("address", ["https://example.com/bucket", "file://host/path"])
def test_a_foreign_url_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError):
        open_store(address)


def test_a_profile_that_does_not_exist_is_refused(aws: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(ConfigurationError, match="nobody"):
        open_store("s3://bucket/prefix")
