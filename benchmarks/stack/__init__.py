"""A production-like installation on loopback: a Prefect server on PostgreSQL and Redis, workers that share
nothing but a bucket, and the sandbox's providers.

`python -m benchmarks.stack` runs a batch through it. `Stack` is for programs that disturb it.
"""

from benchmarks.stack.stack import Stack, missing

__all__ = ["Stack", "missing"]
