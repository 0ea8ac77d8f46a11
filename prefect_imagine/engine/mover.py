"""Moves outputs into a store: texts, files at an address, and files that an address itself holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from prefect_imagine.providers.models import Output
from prefect_imagine.providers.protocol import ProviderClient
from prefect_imagine.stores import Downloader, DownloadPolicy, MediaSource, Store
from prefect_imagine.stores.source import MAX_OUTPUT_BYTES


def _unchanged(source: MediaSource) -> MediaSource:
    return source


class Mover:
    """Moves one provider's outputs into a store. Every call blocks.

    Args:
        max_bytes: the largest output taken.
    """

    def __init__(
        self,
        store: Store,
        downloader: Downloader,
        client: ProviderClient,
        *,
        max_bytes: int = MAX_OUTPUT_BYTES,
    ) -> None:
        self._store = store
        self._downloader = downloader
        headers = client.media_headers()
        self._policy = DownloadPolicy(
            api_origin=client.base_url, max_bytes=max_bytes, auth_headers=headers, auth_first=bool(headers)
        )

    def move(
        self,
        stem: str,
        output: Output,
        metadata: Mapping[str, str],
        through: Callable[[MediaSource], MediaSource] = _unchanged,
    ) -> Output:
        """Store an output as `<stem>.<extension>`, and return where it is and what it weighs.

        Args:
            through: what its bytes pass on their way.

        Raises:
            OutputError: it cannot be had whole.
            StoreError: the store failed.
        """
        with self._opened(output) as source:
            stored = self._store.put_output(stem, through(source), metadata)
        return Output(media_type=stored.media_type, key=stored.key, bytes=stored.bytes, sha256=stored.sha256)

    @contextmanager
    def _opened(self, output: Output) -> Iterator[MediaSource]:
        if output.url is None:
            yield MediaSource.from_text(output.text or "")
        elif output.inline:
            yield MediaSource.from_data_url(output.url, max_bytes=self._policy.max_bytes)
        else:
            with self._downloader.open(output.url, self._policy) as source:
                yield source
