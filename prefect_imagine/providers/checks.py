"""What a provider would refuse of a request, found without asking it: as (column, message)."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from prefect_imagine.providers.models import (
    COMMON_SETTINGS,
    Capabilities,
    GenerationKind,
    GenerationRequest,
    ModelInfo,
)
from prefect_imagine.providers.names import nearest


def model_problems(request: GenerationRequest, models: Collection[ModelInfo]) -> list[tuple[str, str]]:
    """An unknown model, with the nearest names. An empty catalog knows nothing and refuses nothing."""
    known = [model.id for model in models if model.kind in (request.kind, None)]
    if request.model is None or not models or request.model in known:
        return []
    message = f"{request.provider} has no {request.kind} model {request.model!r}"
    return [("model", f"{message}; {nearest(request.model, known)}")]


def kind_problems(request: GenerationRequest, capabilities: Capabilities) -> list[tuple[str, str]]:
    """A kind that the provider does not make."""
    if request.kind in capabilities.kinds:
        return []
    allowed = ", ".join(kind for kind in GenerationKind if kind in capabilities.kinds)
    return [("kind", f"{request.provider} makes no {request.kind}; allowed: {allowed}")]


def setting_problems(
    request: GenerationRequest, allowed: Iterable[str], *, what: str
) -> list[tuple[str, str]]:
    """Settings that the provider has no place for."""
    names = sorted(allowed)
    return [
        (column_of(name), f"{what} takes no {name!r}; {nearest(name, names)}")
        for name in request.settings
        if name not in names
    ]


def choice_problem(request: GenerationRequest, name: str, choices: Collection[str]) -> list[tuple[str, str]]:
    """A setting that is none of its choices."""
    value = request.settings.get(name)
    if value is None or str(value) in choices:
        return []
    return [(column_of(name), f"{value!r} is not allowed; allowed: {', '.join(choices)}")]


def number_problem(
    request: GenerationRequest, name: str, low: float | None, high: float | None, *, whole: bool = True
) -> list[tuple[str, str]]:
    """A setting that is no number, or out of its range."""
    value = request.settings.get(name)
    if value is None:
        return []
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or (whole and float(value) != int(value)):
        return [(column_of(name), f"{value!r} is no {'whole ' if whole else ''}number")]
    if (low is not None and value < low) or (high is not None and value > high):
        return [(column_of(name), f"{value} is out of range; allowed: {_range(low, high)}")]
    return []


def _range(low: float | None, high: float | None) -> str:
    if low is None:
        return f"at most {high}"
    return f"at least {low}" if high is None else f"{low} to {high}"


def column_of(setting: str) -> str:
    """The column of a prompts file that holds a setting."""
    return setting if setting in ("prompt", *COMMON_SETTINGS) else f"settings.{setting}"
