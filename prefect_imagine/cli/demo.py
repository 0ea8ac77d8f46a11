"""`demo` and `sandbox`: the product with nothing to set up."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

from prefect_imagine.cli import output, values
from prefect_imagine.cli.addresses import absolute
from prefect_imagine.cli.generate import generate
from prefect_imagine.cli.options import Json, Output, RunOptions, value
from prefect_imagine.errors import ConfigurationError
from prefect_imagine.providers.prices import PriceList
from prefect_imagine.reports.summary import Summary
from prefect_imagine.stores import open_store

BUCKET = "imagine-demo"
DEMO_OUTPUT = "./outputs-demo"
"""A bill over the batches that cost money must not count play money."""
PRICES = tuple((name, PriceList(default=1)) for name in ("blockadelabs", "imagineapi"))
OWN_KEYS = """
With your own keys:
  export AIVISUALSTUDIO_API_KEY=…   (BLOCKADELABS_API_KEY, IMAGINEAPI_TOKEN, IMAGINELAB_EMAIL and _PASSWORD)
  prefect-imagine generate prompts.csv --provider aivisualstudio --dry-run
  prefect-imagine generate prompts.csv --provider aivisualstudio --output s3://bucket/prefix"""


def demo(*, s3: bool = False, under: Output = DEMO_OUTPUT, json: Json = False) -> Summary:
    """The main job against the sandbox, with nothing to set up.

    Args:
        s3: store in a real S3 server, started for the demo.
    """
    from prefect_imagine.sandbox import running_sandbox

    root = absolute(under)
    if s3 and "://" in root:
        raise ConfigurationError("--s3 starts a server of its own, and --output is a folder for its copy")
    with running_sandbox() as providers:
        os.environ.update(providers.environment)
        output.say(f"sandbox of the four providers: {providers.url}")
        summary = _to_s3(root, json=json) if s3 else _generate(root, json=json)
    output.say(OWN_KEYS)
    return summary


def _generate(address: str, *, json: bool) -> Summary:
    with as_file(files("prefect_imagine.cli") / "prompts.csv") as prompts:
        return generate(str(prompts), again=True, under=address, run=RunOptions(price=PRICES), json=json)


def _to_s3(root: str, *, json: bool) -> Summary:
    """The same in an S3 server, which ends with the command: what it holds is copied to the root."""
    with _s3_server():
        address = f"s3://{BUCKET}/demo"
        return _kept(_generate(address, json=json), address, root)


@contextmanager
def _s3_server() -> Iterator[None]:
    from prefect_imagine.sandbox.server.s3 import S3ServerMissingError, start_s3_server

    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="imagine-demo-")))
        try:
            server = stack.enter_context(start_s3_server(folder))
        except S3ServerMissingError as error:
            raise ConfigurationError(str(error)) from error
        os.environ.update(server.environment)
        server.make_bucket(BUCKET)
        output.say(f"S3 server: {server.endpoint}, bucket {BUCKET}")
        yield


def _kept(summary: Summary, address: str, root: str) -> Summary:
    """The summary of a batch's copy below the root."""
    with closing(open_store(address)) as bucket, closing(open_store(root)) as folder:
        for found in bucket.list(f"{summary.batch_id}/"):
            folder.put(found.key, bucket.read(found.key) or b"")
    output.say(f"the S3 server ends with this command; a copy stays in {root}/{summary.batch_id}")
    manifest, report = (each.replace(address, root, 1) for each in (summary.manifest, summary.report))
    return summary.model_copy(update={"manifest": manifest, "report": report})


def sandbox(*, port: Annotated[int, value(values.port, "PORT")] = 8765) -> int:
    """All four APIs emulated on loopback.

    Args:
        port: where to listen; 0 takes a free one.
    """
    from prefect_imagine.sandbox import main

    try:
        main(port)
    except OSError as error:
        raise ConfigurationError(
            f"port {port} cannot be listened on ({error.strerror}); --port 0 takes a free one"
        ) from error
    return 0
