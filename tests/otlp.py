"""A collector of traces: takes what OpenTelemetry's SDK exports over HTTP, and reads it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

INSTRUMENTED = (str(Path(sys.executable).with_name("opentelemetry-instrument")), sys.executable)
"""Begins a command whose spans are exported."""


@dataclass(frozen=True)
class Seen:
    """One span as it was exported.

    Attributes:
        scope: who made it: a tracer's name.
        parent: a span's id; empty at the root.
        links: ids of spans.
        events: names with attributes.
        failed: the words of its status, if that is an error.
    """

    scope: str
    name: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, Any]
    links: tuple[str, ...]
    events: tuple[tuple[str, dict[str, Any]], ...]
    failed: str | None

    @property
    def outcome(self) -> object:
        """What came of it."""
        return self.attributes.get("imagine.outcome")


@dataclass
class Collector:
    """What has been exported so far.

    Attributes:
        bodies: of all requests, as they came.
    """

    url: str
    bodies: list[bytes] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """Where a process exports its spans to, and nothing else; over HTTP, uncompressed."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.url,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_SERVICE_NAME": "tests",
        }

    @property
    def spans(self) -> list[Seen]:
        """All spans."""
        return [each for body in self.bodies for each in _spans(body)]

    def named(self, name: str) -> list[Seen]:
        """The package's own spans of a name, by item where they have one."""
        found = [each for each in self.spans if each.name == name and each.scope == "prefect_imagine"]
        return sorted(found, key=lambda each: each.attributes.get("imagine.item.index", -1))

    def clear(self) -> None:
        """Forget what has come so far."""
        self.bodies.clear()


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on loopback."""
    collector = Collector("")

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/v1/traces"
            collector.bodies.append(body)
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        collector.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()


def _spans(body: bytes) -> Iterator[Seen]:
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield _seen(scope.scope.name, span)


def _seen(scope: str, span: Span) -> Seen:
    return Seen(
        scope=scope,
        name=span.name,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        attributes=_attributes(span.attributes),
        links=tuple(link.span_id.hex() for link in span.links),
        events=tuple((event.name, _attributes(event.attributes)) for event in span.events),
        failed=span.status.message if span.status.code == Status.STATUS_CODE_ERROR else None,
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    found: list[KeyValue] = list(pairs)
    return {each.key: _value(each.value) for each in found}


def _value(value: AnyValue) -> Any:
    if value.WhichOneof("value") == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, value.WhichOneof("value") or "string_value")
