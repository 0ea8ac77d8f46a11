"""What the values of options mean, each read and checked where it is written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import TypeVar
from zoneinfo import ZoneInfo

from cyclopts import CoercionError, Token
from pydantic import ValidationError

from prefect_imagine.batches.control.commands import MOST_WORDS
from prefect_imagine.batches.options import MOST_OF_A_SHARD, MOST_WORKERS, Timing
from prefect_imagine.clock import zone_of
from prefect_imagine.errors import ConfigurationError
from prefect_imagine.providers.credits import credits_or_none
from prefect_imagine.providers.limits.rates import Rate
from prefect_imagine.providers.models import Capabilities, GenerationKind
from prefect_imagine.providers.names import nearest
from prefect_imagine.providers.on_refusal import OnRefusal, what_is_wrong
from prefect_imagine.providers.prices import PriceList
from prefect_imagine.providers.registry import provider_names, providers_with, spec_of
from prefect_imagine.providers.transport.http import check_base_url

Value = TypeVar("Value")
MOST_DAYS = 36_500
_MONEY = re.compile(r"(?P<per_credit>[0-9.]+) ?(?P<currency>[A-Za-z]+)(?:@(?P<as_of>.+))?")


def one(read: Callable[[str], Value]) -> Callable[[object, Sequence[Token]], Value]:
    """Converts what is given for an option with one value."""

    def convert(_type: object, tokens: Sequence[Token]) -> Value:
        return _checked(read, tokens[-1])

    return convert


def each(read: Callable[[str], Value]) -> Callable[[object, Sequence[Token]], tuple[Value, ...]]:
    """Converts what is given for an option that may be repeated."""

    def convert(_type: object, tokens: Sequence[Token]) -> tuple[Value, ...]:
        return tuple(_checked(read, token) for token in tokens)

    return convert


def _checked(read: Callable[[str], Value], token: Token) -> Value:
    try:
        return read(token.value)
    except (ConfigurationError, ValueError) as error:
        raise CoercionError(msg=str(error), token=token) from error


def one_of(what: str, names: Iterable[str]) -> Callable[[str], str]:
    """Reads one of these names."""

    def read(text: str) -> str:
        if text not in names:
            raise ConfigurationError(f"there is no {what} {text!r}; {nearest(text, names)}")
        return text

    return read


def provider(text: str) -> str:
    """The name of a provider."""
    return spec_of(text).name


def provider_with(able: Callable[[Capabilities], bool], what: str) -> Callable[[str], str]:
    """Reads the name of a provider, of those that can do something."""

    def read(text: str) -> str:
        names = providers_with(able)
        if spec_of(text, names).name not in names:
            raise ConfigurationError(f"{text} does not {what}; allowed: {', '.join(names)}")
        return text

    return read


def prompts(text: str) -> str:
    """Where prompts are; `-`, for standard input, is the only such name that begins with a dash."""
    if text.startswith("-") and text != "-":
        raise ConfigurationError(f"there is no option {text}")
    return text


def on_refusal(text: str) -> OnRefusal:
    """What to do with what a provider refuses."""
    try:
        return OnRefusal.model_validate(text)
    except ValidationError as error:
        raise ValueError(what_is_wrong(error)) from error


def pair(text: str) -> tuple[str, str]:
    """`PROVIDER=VALUE`."""
    name, _, value = text.partition("=")
    if not value or name not in provider_names():
        raise ConfigurationError(f"{text!r} must be PROVIDER=VALUE with one of {', '.join(provider_names())}")
    return name, value


def price(text: str) -> tuple[str, PriceList]:
    """`PROVIDER=CREDITS`, or `PROVIDER:MODEL=CREDITS`."""
    name, mark, value = text.rpartition("=")
    provider, _, model = name.partition(":")
    pair(f"{provider}{mark}{value}")
    credits = amount(value)
    return provider, PriceList(models={model: credits}) if model else PriceList(default=credits)


def credit_price(text: str) -> tuple[str, PriceList]:
    """`PROVIDER=0.01EUR`, or `PROVIDER=0.01EUR@2026-11-01` with the day on which that held."""
    name, value = pair(text)
    found = _MONEY.fullmatch(value)
    if found is None:
        raise ConfigurationError(f"{text!r} must be PROVIDER=AMOUNT with a currency, such as {name}=0.01EUR")
    try:
        return name, PriceList.model_validate(found.groupdict())
    except ValidationError as error:
        wrong = "; ".join(f"{each['loc'][0]}: {each['msg']}" for each in error.errors())
        raise ConfigurationError(f"{text!r} is no price of a credit: {wrong}") from error


def rate(text: str) -> tuple[str, str]:
    """`PROVIDER=REQUESTS/TIME`."""
    name, value = pair(text)
    Rate.parse(value)
    return name, value


def credits_of(text: str) -> tuple[str, int | float]:
    """`PROVIDER=CREDITS`."""
    name, value = pair(text)
    return name, amount(value)


def label(text: str) -> tuple[str, str]:
    """`LABEL=VALUE`."""
    name, mark, value = text.partition("=")
    if not (name and mark):
        raise ConfigurationError(f"{text!r} must be LABEL=VALUE")
    return name, value


def limit(text: str) -> tuple[str | None, Rate]:
    """`REQUESTS/TIME`, with or without a provider before it."""
    if "=" not in text:
        return None, Rate.parse(text)
    name, value = pair(text)
    return name, Rate.parse(value)


def amount(text: str) -> int | float:
    """A number of credits."""
    credits = credits_or_none(text)
    if credits is None or credits < 0:
        raise ConfigurationError(f"{text!r} is no number of credits")
    return credits


def count(text: str) -> int:
    """A whole number, 0 or more."""
    if not text.isdigit():
        raise ConfigurationError(f"{text!r} is no count")
    return int(text)


def positive(text: str) -> int:
    """A whole number, 1 or more."""
    number = count(text)
    if number < 1:
        raise ConfigurationError(f"{text!r} is no count: give 1 or more")
    return number


def shard_size(text: str) -> int:
    """How many items a shard may have."""
    return _at_most(text, MOST_OF_A_SHARD)


def workers(text: str) -> int:
    """How many workers a pool may have."""
    return _at_most(text, MOST_WORKERS)


def _at_most(text: str, most: int) -> int:
    number = positive(text)
    if number > most:
        raise ConfigurationError(f"{text!r} is too large: give at most {most}")
    return number


def minutes(text: str) -> timedelta:
    """A time in minutes."""
    return timedelta(minutes=_time(text, "minutes"))


def refresh(text: str) -> float:
    """The seconds between two looks at a batch."""
    try:
        return _time(text, "seconds")
    except ConfigurationError as error:
        raise ConfigurationError(f"{error}; BATCH goes before --watch") from error


def _time(text: str, unit: str) -> float:
    amount = credits_or_none(text)
    if amount is None or not 0 < amount <= 1_000_000:
        raise ConfigurationError(f"{text!r} is no number of {unit}")
    return float(amount)


def port(text: str) -> int:
    """A TCP port; 0 for a free one."""
    if not text.isdigit() or int(text) > 65535:
        raise ConfigurationError(f"{text!r} is no port")
    return int(text)


def days(text: str) -> float:
    """A number of days above 0."""
    try:
        found = float(text)
    except ValueError as error:
        raise ConfigurationError(f"{text!r} is no number of days") from error
    if not 0 < found <= MOST_DAYS:
        raise ConfigurationError(f"days are above 0, and at most {MOST_DAYS}")
    return found


def time_zone(text: str) -> ZoneInfo:
    """A time zone by its name."""
    return zone_of(text)


def zone_name(text: str) -> str:
    """The name of a time zone."""
    return zone_of(text).key


def words(text: str) -> str:
    """What people say of something, on one line."""
    if len(text) > MOST_WORDS:
        raise ConfigurationError(f"give at most {MOST_WORDS} characters")
    return " ".join(text.split())


def web_address(text: str) -> str:
    """The address of a server."""
    return check_base_url("webhooks", text)


def deadline(text: str) -> tuple[GenerationKind, float]:
    """Seconds by kind, such as `video=10800`."""
    kind, _, seconds = text.partition("=")
    try:
        found = GenerationKind(kind), float(seconds)
    except ValueError as error:
        kinds = ", ".join(each.value for each in GenerationKind)
        raise ConfigurationError(f"{text!r} must be kind=seconds, with a kind of {kinds}") from error
    if not found[1] > 0:
        raise ConfigurationError(f"{text!r}: seconds are above 0")
    return found


def timing(text: str) -> Timing:
    """Seconds by name, such as `deadline=60,settle=5`."""
    pairs = [part.partition("=") for part in text.split(",")]
    try:
        return Timing.model_validate({name: value for name, _, value in pairs})
    except ValidationError as error:
        names = ", ".join(name for name in Timing.model_fields if name != "longest_by_kind")
        raise ConfigurationError(f"{text!r} must be name=seconds,… with names of {names}") from error
