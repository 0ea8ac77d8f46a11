"""Environment variables: those that the code names, and those of what it stands on."""

from __future__ import annotations

import re
from collections.abc import Iterator

from docs._generate.docstrings import constants
from docs._generate.markdown import Page, blocks, code, sentence, table
from docs._generate.modules import all_modules
from prefect_imagine.providers.registry import BUILT_IN
from prefect_imagine.providers.spec import ProviderSpec

OWN = re.compile(r"PREFECT_IMAGINE_[A-Z_]+")
_BENEATH = (
    ("PREFECT_API_URL", "the Prefect server; without it, `generate` and `resume` start one of their own"),
    ("AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_PROFILE", "the account that S3 is used with"),
    ("AWS_ENDPOINT_URL", "another S3 server than AWS's"),
    ("HTTPS_PROXY, HTTP_PROXY, NO_PROXY", "the proxy that requests and downloads go through"),
    ("XDG_CACHE_HOME", "where processes of one machine share what they know of rate limits; `~/.cache` else"),
)


def environment_page() -> Page:
    """What of the environment counts."""
    intro = "What is not given as an option comes from the environment of the process that runs a batch."
    return Page(
        "environment",
        "Environment variables",
        blocks(
            intro,
            "## Providers",
            table(["variable", "holds"], (row for spec in BUILT_IN for row in _of_provider(spec))),
            "## The package",
            table(["variable", "holds"], ([code(name), sentence(says)] for name, says in own_variables())),
            "## What it stands on",
            table(["variable", "holds"], ([_codes(names), sentence(says)] for names, says in _BENEATH)),
        ),
    )


def own_variables() -> Iterator[tuple[str, str]]:
    """The variables that are named for the package, with what they hold."""
    found = {
        value: says
        for module in all_modules()
        for _, value, says in constants(module)
        if isinstance(value, str) and OWN.fullmatch(value)
    }
    return iter(sorted(found.items()))


def _of_provider(spec: ProviderSpec) -> Iterator[list[str]]:
    if spec.login_variables:
        yield [_codes(", ".join(spec.login_variables)), f"The login of {spec.title}."]
    if spec.key_variable:
        yield [code(spec.key_variable), f"The key of {spec.title}."]
    yield [code(spec.base_url_variable), f"Another address of its API than `{spec.base_url}`."]
    if spec.capabilities.webhooks:
        yield [code(spec.webhook_secret_variable), "The secrets of its webhooks, separated by commas."]


def _codes(names: str) -> str:
    return ", ".join(map(code, names.split(", ")))
