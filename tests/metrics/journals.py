"""Batches under a root, written record by record, and how their figures stand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from prefect_imagine.batches.index import put_mark
from prefect_imagine.batches.origin import Origin, write_origin
from prefect_imagine.batches.plan import Plan, write_plan
from prefect_imagine.batches.reading import segment_key
from prefect_imagine.batches.records import AnyItemRecord, Claim, Header, Intent, to_line
from prefect_imagine.billing.costs import Place
from prefect_imagine.billing.root import settle_stock
from prefect_imagine.metrics.figures import Figures
from prefect_imagine.metrics.root import Sample
from prefect_imagine.stores import Store
from tests.engine.fake_provider import PROVIDER, plan_of

AT = datetime(2025, 3, 1, 12, tzinfo=UTC)
MODEL = f"{PROVIDER}/image/m"


@dataclass
class Writer:
    """Whoever runs a shard: claims it, writes, and settles."""

    store: Store
    plan: Plan
    seq: int = 0

    @classmethod
    def of(
        cls,
        store: Store,
        name: str,
        items: int = 3,
        *,
        shard: int = 1,
        first: int = 1,
        model: str = "m",
        made: datetime | None = None,
        origin: bool = True,
    ) -> Writer:
        """A new shard of so many items at five credits each.

        Args:
            made: when the batch was made; without, it is one of the first edition, made at some time.
            origin: whether it says so, as those of the first edition do not.
        """
        if made is not None and origin:
            write_origin(store, Origin(batch_id=name, source=None, created=made))
        prompts = [f"{name} {number}" for number in range(items)]
        plan = plan_of(*prompts, batch_id=name, shard=shard, first=first)
        of_model = [
            replace(item, request=item.request.model_copy(update={"model": model})) for item in plan.items
        ]
        plan = replace(plan, items=tuple(of_model), planned_at=made or plan.planned_at)
        write_plan(store, plan)
        return cls(store, plan)

    def claim(self) -> None:
        """Begin to write."""
        self.write(Claim(owner="w", host="here", at=AT))
        put_mark(self.store, self.plan.batch_id, self.plan.shard, self.seq)

    def write(self, *records: Claim | AnyItemRecord) -> None:
        """One more segment."""
        self.seq += 1
        lines = [to_line(Header(seq=self.seq, writer="w", lines=len(records))), *map(to_line, records)]
        self.store.put(segment_key(self.plan.path, self.seq), b"".join(lines))

    def settle(self, *others: Writer) -> bool:
        """Say that the batch, with its other shards, is settled; and whether it is."""
        shards = [each.plan.shard for each in (self, *others)]
        return settle_stock(self.store, self.plan.batch_id, shards)


def intent(item: int = 1, attempt: int = 1, hours: float = 0.0) -> Intent:
    """A create so many hours later."""
    at = AT + timedelta(hours=hours)
    return Intent(item=item, at=at, attempt=attempt, provider_at=at, boot="", boot_at=0)


def credits(figures: Figures) -> tuple[float, float, float, float, float]:
    """Charged and estimated, of jobs that have ended and of others, and possible."""
    sums = [
        (
            each.charged,
            each.estimated,
            each.charged_under_way,
            each.estimated_under_way,
            each.possible,
        )
        for _, each in figures
    ]
    charged, estimated, *others = (float(sum(column)) for column in zip(*sums, strict=True))
    return charged, estimated, *others  # type: ignore[return-value]


def places(sample: Sample) -> dict[Place, int]:
    """How many items of a sample are where."""
    found: dict[Place, int] = {}
    for _, each in sample.figures:
        for place, count in each.places.items():
            found[place] = found.get(place, 0) + count
    return {place: count for place, count in found.items() if count}


def told(sample: Sample) -> tuple[object, ...]:
    """All figures of a sample, to compare."""
    models = sorted(
        (name, each.charged, each.estimated, each.charged_under_way, each.estimated_under_way, each.possible)
        for name, each in sample.figures
    )
    outcomes = sorted(sample.figures.outcomes, key=lambda each: each.name)
    return models, places(sample), outcomes, dict(sample.oldest), sample.active, sample.unreadable
