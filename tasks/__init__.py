"""Single steps for one's own flows. Only `generate_batch` remembers what was paid for."""

from prefect_imagine.tasks.create import create_generations
from prefect_imagine.tasks.estimate import estimate_credits, get_balance, list_models
from prefect_imagine.tasks.follow import cancel_generations, fetch_outputs, poll_generations, store_outputs

__all__ = [
    "cancel_generations",
    "create_generations",
    "estimate_credits",
    "fetch_outputs",
    "get_balance",
    "list_models",
    "poll_generations",
    "store_outputs",
]
