"""A budget: so many credits of a provider a day, week, month or in total, over all batches under a root.

All of a root are one object, `.imagine/budgets.json`: everyone who creates reads it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Literal
from uuid import uuid4

from pydantic import Field, ValidationError, field_validator

from prefect_imagine.billing.budgets.periods import Period, PeriodKind, period_of
from prefect_imagine.clock import zone_of
from prefect_imagine.errors import ConfigurationError, StoreError
from prefect_imagine.providers.credits import Credits
from prefect_imagine.providers.models import Frozen
from prefect_imagine.stores import Store
from prefect_imagine.stores.change import change_object

BUDGETS = ".imagine/budgets.json"
MOST_BUDGETS = 100
MOST_CREDITS = 10**12
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Budget(Frozen):
    """What may be spent in a period.

    Attributes:
        name: letters, digits, `.`, `_` and `-`.
        limits: credits a period by provider; other providers are not limited by it.
        period: day, week, month, or total.
        time_zone: whose days are meant.
        labels: it counts only items that have all of these.
        set_at: when it was set last.
    """

    name: str
    limits: dict[str, Credits] = Field(min_length=1)
    period: PeriodKind
    time_zone: str = "UTC"
    labels: dict[str, str] = Field(default_factory=dict)
    set_at: datetime

    @field_validator("name")
    @classmethod
    def _may_be_name(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError("a name has 1 to 64 letters, digits, dots, dashes or underscores")
        return value

    @field_validator("limits")
    @classmethod
    def _not_negative(cls, value: dict[str, Credits]) -> dict[str, Credits]:
        for provider, limit in value.items():
            if not 0 <= limit <= MOST_CREDITS:
                raise ValueError(f"the limit of {provider} is below 0, or above {MOST_CREDITS:,}")
        return value

    @field_validator("time_zone")
    @classmethod
    def _may_be_zone(cls, value: str) -> str:
        try:
            zone_of(value)
        except ConfigurationError as error:
            raise ValueError(str(error)) from error
        return value

    def concerns(self, provider: str, labels: Mapping[str, str]) -> bool:
        """Whether it limits what an item with these labels costs."""
        return provider in self.limits and all(
            labels.get(label) == value for label, value in self.labels.items()
        )

    def period_of(self, at: datetime) -> Period:
        """The period that a moment belongs to."""
        return period_of(self.period, zone_of(self.time_zone), at)

    @property
    def key(self) -> str:
        """Names what it counts, whatever its limits are: one that counts otherwise begins anew."""
        counts = [self.period, self.time_zone, sorted(self.labels.items()), sorted(self.limits)]
        return f"{self.name}~{hashlib.sha256(json.dumps(counts).encode()).hexdigest()[:12]}"


class _Budgets(Frozen):
    """The object.

    Attributes:
        budgets: by name.
        write: tells it from what others have written.
    """

    format: Literal[1]
    budgets: tuple[Budget, ...] = ()
    write: str = ""


def read_budgets(store: Store) -> tuple[Budget, ...]:
    """All budgets of a root, by name. Raises `StoreError`, also where they cannot be read: nobody may spend
    what they might forbid."""
    return _parsed(store, store.read(BUDGETS))


def set_budget(store: Store, budget: Budget) -> None:
    """Set a budget, in place of one of its name. Raises `StoreError`, and `ConfigurationError` where there
    are too many."""

    def with_it(known: tuple[Budget, ...]) -> tuple[Budget, ...]:
        others = [each for each in known if each.name != budget.name]
        if len(others) >= MOST_BUDGETS:
            raise ConfigurationError(f"{store.address} has {len(others)} budgets: remove one first")
        return tuple(sorted([*others, budget], key=lambda each: each.name))

    _change(store, with_it)


def remove_budget(store: Store, name: str) -> bool:
    """Remove a budget; whether there was one. What was counted stays. Raises `StoreError`."""
    found = False

    def without_it(known: tuple[Budget, ...]) -> tuple[Budget, ...]:
        nonlocal found
        found = any(each.name == name for each in known)
        return tuple(each for each in known if each.name != name)

    _change(store, without_it)
    return found


def _change(store: Store, change: Callable[[tuple[Budget, ...]], tuple[Budget, ...]]) -> None:
    def changed(data: bytes | None) -> bytes:
        written = _Budgets(format=1, budgets=change(_parsed(store, data)), write=uuid4().hex)
        return written.model_dump_json().encode()

    change_object(store, BUDGETS, changed)


def _parsed(store: Store, data: bytes | None) -> tuple[Budget, ...]:
    if data is None:
        return ()
    try:
        return _Budgets.model_validate_json(data).budgets
    except ValidationError as error:
        raise StoreError(
            f"{store.address}/{BUDGETS} cannot be read, so nothing may be created: is it of a later version?"
        ) from error
