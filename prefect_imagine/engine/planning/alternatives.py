"""The ways in which an item may be created, where its provider refuses it: found out before it is planned."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping

from prefect_imagine.engine.planning.preflight import Inspection
from prefect_imagine.prompts.requested import RequestedItem
from prefect_imagine.providers.models import GenerationRequest
from prefect_imagine.providers.protocol import ProviderClient

LARGEST_SEED = 2**31 - 1


def further_requests(
    asked: RequestedItem,
    request: GenerationRequest,
    clients: Mapping[str, ProviderClient],
    inspection: Inspection,
) -> Iterator[GenerationRequest]:
    """What is sent after an item's own request, one after the other, with each provider's choices filled in.

    Args:
        request: its own, completed.
    """
    for _ in range(asked.on_refusal.reseed):
        yield _reseeded(request)
    for each in asked.fallbacks:
        yield clients[each.provider].completed(each, inspection.catalogs[each.provider].models)


def _reseeded(request: GenerationRequest) -> GenerationRequest:
    """The request with another seed; as it is where it has none, and chance decides anyway."""
    if "seed" not in request.settings:
        return request
    settings = {**request.settings, "seed": random.randint(1, LARGEST_SEED)}
    return request.model_copy(update={"settings": settings})
