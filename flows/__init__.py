"""What people deploy and schedule."""

from prefect_imagine.flows.generate import generate_batch

__all__ = ["generate_batch"]
