"""What a prompts file asks for, read once and kept on disk: it may be far more than fits into memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from pydantic import TypeAdapter

from prefect_imagine.line_file import LineFile
from prefect_imagine.prompts.requested import RequestedItem
from prefect_imagine.providers.models import GenerationRequest
from prefect_imagine.providers.on_refusal import OnRefusal

_Line = tuple[int, str | None, str, GenerationRequest, OnRefusal]
_LINE: TypeAdapter[_Line] = TypeAdapter(_Line)


class Asked(Protocol):
    """What is asked for: looked through as often as need be."""

    def __iter__(self) -> Iterator[RequestedItem]: ...

    def __len__(self) -> int: ...


class Spool:
    """Generations that are asked for, in order. Belongs to one thread at a time.

    Attributes:
        providers: who is asked, or may be where others refuse, in the order of first mention.
    """

    def __init__(self, items: Iterable[RequestedItem] = ()) -> None:
        self.providers: dict[str, None] = {}
        self._lines = LineFile(map(self._line, items))

    def __len__(self) -> int:
        return len(self._lines)

    def __iter__(self) -> Iterator[RequestedItem]:
        return map(_item, self._lines)

    def _line(self, item: RequestedItem) -> bytes:
        self.providers |= dict.fromkeys(_providers(item))
        return _LINE.dump_json((item.row, item.name, item.fingerprint, item.request, item.on_refusal))


def _item(line: bytes) -> RequestedItem:
    row, name, fingerprint, request, on_refusal = _LINE.validate_json(line)
    return RequestedItem(row=row, request=request, name=name, known=fingerprint, on_refusal=on_refusal)


def providers_of(asked: Asked) -> list[str]:
    """Who is asked, or may be where others refuse, in the order of first mention."""
    if isinstance(asked, Spool):
        return list(asked.providers)
    return list(dict.fromkeys(name for each in asked for name in _providers(each)))


def _providers(item: RequestedItem) -> list[str]:
    return [item.request.provider, *item.on_refusal.providers]
