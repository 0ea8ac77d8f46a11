"""Connections that ask for something soon: whoever only holds one keeps others out."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS = 10.0


class ImpatientProtocol(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it, but a connection on which no request has come in time is closed.

    Attributes:
        patience: seconds until a connection's first request has to be there; its body has a time of its own.
    """

    patience = HEADER_SECONDS
    _first: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Wait for a request."""
        super().connection_made(transport)
        self._first = self.loop.call_later(self.patience, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        if self._first is not None:
            self._first.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        if self.cycle is None:
            self.transport.close()
