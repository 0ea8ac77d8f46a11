"""Credentials of the four providers, as Prefect blocks. `prefect block register` takes every block class that
it finds here, so the class that they share stays in its module."""

from prefect_imagine.blocks.credentials import (
    BLOCKS,
    AIVisualStudioCredentials,
    BlockadeLabsCredentials,
    ImagineAPICredentials,
    ImagineLabCredentials,
    ProviderCredentials,
)

__all__ = [
    "BLOCKS",
    "AIVisualStudioCredentials",
    "BlockadeLabsCredentials",
    "ImagineAPICredentials",
    "ImagineLabCredentials",
    "ProviderCredentials",
]
