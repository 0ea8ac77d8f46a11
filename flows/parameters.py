"""Types of parameters that flows have in common. What they mean stands in the flows' docstrings: that is
where Prefect's run form takes it from. Titles name the alternatives that the form offers."""

from __future__ import annotations

from typing import Annotated, Literal

from prefect.blocks.core import Block
from pydantic import Field, WithJsonSchema

from prefect_imagine.blocks.credentials import ProviderCredentials
from prefect_imagine.prompts.requested import Prompt

ProviderName = Annotated[
    Literal["imaginelab", "blockadelabs", "imagineapi", "aivisualstudio"], Field(title="provider")
]
KindName = Annotated[Literal["image", "video", "voice", "music", "infographic", "text"], Field(title="kind")]
Prompts = (
    Annotated[list[Prompt], Field(title="list of prompts")]
    | Annotated[str, Field(title="file or address")]
    | None
)
_NAME = WithJsonSchema({"type": "string"})
Credentials = dict[str, Annotated[str | ProviderCredentials, _NAME]]
"""Blocks by provider: their names, which is what the form asks for, or the blocks themselves."""
Bucket = Annotated[str | Block, _NAME] | None
Days = Annotated[float, Field(gt=0)]
Minutes = Annotated[float, Field(gt=0)]
