"""How a batch is to be run; every field shows in the form of a Prefect deployment."""

from __future__ import annotations

from typing import Any

from pydantic import Field, ValidationInfo, field_validator

from prefect_imagine.batches.state import Phase
from prefect_imagine.errors import ConfigurationError
from prefect_imagine.providers.credits import Credits
from prefect_imagine.providers.limits.rates import Rate
from prefect_imagine.providers.models import Frozen, GenerationKind
from prefect_imagine.providers.on_refusal import FAIL, OnRefusal
from prefect_imagine.providers.prices import PriceList
from prefect_imagine.providers.registry import check_providers

SHARD_SIZE = 5000
MOST_OF_A_SHARD = 20_000
"""Items of a shard: they are held in memory while it is open."""
MOST_WORKERS = 10_000
"""Workers that share a batch."""


class BatchOptions(Frozen):
    """How a batch is to be run.

    Attributes:
        batch_id: the batch to make or resume, such as `nightly-{date}`; by default the flow run's own id.
        max_credits: stop creating before the batch costs more credits than this.
        max_credits_by_provider: the same for single providers, by name.
        allowed_failures: how many items may fail before the flow run counts as failed.
        prices: credits a generation by provider, as a `PriceList`, where the provider names none.
        rates: requests to keep below by provider, such as `60/10s`; the provider's own headers win.
        retry_failed: create again what the provider failed or refused; costs again.
        recreate_unknown: create again items of unknown fate; they may be paid twice.
        wait: wait while another process runs the batch, instead of ending as busy.
        cancel_in_flight: when cancelled, cancel at the provider what is under way, where it can.
        max_output_bytes: the largest output that is downloaded, in bytes (2 GiB).
        frozen: end with an error where the batch exists with other prompts, instead of amending it.
        shard_size: items of a batch that are planned, run and settled together.
        detach: end once everything is created; `collect` stores what ends later.
        webhook_url: the public address of a receiver, to which providers that take one with a create are
            asked to deliver the ends of jobs; by default `PREFECT_IMAGINE_WEBHOOK_URL`.
        on_refusal: what to do with what a provider refuses or fails, of prompts that do not say it: ask again
            with another seed, or elsewhere.
        timing: the protocol's waits in seconds, as a `Timing`.
    """

    batch_id: str | None = Field(
        default=None,
        description=(
            "The batch to make or resume, such as nightly-{date}; by default the flow run's own id."
        ),
    )
    max_credits: Credits | None = Field(
        default=None, ge=0, description="Stop creating before the batch costs more credits than this."
    )
    max_credits_by_provider: dict[str, Credits] = Field(
        default_factory=dict, description='The same for single providers, such as {"imaginelab": 500}.'
    )
    allowed_failures: int = Field(
        default=0, ge=0, description="How many items may fail before the flow run counts as failed."
    )
    prices: dict[str, PriceList] = Field(
        default_factory=dict,
        description=(
            "Credits per generation, by provider, where the provider names none, such as "
            '{"blockadelabs": {"default": 1}}.'
        ),
    )
    rates: dict[str, str] = Field(
        default_factory=dict,
        description=(
            'Requests to keep below, by provider, such as {"imagineapi": "60/10s"}; the provider\'s own '
            "headers win."
        ),
    )
    retry_failed: bool = Field(
        default=False, description="Create again what the provider failed or refused. This costs again."
    )
    recreate_unknown: bool = Field(
        default=False,
        description="Create again items whose fate could not be found out. They may be paid twice.",
    )
    wait: bool = Field(
        default=False, description="Wait while another process runs this batch, instead of ending as busy."
    )
    cancel_in_flight: bool = Field(
        default=False, description="When cancelled, cancel at the provider what is under way, where it can."
    )
    max_output_bytes: int = Field(
        default=2 * 1024**3, gt=0, description="The largest output that is downloaded, in bytes."
    )
    frozen: bool = Field(
        default=False,
        description="End with an error where the batch exists with other prompts, instead of amending it.",
    )
    shard_size: int = Field(
        default=SHARD_SIZE,
        ge=1,
        le=MOST_OF_A_SHARD,
        description="Items of a batch that are planned, run and settled together.",
    )
    detach: bool = Field(
        default=False,
        description="End once everything is created, and hold no worker while jobs run; collect stores them.",
    )
    webhook_url: str | None = Field(
        default=None,
        description=(
            "The public address of a receiver (prefect-imagine webhooks serve), such as "
            "https://hooks.example.com: where providers deliver the ends of jobs."
        ),
    )
    on_refusal: OnRefusal = Field(
        title="On Refusal",
        default=FAIL,
        description="What to do with what a provider refuses or fails, of prompts that do not say it.",
    )
    timing: Timing = Field(
        default_factory=lambda: Timing(),
        description="The protocol's waits. The defaults suit real providers.",
    )

    @field_validator("max_credits_by_provider", "prices", "rates")
    @classmethod
    def _of_providers(cls, value: dict[str, Any], field: ValidationInfo) -> dict[str, Any]:
        try:
            check_providers(value, field.field_name or "")
            for rate in value.values() if field.field_name == "rates" else ():
                Rate.parse(rate)
        except ConfigurationError as error:
            raise ValueError(str(error)) from error
        return value

    def limits(self, provider: str) -> bool:
        """Whether this provider's spending is limited."""
        return self.max_credits is not None or provider in self.max_credits_by_provider

    def creates_again(self, phase: Phase) -> bool:
        """Whether items that stand so are to be created once more."""
        return (phase is Phase.FAILED and self.retry_failed) or (
            phase is Phase.UNKNOWN and self.recreate_unknown
        )


class Timing(Frozen):
    """The waits that "never pays twice" rests on, and how long jobs are followed, in seconds."""

    deadline: float = Field(
        default=10.0, gt=0, description="From stamping an intent to the last moment its create may be sent."
    )
    create: float = Field(default=50.0, gt=0, description="The longest a create may take once it is sent.")
    settle: float = Field(
        default=30.0, ge=0, description="How long after accepting a job its provider's history may lag."
    )
    margin: float = Field(
        default=300.0, ge=0, description="How much older than an intent its job's own time may appear."
    )
    longest_job: float = Field(
        default=3600.0,
        gt=0,
        description="How long a run waits for a job to end; one that ends later is stored by a later run.",
    )
    longest_video: float = Field(default=7200.0, gt=0, description="The same for videos.")
    longest_by_kind: dict[GenerationKind, float] = Field(
        default_factory=dict, description='The same by kind, such as {"music": 600}; beats the two above.'
    )
    patience: float = Field(
        default=600.0, gt=0, description="How long a provider or store may be gone before the run gives up."
    )

    def longest(self, kind: GenerationKind) -> float:
        """Seconds that a run waits for a job of this kind to end."""
        usual = self.longest_video if kind is GenerationKind.VIDEO else self.longest_job
        return self.longest_by_kind.get(kind, usual)

    @property
    def absent_after(self) -> float:
        """Seconds after an intent from which on a history without its job proves that there is none."""
        return self.deadline + self.create + self.settle


BatchOptions.model_rebuild()
