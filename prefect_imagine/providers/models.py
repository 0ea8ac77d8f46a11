"""What is asked of a provider and what it answers, in one vocabulary for all four."""

from __future__ import annotations

import hashlib
import json
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from prefect_imagine.providers.credits import Credits


class Frozen(BaseModel):
    """A value: immutable, and strict about names it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class GenerationKind(StrEnum):
    """What is generated."""

    IMAGE = "image"
    VIDEO = "video"
    VOICE = "voice"
    MUSIC = "music"
    INFOGRAPHIC = "infographic"
    TEXT = "text"


class GenerationStatus(StrEnum):
    """Where a generation stands. A wire status nobody knows is RUNNING: only known ends are ends."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Whether the provider will do no more."""
        return self in _TERMINAL


_TERMINAL = frozenset({GenerationStatus.SUCCEEDED, GenerationStatus.FAILED, GenerationStatus.CANCELLED})


COMMON_SETTINGS = ("seed", "negative_prompt", "aspect_ratio", "duration")
"""Settings that mean the same for every provider that has them."""


class GenerationRequest(Frozen):
    """What is asked.

    `seed`, `negative_prompt`, `aspect_ratio` and `duration` (seconds) mean the same for every provider
    that has them, and may be given as arguments of their own.

    Attributes:
        provider: its name.
        kind: what is to be generated.
        model: the model or generator; the provider's first where there is none.
        prompt: what to generate.
        settings: everything else that shapes the result; names beyond the four above are the provider's own.
        labels: what the bill is broken down by.
    """

    provider: str
    kind: GenerationKind = GenerationKind.IMAGE
    model: str | None = None
    prompt: str
    settings: dict[str, Any] = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)

    if TYPE_CHECKING:  # what pydantic and its plugin derive from the fields lacks the common settings

        def __init__(
            self,
            *,
            provider: str,
            kind: GenerationKind | str = GenerationKind.IMAGE,
            model: str | None = None,
            prompt: str,
            seed: int | None = None,
            negative_prompt: str | None = None,
            aspect_ratio: str | None = None,
            duration: float | None = None,
            settings: dict[str, Any] = ...,
            labels: dict[str, str] = ...,
        ) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _common_into_settings(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.keys().isdisjoint(COMMON_SETTINGS):
            return values
        settings = dict(values.get("settings") or {})
        for name in COMMON_SETTINGS:
            value = values.get(name)
            if value is not None and settings.setdefault(name, value) != value:
                raise ValueError(f"{name} is {value!r}, and {settings[name]!r} in settings: give it once")
        others = {name: value for name, value in values.items() if name not in COMMON_SETTINGS}
        return {**others, "settings": settings}

    @property
    def fingerprint(self) -> str:
        """A stable hash of everything that shapes the result; labels do not."""
        return digest(self.model_dump(mode="json", exclude={"labels"}))


def digest(value: Any) -> str:
    """The sha256 (hex) of a JSON value in its canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


# Thousands are held at once, and a pydantic model takes ten times as much memory.
@dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Output:
    """One file or text of a generation; once stored, also where it is and what it weighs.

    Attributes:
        url: where the provider offers it, until it expires; or a `data:` URL, which holds it.
        text: the text itself, for outputs that are no file.
        media_type: as sniffed from the content.
        key: its place in the store, below the batch.
        bytes: its size.
        sha256: hex digest of its bytes.
        thumbnail: a smaller picture's place in the store, below the batch, where a large one has such.
    """

    url: str | None = None
    text: str | None = None
    media_type: str | None = None
    key: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    thumbnail: str | None = None

    @property
    def inline(self) -> bool:
        """Whether the address itself holds the file."""
        return self.url is not None and self.url.startswith("data:")


class Generation(Frozen):
    """What a provider says of one job, normalised.

    Attributes:
        provider: its name.
        id: the provider's id of the job.
        status: where it stands.
        kind: what it generates.
        model: the model or generator.
        prompt: as the record shows it; `None` where it does not.
        correlator: our own mark on the job, where the provider takes and echoes one.
        echoed_seed: the seed as the record shows it.
        outputs: what it has made.
        credits: what the provider says it charged; `None` where it does not say.
        error: why it failed, in the provider's words.
        created_at: when the job was created.
        finished_at: when it ended.
        provider_status: the status as it came.
        raw: the record as it came.
    """

    provider: str
    id: str
    status: GenerationStatus
    kind: GenerationKind | None = None
    model: str | None = None
    prompt: str | None = None
    correlator: str | None = None
    echoed_seed: str | None = None
    outputs: tuple[Output, ...] = ()
    credits: Credits | None = None
    error: str | None = None
    created_at: datetime | None = None
    finished_at: datetime | None = None
    provider_status: str = ""
    raw: dict[str, Any] = Field(default_factory=dict, repr=False)

    @property
    def lasted(self) -> float | None:
        """Seconds from creation to end, where the record has both."""
        if self.created_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.created_at).total_seconds()


class HistoryPage(Frozen):
    """One page of a provider's history, newest first where the provider keeps an order.

    Attributes:
        end: whether nothing older exists. `False` on the last page means that the provider showed no
            more although there may be more.
        newest_first: whether the page is in descending order of creation.
    """

    generations: tuple[Generation, ...]
    end: bool = False
    newest_first: bool = True


class ModelInfo(Frozen):
    """A model or generator, and what one generation of it costs where the provider says so.

    Attributes:
        provider: its name.
        id: what prompts and options call the model by.
        name: the provider's name of it, for people.
        kind: what it generates; `None` where the provider does not say.
        credits: what one generation costs; `None` where the provider does not say.
        parameters: the provider's own schema of the settings, where it publishes one.
    """

    provider: str
    id: str
    name: str = ""
    kind: GenerationKind | None = None
    credits: Credits | None = None
    parameters: dict[str, Any] | None = None


class Balance(Frozen):
    """Credits left on an account.

    Attributes:
        provider: its name.
        credits: what is left.
    """

    provider: str
    credits: Credits


class Package(Frozen):
    """Credits on sale."""

    provider: str
    name: str
    credits: Credits | None = None
    price: str | None = None
    raw: dict[str, Any] = Field(default_factory=dict, repr=False)


class ServiceStatus(Frozen):
    """Whether a provider says it is in service. `raw`: the record as it came, where it is one."""

    provider: str
    healthy: bool
    detail: str = ""
    raw: dict[str, Any] = Field(default_factory=dict, repr=False)


Currency = Annotated[str, Field(pattern="^[A-Z]{3}$")]
"""A currency's code of three letters, as ISO 4217 has them."""
PerCredit = Annotated[Decimal, Field(gt=0, max_digits=10)]
"""What a credit costs: in ten digits at most, so that any number of credits costs an exact amount."""


class CreditPrice(Frozen):
    """What one credit costs.

    Attributes:
        currency: three letters.
        per_credit: units of the currency.
        as_of: the day on which that held; `None` where nobody says.
        source: who says so: the price list that held when an item was planned, the provider, or whoever gave
            it to a report afterwards, for items that were planned without.
    """

    currency: Currency
    per_credit: PerCredit
    as_of: date | None = None
    source: Literal["list", "provider", "given"] = "list"


class Estimate(Frozen):
    """What one generation is expected to cost.

    Attributes:
        credits: `None` without a price.
        source: `catalog`, `price list` or `unpriced`.
        credit_price: what a credit costs in money, where that is known.
    """

    credits: Credits | None
    source: str
    credit_price: CreditPrice | None = Field(default=None, exclude_if=lambda price: price is None)


class Mark(StrEnum):
    """What of ours a provider's records show, by which one of them is known to answer a create."""

    NONE = "none"
    ECHOED = "echoed"
    """A field that it takes with the create and gives back as it came: `Generation.correlator`."""
    CLIENT_ID = "client id"
    """The job's id itself, which the client chooses: `ProviderClient.chosen_id`."""


class Capabilities(Frozen):
    """Which calls a provider has.

    Attributes:
        history: whether a job can be found whose create was not answered: in a list of the account's jobs,
            or by an id that the client chose. Where it cannot, such a create's fate stays unknown.
        mark: what of ours its records show.
        webhooks: whether it can be told to send events to an address.
        credits_on_create: whether its records report what a generation cost.
    """

    kinds: frozenset[GenerationKind]
    models: bool = False
    balance: bool = False
    packages: bool = False
    cancel: bool = False
    delete: bool = False
    status: bool = False
    webhooks: bool = False
    credits_on_create: bool = False
    history: bool = True
    mark: Mark = Mark.NONE
