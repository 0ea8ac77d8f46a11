"""Plans of further shards: what they create, in which order, and at which price."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.batches.plan import BatchItem, Plan, make_item_id
from prefect_imagine.clock import utc_now
from prefect_imagine.engine.planning.outlook import Candidate, Outlook
from prefect_imagine.engine.planning.preflight import Inspection, check_requests, price
from prefect_imagine.errors import ConfigurationError
from prefect_imagine.prompts.formats import Problems
from prefect_imagine.prompts.requested import RequestedItem
from prefect_imagine.providers.prices import PriceList
from prefect_imagine.providers.protocol import ProviderClient


def make_plans(
    outlook: Outlook,
    new: Sequence[RequestedItem],
    clients: Mapping[str, ProviderClient],
    inspection: Inspection,
    options: BatchOptions,
    prices: Mapping[str, PriceList],
) -> list[Plan]:
    """The plans of the shards that a batch gains for what is new. Raises `InvalidPromptsError` with
    everything that the providers would refuse."""
    problems = Problems()
    check_requests(new, clients, inspection, problems)
    problems.check()
    planned_at = utc_now()
    plans: list[Plan] = []
    for begin in range(0, len(new), options.shard_size):
        part = new[begin : begin + options.shard_size]
        first = outlook.items + begin + 1
        items = _planned(outlook.batch_id, first, part, clients, inspection, prices)
        number = len(outlook.shards) + len(plans) + 1
        plans.append(Plan(outlook.batch_id, planned_at, tuple(items), number))
    return plans


def _planned(
    batch_id: str,
    first: int,
    asked: Sequence[RequestedItem],
    clients: Mapping[str, ProviderClient],
    inspection: Inspection,
    prices: Mapping[str, PriceList],
) -> Iterator[BatchItem]:
    for index, each in enumerate(asked, start=first):
        catalog = inspection.catalogs[each.request.provider]
        request = clients[each.request.provider].completed(each.request, catalog.models)
        yield BatchItem(
            index=index,
            item_id=make_item_id(batch_id, index, each.fingerprint),
            name=each.name,
            asked=each.fingerprint,
            request=request,
            estimate=price(request, catalog, prices),
        )


def check_priced(
    outlook: Outlook, creatable: Iterable[Candidate], plans: Iterable[Plan], options: BatchOptions
) -> None:
    """A budget needs a price for everything that is paid for, or will be. Raises `ConfigurationError`."""
    paid = (line.name for line in outlook.usage.by_provider if line.unpriced)
    planned = (each.key[0] for each in creatable if each.credits is None)
    items = chain.from_iterable(plan.items for plan in plans)
    new = (item.request.provider for item in items if item.estimate.credits is None)
    unpriced = sorted({name for name in chain(paid, planned, new) if options.limits(name)})
    if unpriced:
        raise ConfigurationError(
            f"max_credits cannot be kept: {', '.join(unpriced)} tells no prices; "
            f"set a price when the batch is made, such as --price {unpriced[0]}=1"
        )
