"""The four generation APIs emulated on loopback, with faults and books: demo, tests and benchmarks run on it.

It imports nothing of the rest of the package, so that it cannot share the package's mistakes.
"""

from prefect_imagine.sandbox.books import Books
from prefect_imagine.sandbox.faults import FAULTS, FaultRule, Faults
from prefect_imagine.sandbox.server import RunningSandbox, Sandbox, main, running_sandbox
from prefect_imagine.sandbox.settings import PROVIDERS, RateLimit, SandboxSettings

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
