"""What people deploy and schedule."""

from prefect_imagine.flows.credits import credit_report
from prefect_imagine.flows.generate import generate_batch
from prefect_imagine.flows.load import load_history
from prefect_imagine.flows.resume import resume_crashed
from prefect_imagine.flows.shard import generate_shard
from prefect_imagine.flows.upkeep import cancel_batch, collect_batches, reconcile_batches

__all__ = [
    "cancel_batch",
    "collect_batches",
    "credit_report",
    "generate_batch",
    "generate_shard",
    "load_history",
    "reconcile_batches",
    "resume_crashed",
]
