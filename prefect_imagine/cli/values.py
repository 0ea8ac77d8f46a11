"""What the values of options mean, each read and checked where it is written."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from datetime import timedelta

from pydantic import ValidationError

from prefect_imagine.batches.options import Timing
from prefect_imagine.errors import ConfigurationError
from prefect_imagine.providers.credits import credits_or_none
from prefect_imagine.providers.limits.rates import Rate
from prefect_imagine.providers.prices import PriceList
from prefect_imagine.providers.registry import provider_names


def _checked(check: Callable[[str], object]) -> Callable[[str], object]:
    def convert(text: str) -> object:
        try:
            return check(text)
        except (ConfigurationError, ValueError) as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return convert


def provider_of(providers: Sequence[str], what: str) -> Callable[[str], object]:
    """Reads a provider's name, of those that can do something."""

    def read(text: str) -> str:
        if text in providers:
            return text
        allowed = f"allowed: {', '.join(providers)}"
        if text in provider_names():
            raise ConfigurationError(f"{text} does not {what}; {allowed}")
        raise ConfigurationError(f"there is no provider {text!r}; {allowed}")

    return _checked(read)


def _split_provider(text: str) -> tuple[str, str]:
    provider, _, value = text.partition("=")
    if not value or provider not in provider_names():
        raise ConfigurationError(f"{text!r} must be PROVIDER=VALUE with one of {', '.join(provider_names())}")
    return provider, value


def _read_price(text: str) -> tuple[str, PriceList]:
    name, mark, value = text.rpartition("=")
    provider, _, model = name.partition(":")
    _split_provider(f"{provider}{mark}{value}")
    amount = _read_amount(value)
    return provider, PriceList(models={model: amount}) if model else PriceList(default=amount)


def _read_rate(text: str) -> tuple[str, str]:
    provider, value = _split_provider(text)
    Rate.parse(value)
    return provider, value


def _read_amount(text: str) -> int | float:
    amount = credits_or_none(text)
    if amount is None or amount < 0:
        raise ConfigurationError(f"{text!r} is no number of credits")
    return amount


def _read_count(text: str) -> int:
    if not text.isdigit():
        raise ConfigurationError(f"{text!r} is no count")
    return int(text)


def _read_positive(text: str) -> int:
    count = _read_count(text)
    if count < 1:
        raise ConfigurationError(f"{text!r} is no count: give 1 or more")
    return count


def _read_minutes(text: str) -> timedelta:
    return timedelta(minutes=_read_time(text, "minutes"))


def _read_refresh(text: str) -> float:
    try:
        return _read_time(text, "seconds")
    except ConfigurationError as error:
        raise ConfigurationError(f"{error}; BATCH goes before --watch") from error


def _read_time(text: str, unit: str) -> float:
    amount = credits_or_none(text)
    if amount is None or not 0 < amount <= 1_000_000:
        raise ConfigurationError(f"{text!r} is no number of {unit}")
    return float(amount)


def _read_limit(text: str) -> tuple[str | None, Rate]:
    if "=" not in text:
        return None, Rate.parse(text)
    provider, value = _split_provider(text)
    return provider, Rate.parse(value)


def _read_port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise ConfigurationError(f"{text!r} is no port")
    return int(text)


def _read_timing(text: str) -> dict[str, float]:
    pairs = [part.partition("=") for part in text.split(",")]
    try:
        return Timing.model_validate({name: value for name, _, value in pairs}).model_dump(exclude_unset=True)
    except ValidationError as error:
        names = ", ".join(Timing.model_fields)
        raise ConfigurationError(f"{text!r} must be name=seconds,… with names of {names}") from error


price = _checked(_read_price)
rate = _checked(_read_rate)
pair = _checked(_split_provider)
amount = _checked(_read_amount)
count = _checked(_read_count)
port = _checked(_read_port)
timing = _checked(_read_timing)
positive = _checked(_read_positive)
minutes = _checked(_read_minutes)
refresh = _checked(_read_refresh)
limit = _checked(_read_limit)
