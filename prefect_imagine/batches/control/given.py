"""The limits that the last run of a batch was given: whoever gives the next one others takes back what
commands have set meanwhile."""

from __future__ import annotations

from pydantic import Field, ValidationError

from prefect_imagine.providers.credits import Credits
from prefect_imagine.providers.models import Frozen
from prefect_imagine.stores import Store


class GivenLimits(Frozen):
    """What a run that creates was given.

    Attributes:
        max_credits: what the batch may cost, in all.
        max_credits_by_provider: and with single providers.
        set_after: of commands up to this one, those that set limits are void.
    """

    max_credits: Credits | None = None
    max_credits_by_provider: dict[str, Credits] = Field(default_factory=dict)
    set_after: int = 0

    @property
    def any(self) -> bool:
        """Whether it was given any limit."""
        return self.max_credits is not None or bool(self.max_credits_by_provider)

    def then(self, limits: GivenLimits, seen: int) -> GivenLimits:
        """These limits as the ones of the next run: where they are others, those are void that commands up to
        the one with the number `seen` have set."""
        same = (limits.max_credits, limits.max_credits_by_provider) == (
            self.max_credits,
            self.max_credits_by_provider,
        )
        kept = same or not limits.any
        return limits.model_copy(update={"set_after": self.set_after if kept else seen})


def read_given(store: Store, batch_id: str) -> GivenLimits | None:
    """What the last run of a batch was given; `None` where none has written it down. Raises `StoreError`."""
    try:
        return GivenLimits.model_validate_json(store.read(_key(batch_id)) or b"")
    except ValidationError:
        return None


def write_given(store: Store, batch_id: str, given: GivenLimits) -> None:
    """Write down what a run is given, before it creates anything. Raises `StoreError`."""
    data = given.model_dump_json(exclude_defaults=True).encode()
    store.put(_key(batch_id), data, "application/json")


def _key(batch_id: str) -> str:
    return f"{batch_id}/limits.json"
