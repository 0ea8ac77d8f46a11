"""One installation for all tests of this folder: following the page takes half a minute."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from prefect_imagine.sandbox import RunningSandbox, SandboxSettings, running_sandbox
from prefect_imagine.sandbox.core.settings import AIVISUALSTUDIO, IMAGINELAB, RateLimit
from prefect_imagine.sandbox.server.s3 import S3Server
from prefect_imagine.stores import open_store
from tests.conftest import KINDS
from tests.operations.site import BUCKET, Site, followed_page

SLOW = RateLimit(8, 2.0, headers=True)
"""Keeps a batch busy for long enough to disturb it."""


@pytest.fixture(scope="session")
def providers() -> Iterator[RunningSandbox]:
    """The four APIs: AI Visual Studio is quick, ImagineLab takes its time."""
    settings = SandboxSettings(
        latency=dict.fromkeys(KINDS, (0.05, 0.2)),
        image_pixels=32,
        rate_limits={AIVISUALSTUDIO: RateLimit(), IMAGINELAB: SLOW},
    )
    with running_sandbox(settings) as running:
        yield running


@pytest.fixture(scope="session")
def site(
    providers: RunningSandbox, s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """What somebody has who has followed docs/operations.md."""
    bucket = s3_server.make_bucket(BUCKET)
    with (
        closing(s3_server.client()) as client,
        closing(open_store(f"s3://{bucket}/imagine", client=client)) as store,
        followed_page(tmp_path_factory.mktemp("operations"), providers, s3_server, store) as site,
    ):
        yield site
