"""What is to be done with a generation that its provider refuses, or fails."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

from pydantic import Field, ValidationError, field_validator, model_validator

from prefect_imagine.errors import ConfigurationError
from prefect_imagine.providers.models import Frozen
from prefect_imagine.providers.registry import check_providers

MOST_RESEEDS = 10
MOST_FALLBACKS = 10
_RULE = re.compile(r"\s*(\w+)\s*(?:[:=]|\s)\s*(.*)", re.DOTALL)


class OnRefusal(Frozen):
    """What is to be done with what a provider refuses, or fails: by default, nothing.

    Each attempt is made when the one before has ended for good, and costs what it costs. As text:
    `fail`, `reseed: 2`, `fallback: [blockadelabs, imagineapi:mj-6]`, or several with `;` between them.

    Attributes:
        reseed: how often it is asked for again at the same provider, each time with a new seed where it has
            one.
        fallback: where it is asked for after that, one after the other: `provider`, or `provider:model`.
        moderation: whether that holds also for what is refused because of what it asks for.
    """

    reseed: int = Field(
        default=0,
        ge=0,
        le=MOST_RESEEDS,
        description="How often to ask the same provider again, with a new seed where it has one.",
    )
    fallback: tuple[str, ...] = Field(
        default=(),
        max_length=MOST_FALLBACKS,
        description="Where to ask after that, one after the other: provider, or provider:model.",
    )
    moderation: bool = Field(
        default=False,
        description="Do the same with what is refused because of what it asks for (moderation).",
    )

    @model_validator(mode="before")
    @classmethod
    def _of_text(cls, value: Any) -> Any:
        return _parsed(value) if isinstance(value, str) else {} if value is None else value

    @field_validator("fallback", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("fallback")
    @classmethod
    def _of_providers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            check_providers([split_fallback(each)[0] for each in value], "fallback")
        except ConfigurationError as error:
            raise ValueError(str(error).removeprefix("fallback: ")) from error
        return value

    @model_validator(mode="after")
    def _moderation_of_something(self) -> OnRefusal:
        if self.moderation and not self:
            raise ValueError("moderation says when to reseed or fall back: give reseed or fallback with it")
        return self

    @property
    def providers(self) -> list[str]:
        """Those named by `fallback`, in order."""
        return [split_fallback(each)[0] for each in self.fallback]

    def without(self, providers: Collection[str]) -> OnRefusal:
        """The same, but for fallbacks at these providers."""
        if not self.fallback:
            return self
        kept = tuple(each for each in self.fallback if split_fallback(each)[0] not in providers)
        moderation = self.moderation and bool(self.reseed or kept)
        return OnRefusal(reseed=self.reseed, fallback=kept, moderation=moderation)

    def __bool__(self) -> bool:
        return bool(self.reseed or self.fallback)


FAIL = OnRefusal()
"""It stays failed."""


def what_is_wrong(error: ValidationError) -> str:
    """What is wrong with a rule, in a sentence."""
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ")
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {message}" if where else message


def split_fallback(value: str) -> tuple[str, str | None]:
    """Provider and model of `provider[:model]`."""
    provider, _, model = value.partition(":")
    return provider.strip().lower(), model.strip() or None


def _parsed(text: str) -> dict[str, Any]:
    """The fields that a text stands for. Raises `ValueError`."""
    text = text.strip()
    if text.lower() in ("", "fail"):
        return {}
    if text.startswith("{"):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            text = text.removeprefix("{").removesuffix("}")
        else:
            return found if isinstance(found, dict) else {}
    fields: dict[str, Any] = {}
    for part in filter(None, (each.strip() for each in re.split(r"[;\n]|,(?=\s*\w+:\s)", text))):
        match = _RULE.fullmatch(part)
        if match is None:
            raise ValueError(
                f"{part!r} is none of: fail; reseed: 2; fallback: [provider, provider:model]; "
                "moderation: true"
            )
        name, value = match[1].lower(), match[2].strip()
        if name in fields:
            raise ValueError(f"{name} is given twice")
        fields[name] = _listed(value) if name == "fallback" else value
    return fields


def _listed(value: str) -> list[str]:
    inner = value.removeprefix("[").removesuffix("]")
    return [each for each in (part.strip().strip("'\"") for part in inner.split(",")) if each]
