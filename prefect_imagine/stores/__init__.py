"""Where outputs and journals live: a bucket or a folder behind one protocol, and how outputs get there."""

from __future__ import annotations

from prefect_imagine.stores.address import open_store
from prefect_imagine.stores.completeness import CompletenessCheck
from prefect_imagine.stores.download import Downloader, DownloadPolicy
from prefect_imagine.stores.media import MediaType, sniff
from prefect_imagine.stores.protocol import Store, StoredObject, StoredOutput
from prefect_imagine.stores.source import MediaSource

__all__ = [
    "CompletenessCheck",
    "DownloadPolicy",
    "Downloader",
    "MediaSource",
    "MediaType",
    "Store",
    "StoredObject",
    "StoredOutput",
    "open_store",
    "sniff",
]
