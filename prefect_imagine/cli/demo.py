"""`demo` and `sandbox`: the product with nothing to set up."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from tempfile import TemporaryDirectory

from prefect_imagine.cli import output
from prefect_imagine.cli.addresses import absolute
from prefect_imagine.cli.arguments import parse
from prefect_imagine.cli.generate import generate
from prefect_imagine.errors import ConfigurationError
from prefect_imagine.reports.summary import Summary
from prefect_imagine.stores import open_store

BUCKET = "imagine-demo"
OWN_KEYS = """
With your own keys:
  export AIVISUALSTUDIO_API_KEY=…   (BLOCKADELABS_API_KEY, IMAGINEAPI_TOKEN, IMAGINELAB_EMAIL and _PASSWORD)
  prefect-imagine generate prompts.csv --provider aivisualstudio --dry-run
  prefect-imagine generate prompts.csv --provider aivisualstudio --output s3://bucket/prefix"""


def demo(arguments: argparse.Namespace) -> Summary:
    """The main job over the example prompts, against the sandbox."""
    from prefect_imagine.sandbox import running_sandbox

    root = absolute(arguments.output)
    if arguments.s3 and "://" in root:
        raise ConfigurationError("--s3 starts a server of its own, and --output is a folder for its copy")
    with running_sandbox() as providers:
        os.environ.update(providers.environment)
        output.say(f"sandbox of the four providers: {providers.url}")
        summary = _to_s3(arguments, root) if arguments.s3 else _generate(arguments, root)
    output.say(OWN_KEYS)
    return summary


def _generate(arguments: argparse.Namespace, address: str) -> Summary:
    with as_file(files("prefect_imagine.cli") / "prompts.csv") as prompts:
        words = ["generate", str(prompts), "--output", address, "--again"]
        prices = ["--price", "blockadelabs=1", "--price", "imagineapi=1"]
        return generate(parse([*words, *prices, *(["--json"] if arguments.json else [])]))


def _to_s3(arguments: argparse.Namespace, root: str) -> Summary:
    """The same in an S3 server, which ends with the command: what it holds is copied to the root."""
    with _s3_server():
        address = f"s3://{BUCKET}/demo"
        return _kept(_generate(arguments, address), address, root)


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


def sandbox(arguments: argparse.Namespace) -> int:
    """Serve the sandbox until interrupted."""
    from prefect_imagine.sandbox import main

    try:
        main(arguments.port)
    except OSError as error:
        raise ConfigurationError(
            f"port {arguments.port} cannot be listened on ({error.strerror}); --port 0 takes a free one"
        ) from error
    return 0
