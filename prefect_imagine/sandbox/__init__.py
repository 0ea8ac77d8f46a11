"""The four generation APIs emulated on loopback, with faults and books: demo, tests and benchmarks run on it.

It imports nothing of the rest of the package, so that it cannot share the package's mistakes.
"""

from prefect_imagine.sandbox.core.books import Books
from prefect_imagine.sandbox.core.faults import FAULTS, FaultRule, Faults
from prefect_imagine.sandbox.core.settings import PROVIDERS, RateLimit, SandboxSettings
from prefect_imagine.sandbox.server.running import RunningSandbox, Sandbox, main, running_sandbox

__all__ = [
    "FAULTS",
    "PROVIDERS",
    "Books",
    "FaultRule",
    "Faults",
    "RateLimit",
    "RunningSandbox",
    "Sandbox",
    "SandboxSettings",
    "main",
    "running_sandbox",
]
