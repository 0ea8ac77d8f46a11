"""`metrics serve` and `metrics write`: what Prometheus scrapes, and what node-exporter picks up."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from prefect_imagine.cli import output, values
from prefect_imagine.cli.addresses import absolute
from prefect_imagine.cli.options import DEFAULT_OUTPUT, Output, value
from prefect_imagine.cli.webhooks.listening import serve_app
from prefect_imagine.errors import ConfigurationError
from prefect_imagine.stores import open_store

MOST_CONNECTIONS = 32
READERS = 20
WRITE_SECONDS = 600.0
"""For which a store is read for a file."""


def serve(
    *,
    port: Annotated[int, value(values.port, "PORT")] = 9787,
    host: Annotated[str, Parameter(metavar="ADDRESS")] = "127.0.0.1",
    under: Output = DEFAULT_OUTPUT,
) -> int:
    """Let Prometheus scrape what all batches cost and came to; asks no provider and needs no key.

    Args:
        port: where to listen; 0 takes a free one.
        host: the address to listen on; whoever reaches it reads the figures.
    """
    from prefect_imagine.metrics import Exporter, metrics_app

    with closing(open_store(absolute(under), concurrency=READERS)) as store:

        def said(address: str) -> str:
            return f"{address}/metrics has the figures of the batches under {store.address}"

        app = metrics_app(Exporter(store))
        asyncio.run(serve_app(app, host, port, said, most_connections=MOST_CONNECTIONS))
    return 0


def write(
    file: Annotated[Path, Parameter(help="a .prom file in the folder that node-exporter reads")],
    /,
    *,
    under: Output = DEFAULT_OUTPUT,
) -> int:
    """Write the same figures into a file, whole or not at all, for node-exporter's textfile collector."""
    from prometheus_client import write_to_textfile

    from prefect_imagine.metrics import Exporter

    async def read() -> None:
        exporter = Exporter(store)
        try:
            found = await exporter.metrics(WRITE_SECONDS)
        finally:
            await exporter.aclose()
        write_to_textfile(str(file), found)

    with closing(open_store(absolute(under), concurrency=READERS)) as store:
        try:
            asyncio.run(read())
        except OSError as error:
            raise ConfigurationError(f"{file} cannot be written: {error.strerror or error}") from error
    output.say(f"{file} has the figures of batches under {absolute(under)}")
    return 0
