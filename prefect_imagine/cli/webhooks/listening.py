"""Serving an application over HTTP until a signal ends it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING

from prefect_imagine.cli import output
from prefect_imagine.errors import ConfigurationError

if TYPE_CHECKING:
    from starlette.applications import Starlette

GRACE_SECONDS = 10


async def serve_app(
    app: Starlette, host: str, port: int, said: Callable[[str], str], *, most_connections: int
) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        port: 0 takes a free one.
        said: what is said to people, by the address.

    Raises:
        ConfigurationError: the address cannot be listened on.
    """
    import uvicorn

    from prefect_imagine.webhooks.connections import ImpatientProtocol

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,  # addresses may hold capabilities
        http=ImpatientProtocol,
        limit_concurrency=most_connections,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        message = f"{host}:{port} cannot be listened on ({error.strerror}); --port 0 takes a free one"
        raise ConfigurationError(message) from error
    with closing(listening):
        where = f"[{host}]" if ":" in host else host
        output.say(said(f"http://{where}:{listening.getsockname()[1]}"))
        await uvicorn.Server(config).serve(sockets=[listening])
