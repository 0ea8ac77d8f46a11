"""The wire to a server, which can fall silent as it does when the server stands still."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread

PIECE = 65536


class Wire:
    """Carries connections to a port of this machine. While it is silent connections are taken and stay, and
    nothing passes in either direction.

    Attributes:
        port: where to connect to instead.
    """

    def __init__(self, to: int) -> None:
        self._to = to
        self._open = Event()
        self._open.set()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._sockets: list[socket.socket] = []
        Thread(target=self._accept, daemon=True).start()

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Let nothing pass for as long as the context lasts."""
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    def close(self) -> None:
        """End all connections."""
        self._open.set()
        for each in (self._listening, *self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):  # it has been closed
            while True:
                ours, _ = self._listening.accept()
                Thread(target=self._connect, args=(ours,), daemon=True).start()

    def _connect(self, ours: socket.socket) -> None:
        self._open.wait()
        with suppress(OSError):
            theirs = socket.create_connection(("127.0.0.1", self._to))
            self._sockets += [ours, theirs]
            Thread(target=self._carry, args=(theirs, ours), daemon=True).start()
            self._carry(ours, theirs)

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(PIECE):
                self._open.wait()
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)
