"""Plans of further shards: what they create, in which order, and at which price."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice

from prefect_imagine.batches.options import BatchOptions
from prefect_imagine.batches.plan import Alternative, BatchItem, Plan, make_item_id
from prefect_imagine.billing.budgets.budget import Budget
from prefect_imagine.billing.estimates import Expected
from prefect_imagine.clock import utc_now
from prefect_imagine.engine.planning.alternatives import further_requests
from prefect_imagine.engine.planning.outlook import Candidate, Outlook
from prefect_imagine.engine.planning.preflight import Inspection, price
from prefect_imagine.errors import ConfigurationError
from prefect_imagine.prompts.requested import RequestedItem
from prefect_imagine.prompts.spool import Asked
from prefect_imagine.providers.models import GenerationRequest
from prefect_imagine.providers.prices import PriceList
from prefect_imagine.providers.protocol import ProviderClient

SMALLEST = 50
"""Items of a shard that are not divided further: a worker takes some seconds to begin with one."""


def shard_size_for(items: int, workers: int, largest: int) -> int:
    """How many of so many new items make a shard, so that each worker has one."""
    return max(1, min(largest, max(SMALLEST, -(-items // workers)) if workers > 1 else largest))


class NewPlans:
    """The plans of the shards that a batch gains for what is new, made each time they are looked through: no
    more than one is held at once. What is left to chance, such as a seed, differs from time to time."""

    def __init__(
        self,
        outlook: Outlook,
        new: Asked,
        clients: Mapping[str, ProviderClient],
        inspection: Inspection,
        prices: Mapping[str, PriceList],
        shard_size: int,
    ) -> None:
        self._batch_id = outlook.batch_id
        self._first = outlook.items + 1
        self._first_shard = len(outlook.shards) + 1
        self._new = new
        self._clients = clients
        self._inspection = inspection
        self._prices = prices
        self._size = shard_size
        self._planned_at = utc_now()

    def __len__(self) -> int:
        return -(-len(self._new) // self._size)

    def __iter__(self) -> Iterator[Plan]:
        items = (self._planned(index, each) for index, each in enumerate(self._new, start=self._first))
        for shard in range(self._first_shard, self._first_shard + len(self)):
            yield Plan(self._batch_id, self._planned_at, tuple(islice(items, self._size)), shard)

    def _planned(self, index: int, asked: RequestedItem) -> BatchItem:
        models = self._inspection.catalogs[asked.request.provider].models
        request = self._clients[asked.request.provider].completed(asked.request, models)
        first, *others = (
            self._priced(each)
            for each in (request, *further_requests(asked, request, self._clients, self._inspection))
        )
        return BatchItem(
            index=index,
            item_id=make_item_id(self._batch_id, index, asked.fingerprint),
            name=asked.name,
            asked=asked.fingerprint,
            request=request,
            estimate=first.estimate,
            alternatives=(first, *others) if others else (),
            moderation=asked.on_refusal.moderation,
        )

    def _priced(self, request: GenerationRequest) -> Alternative:
        return Alternative(
            provider=request.provider,
            model=request.model,
            settings=request.settings,
            estimate=price(request, self._inspection.catalogs[request.provider], self._prices),
        )


def check_priced(
    outlook: Outlook, creatable: Iterable[Candidate], new: Iterable[str], options: BatchOptions
) -> None:
    """A budget needs a price for everything that is paid for, or will be. Raises `ConfigurationError`.

    Args:
        new: the providers without a price, of new items, and of what may follow upon those under way.
    """
    paid = (line.name for line in outlook.usage.by_provider if line.unpriced)
    planned = (name for each in creatable for name in unpriced(each.expected))
    lacking = sorted({name for name in chain(paid, planned, new) if options.limits(name)})
    if lacking:
        raise ConfigurationError(
            f"max_credits cannot be kept: {', '.join(lacking)} tells no prices; "
            f"set a price when the batch is made, such as --price {lacking[0]}=1"
        )


def unpriced(expected: Iterable[Expected]) -> Iterator[str]:
    """The providers of those that have no price."""
    return (each.key.provider for each in expected if each.credits is None)


def check_budgeted(budgets: Sequence[Budget], provider: str, labels: Mapping[str, str]) -> None:
    """No budget of the root counts an item without a price. Raises `ConfigurationError`."""
    budget = next((each for each in budgets if each.concerns(provider, labels)), None)
    if budget is not None:
        raise ConfigurationError(
            f"budget {budget.name!r} cannot be kept: {provider} tells no prices; "
            f"set a price when the batch is made, such as --price {provider}=1"
        )
