"""Requests per generation with and without a receiver of webhooks."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import httpx
from pydantic import SecretStr

from benchmarks.bound import bound_seconds
from benchmarks.rig import Rig, small_pictures
from benchmarks.runs import Job
from benchmarks.sandbox_server import Server
from benchmarks.tables import Table
from prefect_imagine.batches.capability import SECRET_VARIABLE, URL_VARIABLE, webhook_address
from prefect_imagine.providers.registry import account_from_environment, open_client

PROVIDERS = ("aivisualstudio", "blockadelabs", "imagineapi")
LIMIT, WINDOW = 60, 10.0
LATENCY = {"image": (3.0, 5.0)}
SECRET = "a secret of this benchmark alone"
UP_SECONDS = 60.0


def measure(rig: Rig) -> Table:
    """Each provider that delivers, one after the other."""
    count = 60 if rig.quick else 280
    table = Table(
        "Webhooks",
        f"One provider at a time, N = {count}, {LIMIT} requests / {WINDOW:g} s with headers, jobs of 3-5 s. "
        "All requests that reached the API, those before the first create included, over the generations. AI "
        "Visual Studio signs its deliveries; of the others each is a reason to ask. Bound as above.",
        ("provider", "receiver", "requests/generation", "looks", "makespan s", "over bound", "stored"),
    )
    rule = {"limit": LIMIT, "window_seconds": WINDOW, "kind": "fixed", "headers": True}
    for provider in PROVIDERS:
        for receiver in (False, True):
            with small_pictures(rate_limits={provider: rule}, latency=LATENCY) as server:
                _add(
                    rig, table, server, Job("engine", count, rig.fresh_output(), provider=provider), receiver
                )
    return table


def _add(rig: Rig, table: Table, server: Server, job: Job, receiver: bool) -> None:
    if receiver:
        with _receiver(server, job) as more:
            result, traffic = rig.measure(server, job, keep_jobs=True, more=more)[0]
    else:
        result, traffic = rig.measure(server, job)[0]
    bound = bound_seconds(traffic.accepted, LIMIT, WINDOW, traffic.slowest)
    looks = traffic.requests["list"] + traffic.requests["read"]
    table.add(
        job.provider,
        "yes" if receiver else "no",
        traffic.per_generation,
        looks,
        traffic.makespan,
        traffic.makespan / bound,
        result.stored,
    )


@contextmanager
def _receiver(server: Server, job: Job) -> Iterator[Mapping[str, str]]:
    """A receiver that the provider delivers to, and what runs need in their environment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    own = {SECRET_VARIABLE: SECRET, **asyncio.run(_told(server, job.provider, address))}
    words = ("webhooks", "serve", "--port", str(port), "--output", job.output, "--wake", "none")
    process = subprocess.Popen(
        [sys.executable, "-m", "prefect_imagine", *words],
        env={**os.environ, **server.environment, **own},
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(address)
        yield {**own, URL_VARIABLE: address} if job.provider == "blockadelabs" else own
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


async def _told(server: Server, provider: str, address: str) -> dict[str, str]:
    """Tell a provider where to deliver; what the receiver has to know of that."""
    account = account_from_environment(provider, server.environment)
    if provider == "imagineapi":
        hook = webhook_address(address, provider, account.identity, "", SecretStr(SECRET), signed=False)
        control = f"{account.address.removesuffix('/imagineapi')}/_sandbox/settings"
        async with httpx.AsyncClient() as http:
            (await http.patch(control, json={"imagineapi_webhook_url": hook})).raise_for_status()
    if provider != "aivisualstudio":
        return {}
    client = open_client(account)
    try:
        registered = await client.create_webhook(f"{address}/{provider}")
    finally:
        await client.aclose()
    assert registered.secret is not None
    return {account.spec.webhook_secret_variable: registered.secret.get_secret_value()}


def _wait_for(address: str) -> None:
    deadline = time.monotonic() + UP_SECONDS
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{address}/health").is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.2)
    raise TimeoutError(f"the receiver at {address} does not answer")
