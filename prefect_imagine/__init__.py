"""Paid, asynchronous media generation as Prefect tasks and flows.

Names are imported when they are first used: importing the package, or one of its packages below the
tasks, does not import Prefect.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if sys.platform == "win32":
    raise ImportError("prefect-imagine needs a POSIX system (Linux, macOS): it locks files with fcntl")

if TYPE_CHECKING:
    from prefect_imagine.batches.options import BatchOptions, Timing
    from prefect_imagine.blocks import (
        AIVisualStudioCredentials,
        BlockadeLabsCredentials,
        ImagineAPICredentials,
        ImagineLabCredentials,
    )
    from prefect_imagine.errors import ImagineError
    from prefect_imagine.flows import generate_batch
    from prefect_imagine.flows.fleet import Fleet
    from prefect_imagine.prompts.requested import Prompt
    from prefect_imagine.prompts.rotation import Rotation
    from prefect_imagine.providers.models import Generation, GenerationKind, GenerationRequest, Output
    from prefect_imagine.providers.on_refusal import OnRefusal
    from prefect_imagine.providers.prices import PriceList
    from prefect_imagine.providers.webhooks import Webhook
    from prefect_imagine.reports.summary import Summary
    from prefect_imagine.tasks import (
        cancel_generations,
        create_generations,
        estimate_credits,
        fetch_outputs,
        get_balance,
        list_models,
        list_webhooks,
        poll_generations,
        register_webhook,
        remove_webhook,
        store_outputs,
        update_webhook,
    )

_HOMES = {
    "AIVisualStudioCredentials": "blocks",
    "BatchOptions": "batches.options",
    "BlockadeLabsCredentials": "blocks",
    "Fleet": "flows.fleet",
    "Generation": "providers.models",
    "GenerationKind": "providers.models",
    "GenerationRequest": "providers.models",
    "ImagineAPICredentials": "blocks",
    "ImagineError": "errors",
    "ImagineLabCredentials": "blocks",
    "OnRefusal": "providers.on_refusal",
    "Output": "providers.models",
    "PriceList": "providers.prices",
    "Prompt": "prompts.requested",
    "Rotation": "prompts.rotation",
    "Summary": "reports.summary",
    "Timing": "batches.options",
    "Webhook": "providers.webhooks",
    "cancel_generations": "tasks",
    "create_generations": "tasks",
    "estimate_credits": "tasks",
    "fetch_outputs": "tasks",
    "generate_batch": "flows",
    "get_balance": "tasks",
    "list_models": "tasks",
    "list_webhooks": "tasks",
    "poll_generations": "tasks",
    "register_webhook": "tasks",
    "remove_webhook": "tasks",
    "store_outputs": "tasks",
    "update_webhook": "tasks",
}

__all__ = [
    "AIVisualStudioCredentials",
    "BatchOptions",
    "BlockadeLabsCredentials",
    "Fleet",
    "Generation",
    "GenerationKind",
    "GenerationRequest",
    "ImagineAPICredentials",
    "ImagineError",
    "ImagineLabCredentials",
    "OnRefusal",
    "Output",
    "PriceList",
    "Prompt",
    "Rotation",
    "Summary",
    "Timing",
    "Webhook",
    "cancel_generations",
    "create_generations",
    "estimate_credits",
    "fetch_outputs",
    "generate_batch",
    "get_balance",
    "list_models",
    "list_webhooks",
    "poll_generations",
    "register_webhook",
    "remove_webhook",
    "store_outputs",
    "update_webhook",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
