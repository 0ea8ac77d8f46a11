"""Options and arguments that several commands share: their types, values and help."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Annotated

from cyclopts import ArgumentCollection, Group, Parameter

from prefect_imagine.batches.options import Timing
from prefect_imagine.cli import values
from prefect_imagine.cli.values import each, one
from prefect_imagine.providers.models import Capabilities
from prefect_imagine.providers.prices import PriceList
from prefect_imagine.providers.registry import provider_names, providers_with

DEFAULT_OUTPUT = "./outputs"


def value(read: Callable[[str], object], metavar: str | None = None) -> Parameter:
    """An option with one value; of several, the last counts."""
    return Parameter(converter=one(read), n_tokens=1, accepts_keys=False, metavar=metavar)


def values_of(read: Callable[[str], object], metavar: str) -> Parameter:
    """An option that may be repeated."""
    return Parameter(converter=each(read), n_tokens=1, accepts_keys=False, metavar=metavar)


def choice(what: str, names: Iterable[str], metavar: str, help: str) -> Parameter:
    """An option whose value is one of these names."""
    listed = ", ".join(names)
    return Parameter(converter=one(values.one_of(what, names)), metavar=metavar, help=f"{help}: {listed}")


def any_provider(help: str) -> Parameter:
    """One of all providers; written in a signature, it is evaluated when a command line is read."""
    return Parameter(
        converter=one(values.provider), metavar="P", help=f"{help}: {', '.join(provider_names())}"
    )


def provider_with(able: Callable[[Capabilities], bool], what: str) -> Parameter:
    """One of the providers that can do something, such as "list models"."""
    names = ", ".join(providers_with(able))
    return Parameter(converter=one(values.provider_with(able, what)), help=f"of those that {what}: {names}")


def _one_at_most(arguments: ArgumentCollection) -> None:
    given = [argument.name for argument in arguments.filter_by(value_set=True)]
    if len(given) > 1:
        raise ValueError(f"{given[0]} does not go with {given[1]}")


def alternatives() -> Group:
    """A group of options of which one at most is given."""
    return Group(validator=_one_at_most)


Batch = Annotated[str, Parameter(help="an id under --output, or the batch's path or address")]
BatchOrAll = Annotated[
    str | None,
    Parameter(help="an id under --output, or the batch's path or address; without one, all under --output"),
]
Output = Annotated[str, Parameter(name="--output", metavar="DIR|s3://…", help="where the batches are")]
Credentials = Annotated[
    tuple[tuple[str, str], ...],
    values_of(values.pair, "P=BLOCK"),
    Parameter(help="a credentials block instead of the environment's key"),
]
Providers = Annotated[tuple[str, ...], values_of(values.provider, "P")]
Why = Annotated[
    str, value(values.words, "TEXT"), Parameter(help="what status and journal say of it", show_default=False)
]
CreditPrices = Annotated[
    tuple[tuple[str, PriceList], ...], values_of(values.credit_price, "P=0.01EUR[@DATE]")
]
Json = Annotated[bool, Parameter(help="the last line of stdout is one JSON object")]


@dataclass(frozen=True)
class RunOptions:
    """How a batch is run.

    Attributes:
        max_credits: stop creating before this is passed.
        price: credits a generation.
        credit_price: what a credit costs in money, of what is planned from now on.
        rate: requests to keep below.
        retry_failed: create again what failed; costs again.
        recreate_unknown: create again what may have been created already.
        wait: wait while another process runs the batch, a day at most.
        allowed_failures: more let the flow run, or collect, count as failed; the exit code tells any.
        detach: end once everything is created; collect stores what ends later.
        fleet: have the workers of this Prefect work pool run the batch's shards, and end.
        workers: how many share it; default: those of the pool that are online.
        webhook_url: where a receiver can be reached (webhooks serve).
        timing: seconds of the protocol: deadline, create, settle, margin, longest_job,
            longest_video, patience.
        verbose: log every decision.
    """

    max_credits: Annotated[int | float | None, value(values.amount, "N")] = None
    price: Annotated[tuple[tuple[str, PriceList], ...], values_of(values.price, "P[:MODEL]=N")] = ()
    credit_price: CreditPrices = ()
    rate: Annotated[tuple[tuple[str, str], ...], values_of(values.rate, "P=60/10s")] = ()
    retry_failed: bool = False
    recreate_unknown: bool = False
    wait: bool = False
    allowed_failures: Annotated[int, value(values.count, "N")] = 0
    detach: bool = False
    fleet: Annotated[str | None, value(values.words, "POOL")] = None
    workers: Annotated[int | None, value(values.workers, "N")] = None
    webhook_url: Annotated[str | None, value(values.web_address, "URL")] = None
    timing: Annotated[Timing, value(values.timing, "K=S,…"), Parameter(show_default=False)] = field(
        default_factory=Timing
    )
    verbose: bool = False


DEFAULT_RUN = RunOptions()
Run = Annotated[RunOptions, Parameter(name="*")]
