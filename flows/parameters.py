"""Types of parameters that flows have in common. What they mean stands in the flows' docstrings: that is
where Prefect's run form takes it from. Titles name the alternatives that the form offers."""

from __future__ import annotations

from typing import Annotated, Literal

from prefect.blocks.core import Block
from pydantic import AfterValidator, Field, WithJsonSchema

from prefect_imagine.blocks.credentials import BaseCredentials
from prefect_imagine.errors import ConfigurationError
from prefect_imagine.prompts.requested import Prompt
from prefect_imagine.providers.models import GenerationKind
from prefect_imagine.providers.registry import provider_names, spec_of


def _known(name: str) -> str:
    try:
        return spec_of(name).name
    except ConfigurationError as error:
        raise ValueError(str(error)) from error


ProviderName = Annotated[
    str, AfterValidator(_known), Field(title="provider", json_schema_extra={"enum": list(provider_names())})
]
"""A provider's name; the run form offers those that are installed where the flow is deployed."""
KindName = Annotated[Literal["image", "video", "voice", "music", "infographic", "text"], Field(title="kind")]
Prompts = (
    Annotated[list[Prompt], Field(title="list of prompts")]
    | Annotated[str, Field(title="file or address")]
    | None
)
_NAME = WithJsonSchema({"type": "string"})
Credentials = dict[str, Annotated[str | BaseCredentials, _NAME]]
"""Blocks by provider: their names, which is what the form asks for, or the blocks themselves."""
Bucket = Annotated[str | Block, _NAME] | None
Deadlines = dict[GenerationKind, Annotated[float, Field(gt=0)]]
Days = Annotated[float, Field(gt=0)]
Minutes = Annotated[float, Field(gt=0)]
