"""Credentials of the four providers, as Prefect blocks."""

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
