"""Parameters that flows have in common, as the run form shows them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from prefect_imagine.batches.prompts import Prompt
from prefect_imagine.providers.credits import Credits

ProviderName = Literal["imaginelab", "blockadelabs", "imagineapi", "aivisualstudio"]
KindName = Literal["image", "video", "voice", "music", "infographic", "text"]

Prompts = Annotated[
    list[Prompt] | str | None,
    Field(
        title="Prompts",
        description=(
            "The path or s3:// address of a .csv, .jsonl, .yaml or .txt file, or a list of prompts. Nothing: "
            "go on with the batch named in the options. Prefect takes 512 KiB of parameters: above about "
            "2,000 prompts use a file."
        ),
    ),
]
Output = Annotated[
    str, Field(title="Output", description="Folder or s3://bucket/prefix that batches are stored under.")
]
Bucket = Annotated[
    str | None,
    Field(
        title="Bucket block",
        description="Name of an S3Bucket block to store in; the output is then the folder within it.",
    ),
]
CredentialsBlocks = Annotated[
    dict[str, str],
    Field(
        title="Credentials blocks",
        description=(
            'Names of credentials blocks by provider, such as {"aivisualstudio": "team"}; the keys in the '
            "worker's environment are taken for the others."
        ),
    ),
]
TimeZone = Annotated[
    str,
    Field(
        title="Time zone",
        description="Of {date}, of the rotation and of days in reports, such as Europe/Berlin.",
    ),
]
LowCredits = Annotated[
    dict[str, Credits],
    Field(
        title="Low credits",
        description=(
            "Credits by provider below which the event imagine.credits.low is sent, such as "
            '{"imaginelab": 200}.'
        ),
    ),
]
Days = Annotated[
    float, Field(gt=0, title="Days", description="Batches that were written to in the last so many days.")
]
