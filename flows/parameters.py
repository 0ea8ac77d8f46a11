"""Types of parameters that flows have in common. What they mean stands in the flows' docstrings: that is
where Prefect's run form takes it from. Titles name the alternatives that the form offers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from prefect_imagine.batches.prompts import Prompt

ProviderName = Annotated[
    Literal["imaginelab", "blockadelabs", "imagineapi", "aivisualstudio"], Field(title="provider")
]
KindName = Annotated[Literal["image", "video", "voice", "music", "infographic", "text"], Field(title="kind")]
Prompts = (
    Annotated[list[Prompt], Field(title="list of prompts")]
    | Annotated[str, Field(title="file or address")]
    | None
)
Days = Annotated[float, Field(gt=0)]
Minutes = Annotated[float, Field(gt=0)]
