"""How boto3 is set up here, and the S3 server's clock."""

from __future__ import annotations

import socket
import time
from email.utils import parsedate_to_datetime
from functools import cache
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit
from urllib.request import getproxies

from botocore.config import Config
from botocore.exceptions import BotoCoreError
from botocore.loaders import Loader, create_loader
from botocore.session import Session

from prefect_imagine.clock import boot_seconds
from prefect_imagine.errors import ConfigurationError, StoreError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

DEFAULT_REGION = "us-east-1"
REACH_SECONDS = 8.0


def s3_client_config(concurrency: int) -> Config:
    """The settings that stores rely on, for whoever makes a client of their own.

    With them a large body streams in constant memory over HTTP and HTTPS alike; without, it goes in parts.
    Bodies are not signed: those held in memory carry a signed checksum, the others a checked length.
    """
    return Config(
        max_pool_connections=concurrency + 2,
        connect_timeout=10,
        read_timeout=60,
        # Without it links are signed in a way that newer regions refuse.
        signature_version="s3v4",
        retries={"mode": "standard", "total_max_attempts": 4},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"payload_signing_enabled": False},
    )


def make_client(concurrency: int) -> S3Client:
    """A client from AWS's own environment and files.

    Raises:
        ConfigurationError: they contradict each other, such as a profile that does not exist.
    """
    try:
        session = Session()
        session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
        region = session.get_config_variable("region") or DEFAULT_REGION
        client = session.create_client("s3", region_name=region, config=s3_client_config(concurrency))
    except (BotoCoreError, ValueError) as error:
        raise ConfigurationError(f"AWS's settings cannot be used: {error}") from error
    return cast("S3Client", client)


@cache
def _loader(data_path: str | None) -> Loader:
    """The description of S3's API, which takes longer to read than a client to make."""
    return create_loader(data_path)


def can_stream(client: S3Client) -> bool:
    """Whether this client sends a body that can be read only once."""
    config: Any = client.meta.config
    signs = (config.s3 or {}).get("payload_signing_enabled", True)
    return not signs and config.request_checksum_calculation == "when_required"


class ServerClock:
    """The server's time, from the `Date` of its answers to this client."""

    def __init__(self, client: S3Client) -> None:
        self._events: Any = client.meta.events
        self._seen: tuple[float, float] | None = None
        self._events.register("after-call.s3", self._look, unique_id=str(id(self)))

    def now(self) -> float | None:
        """Epoch seconds, exact to one; `None` before the first answer."""
        if self._seen is None:
            return None
        date, at = self._seen
        return date + boot_seconds() - at

    def close(self) -> None:
        """Stop looking at the client's answers."""
        self._events.unregister("after-call.s3", unique_id=str(id(self)))

    def _look(self, parsed: dict[str, Any], **_: Any) -> None:
        date = parsed.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
        if date:
            self._seen = (parsedate_to_datetime(date).timestamp(), boot_seconds())


def check_reachable(endpoint: str) -> None:
    """Connect to the endpoint once, well before boto3's own attempts would have given up.

    Raises:
        StoreError: nothing takes the connection.
    """
    url = urlsplit(endpoint)
    if not url.hostname or getproxies().keys() & {url.scheme, "all"}:
        return
    deadline = time.monotonic() + REACH_SECONDS
    problem: OSError | None = None
    try:
        port = url.port or (443 if url.scheme == "https" else 80)
        addresses = [info[4] for info in socket.getaddrinfo(url.hostname, port, type=socket.SOCK_STREAM)]
        for position, address in enumerate(addresses):
            share = (deadline - time.monotonic()) / (len(addresses) - position)
            try:
                socket.create_connection((str(address[0]), port), timeout=max(0.1, share)).close()
                return
            except OSError as error:
                problem = error
    except OSError as error:
        problem = error
    raise StoreError(
        f"{endpoint} cannot be reached ({problem}); is AWS_ENDPOINT_URL right, and is the server running?",
        retryable=True,
    ) from problem
