"""The built-in providers, from their specifications."""

from __future__ import annotations

from collections.abc import Iterator

from docs._generate.markdown import Page, blocks, code, table
from prefect_imagine.providers.credits import add_credits
from prefect_imagine.providers.models import Capabilities, Mark
from prefect_imagine.providers.registry import BUILT_IN
from prefect_imagine.providers.spec import ProviderSpec

_CALLS = (
    "models",
    "balance",
    "packages",
    "cancel",
    "delete",
    "status",
    "webhooks",
    "credits_on_create",
    "history",
)


def provider_page() -> Page:
    """What each can do, and what it is reached by."""
    intro = (
        "The providers that come with the package. Plug-ins add others, which are written with "
        "the same specification ([how to](../providers.md))."
    )
    return Page("providers", "Providers", blocks(intro, *map(_section, BUILT_IN)))


def _section(spec: ProviderSpec) -> str:
    rows = [[what, text] for what, text in _facts(spec, spec.capabilities) if text]
    return blocks(f"## {spec.title}", table(["what", "of this provider"], rows))


def _facts(spec: ProviderSpec, able: Capabilities) -> Iterator[tuple[str, str]]:
    yield "name in prompts files and options", code(spec.name)
    yield "kinds", ", ".join(sorted(kind.value for kind in able.kinds))
    yield "address", f"{code(spec.base_url)}, or what `{spec.base_url_variable}` holds"
    yield "key", " and ".join(map(code, spec.login_variables or ())) + _or_key(spec)
    yield "calls", ", ".join(name.replace("_", " ") for name in _CALLS if getattr(able, name))
    yield "our mark on its jobs", "" if able.mark is Mark.NONE else able.mark.value
    yield "webhooks", _webhooks(spec)
    yield "indicative prices", _prices(spec)


def _or_key(spec: ProviderSpec) -> str:
    return (", or " if spec.login_variables else "") + code(spec.key_variable) if spec.key_variable else ""


def _webhooks(spec: ProviderSpec) -> str:
    if spec.webhooks is None:
        return ""
    return (
        f"secrets of signed deliveries in {code(spec.webhook_secret_variable)}"
        if spec.capabilities.webhooks
        else "unsigned"
    )


def _prices(spec: ProviderSpec) -> str:
    prices = spec.indicative_prices
    if prices is None:
        return ""
    named = {"each": prices.default, **prices.kinds, **prices.models}
    return ", ".join(
        f"{name} {add_credits([amount])}" for name, amount in named.items() if amount is not None
    )
