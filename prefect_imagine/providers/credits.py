"""Credits: amounts of a provider's own currency, added without binary rounding."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema


def credits_or_none(value: Any) -> int | float | None:
    """An amount as the wire gives it (number or numeric string), or `None` if it is none."""
    if value is None or isinstance(value, bool):
        return None
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return None
    return _plain(amount) if amount.is_finite() else None


def add_credits(amounts: Iterable[int | float | Decimal]) -> int | float:
    """The exact decimal sum; a whole number where it is one."""
    return _plain(sum((Decimal(str(amount)) for amount in amounts), Decimal(0)))


def _plain(amount: Decimal) -> int | float:
    return int(amount) if amount == amount.to_integral_value() else float(amount)


def _validate(value: Any) -> Any:
    return value if (amount := credits_or_none(value)) is None else amount


Credits = Annotated[int | float, BeforeValidator(_validate), WithJsonSchema({"type": "number"})]
"""An amount of credits."""
