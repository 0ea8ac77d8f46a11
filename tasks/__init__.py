"""Single steps for one's own flows. Only `generate_batch` remembers what was paid for."""

from prefect_imagine.tasks.create import create_generations
from prefect_imagine.tasks.estimate import estimate_credits, get_balance, list_models
from prefect_imagine.tasks.follow import cancel_generations, fetch_outputs, poll_generations, store_outputs
from prefect_imagine.tasks.webhooks import list_webhooks, register_webhook, remove_webhook, update_webhook

__all__ = [
    "cancel_generations",
    "create_generations",
    "estimate_credits",
    "fetch_outputs",
    "get_balance",
    "list_models",
    "list_webhooks",
    "poll_generations",
    "register_webhook",
    "remove_webhook",
    "store_outputs",
    "update_webhook",
]
