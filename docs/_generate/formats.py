"""The files of a batch and of its root, from the models that they are written with."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import get_args

from docs._generate.fields import Model, model_section
from docs._generate.markdown import Page, blocks
from docs._generate.modules import all_modules
from prefect_imagine import batches
from prefect_imagine.batches import inbox, plan, records
from prefect_imagine.batches.accounts import learned
from prefect_imagine.batches.accounts.record import AccountRecord
from prefect_imagine.batches.approvals import Approval, ApprovedLine, ApprovedShard, Changes
from prefect_imagine.batches.control.commands import Command
from prefect_imagine.batches.lease import LeaseRecord
from prefect_imagine.batches.options import BatchOptions, Timing
from prefect_imagine.batches.origin import Origin
from prefect_imagine.batches.process_identity import ProcessIdentity
from prefect_imagine.batches.submission import Submission
from prefect_imagine.billing.costs import ItemCost
from prefect_imagine.billing.outcomes import Outcomes
from prefect_imagine.billing.settlement import Settlement, Spent
from prefect_imagine.billing.usage import BalanceChange, Usage, UsageLine
from prefect_imagine.providers.models import Estimate, Frozen, GenerationRequest, Output
from prefect_imagine.reports.manifest import ManifestItem
from prefect_imagine.webhooks.counts import DeliveryCounts, Lag

FILES: tuple[tuple[str, str, tuple[Model, ...]], ...] = (
    ("manifest.jsonl", "What became of each item, a line an item.", (ManifestItem, ItemCost, Output)),
    ("usage.json", "The bill of the batch.", (Usage, UsageLine, BalanceChange)),
    ("batch.json", "Where the batch comes from.", (Origin,)),
    ("plan.jsonl", "What a shard is to hold, a line an item.", (plan.PlanLine, GenerationRequest, Estimate)),
    (
        "journal/<seq>.jsonl",
        "What has happened to the items of a shard, a line a record, in segments that are never changed. "
        "Each line ends with a field `crc`: the CRC-32 (hex) of what stands before it. A record of an "
        "unknown kind is an error.",
        (records.Header, records.Claim, *get_args(records.AnyItemRecord)),
    ),
    ("settled.json", "A shard of which every item is final, in one object.", (Settlement, Spent, Outcomes)),
    ("lease.json", "Which process runs a shard, and that it lives.", (LeaseRecord, ProcessIdentity)),
    ("control/<n>.json", "Commands to whoever runs the batch.", (Command,)),
    (
        "approvals/<n>.json",
        "What a person has approved of the batch; the last one counts.",
        (Approval, Changes, ApprovedLine, ApprovedShard),
    ),
    ("submission.json", "What a run that let its jobs go leaves to `collect`.", (Submission,)),
    (
        ".imagine/inbox/<batch>~….json",
        "Of the root: deliveries of webhooks that nobody has taken in yet, and `receiver.json`.",
        (inbox.Delivery, inbox.ReceiverState),
    ),
    (
        ".imagine/deliveries.json",
        "Of the root: what receivers of webhooks have taken in, ever.",
        (DeliveryCounts, Lag),
    ),
    (
        ".imagine/accounts/<key>.json",
        "Of the root: what all processes have sent with a key, and its limit and balance.",
        (AccountRecord,),
    ),
    (
        ".imagine/rates/<key>.json",
        "Of the root: what has been learned of a key's limits.",
        (learned.LearnedLimits, learned.Latency),
    ),
)


def stored_models() -> Iterator[Model]:
    """All that the package of batches has models of, but for the options and for what only others extend."""
    for module in all_modules():
        if module.__name__.startswith(f"{batches.__name__}."):
            for each in vars(module).values():
                if inspect.isclass(each) and issubclass(each, Frozen) and each.__module__ == module.__name__:
                    yield from () if each.__subclasses__() or each in (BatchOptions, Timing) else (each,)


def format_page() -> Page:
    """Each file with the models that it holds."""
    intro = (
        "`manifest.jsonl` and `usage.json` are made to be read by others, and gain fields only. All else is "
        "the package's own, and described so that a batch can be understood without it. Names of files count "
        "from the batch's folder; `plan.jsonl`, `journal/`, `lease.json` and `settled.json` of the second "
        "shard and later ones lie in `shards/<n>/`. Times are in UTC, and credits are the provider's own."
    )
    named = {model for _, _, models in FILES for model in models}
    others = [model for model in stored_models() if model not in named]
    return Page("formats", "File formats", blocks(intro, *(_file(*each) for each in FILES), _others(others)))


def _file(key: str, holds: str, models: Sequence[Model]) -> str:
    title = key if key.isalpha() else f"`{key}`"  # parts of names stand in angle brackets
    return blocks(f"## {title}", holds, *(model_section(model, 3) for model in models))


def _others(models: Sequence[Model]) -> str:
    return _file("Others", "What else is kept of batches, or of their root.", models) if models else ""
