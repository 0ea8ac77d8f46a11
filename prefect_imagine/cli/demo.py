"""`demo` and `sandbox`: the product with nothing to set up."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.resources import as_file, files
from pathlib import Path

from prefect_imagine.batches.summary import Summary
from prefect_imagine.cli import output
from prefect_imagine.cli.arguments import parse
from prefect_imagine.cli.generate import generate
from prefect_imagine.errors import ConfigurationError

BUCKET = "imagine-demo"
OWN_KEYS = """
With your own keys:
  export AIVISUALSTUDIO_API_KEY=…   (BLOCKADELABS_API_KEY, IMAGINEAPI_TOKEN, IMAGINELAB_EMAIL and _PASSWORD)
  prefect-imagine generate prompts.csv --provider aivisualstudio --dry-run
  prefect-imagine generate prompts.csv --provider aivisualstudio --output s3://bucket/prefix"""


def demo(arguments: argparse.Namespace) -> Summary:
    """The main job over the example prompts, against the sandbox."""
    from prefect_imagine.sandbox import running_sandbox

    with running_sandbox() as providers, _output(arguments) as address:
        os.environ.update(providers.environment)
        output.say(f"sandbox of the four providers: {providers.url}")
        with as_file(files("prefect_imagine.examples") / "prompts.csv") as prompts:
            words = ["generate", str(prompts), "--output", address, "--again"]
            prices = ["--price", "blockadelabs=1", "--price", "imagineapi=1"]
            summary = generate(parse([*words, *prices, *(["--json"] if arguments.json else [])]))
    output.say(OWN_KEYS)
    return summary


@contextmanager
def _output(arguments: argparse.Namespace) -> Iterator[str]:
    if not arguments.s3:
        yield arguments.output
        return
    from prefect_imagine.sandbox.s3_server import S3ServerMissingError, start_s3_server

    folder = Path("outputs/s3-server").absolute()
    with ExitStack() as stack:
        try:
            server = stack.enter_context(start_s3_server(folder))
        except S3ServerMissingError as error:
            raise ConfigurationError(str(error)) from error
        os.environ.update(server.environment)
        server.make_bucket(BUCKET)
        output.say(f"S3 server: {server.endpoint}, bucket {BUCKET}, data in {folder}")
        yield f"s3://{BUCKET}/demo"


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
