"""Types of parameters that flows have in common. What they mean stands in the flows' docstrings: that is
where Prefect's run form takes it from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from prefect_imagine.batches.prompts import Prompt

ProviderName = Literal["imaginelab", "blockadelabs", "imagineapi", "aivisualstudio"]
KindName = Literal["image", "video", "voice", "music", "infographic", "text"]
Prompts = list[Prompt] | str | None
Days = Annotated[float, Field(gt=0)]
Minutes = Annotated[float, Field(gt=0)]
