"""Reading answers whose shape is not fully documented: tolerant where the pages are silent."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from urllib.parse import urljoin

from prefect_imagine.errors import UnexpectedResponseError
from prefect_imagine.providers.credits import add_credits, credits_or_none
from prefect_imagine.providers.models import Generation, GenerationKind, GenerationStatus, HistoryPage, Output

Record = Mapping[str, Any]
ID_NAMES = ("id", "generation_id", "uuid")
_OUTPUT_NAMES = ("outputs", "output_urls", "output_url", "output", "urls", "url", "file_url")
_URL_NAMES = ("url", "output_url", "file_url", "media_url", "image_url", "video_url", "audio_url", "src")
_TEXT_NAMES = ("text", "content", "output_text")
_ADDRESSED = frozenset(("output_urls", "urls", *_URL_NAMES))
_ABSOLUTE = re.compile(r"https?://|data:[\w.+-]+/[\w.+-]+[;,]")
_REFUND_NAMES = ("credits_refunded", "refunded_credits", "credit_refund")


def first(record: Record, *names: str) -> Any:
    """The first value among these names that is there and not null."""
    return next((record[name] for name in names if record.get(name) is not None), None)


def record_of(provider: str, body: Any, *envelopes: str, ids: Sequence[str] = ID_NAMES) -> Record:
    """The record in a body, bare or in one of these envelopes. Raises `UnexpectedResponseError`.

    Args:
        ids: names that the API may give an id.
    """
    if isinstance(body, Mapping):
        for record in (*(body.get(name) for name in envelopes), body):
            if isinstance(record, Mapping) and identifier(record, ids):
                return record
    raise UnexpectedResponseError(f"{provider}: an answer holds no record", provider=provider)


def holds_record(body: Any, *envelopes: str) -> bool:
    """Whether a body is a record, bare or in one of these envelopes."""
    try:
        record_of("", body, *envelopes)
    except UnexpectedResponseError:
        return False
    return True


def records_of(provider: str, body: Any, *envelopes: str) -> list[Record]:
    """The list in a body, bare or in one or two of these envelopes. Raises `UnexpectedResponseError`."""
    if isinstance(body, Mapping):
        body = next(
            (box[name] for box in _boxes(body, envelopes) for name in _lists_in(box, envelopes)), None
        )
    if not isinstance(body, list):
        raise UnexpectedResponseError(f"{provider}: an answer holds no list", provider=provider)
    return [item for item in body if isinstance(item, Mapping)]


def beside_list(body: Any, *envelopes: str) -> Record:
    """What a body says next to its list: totals and the like. What is nearer to the list counts more."""
    boxes = _boxes(body, envelopes) if isinstance(body, Mapping) else []
    inner = next((box for box in boxes if _lists_in(box, envelopes)), {})
    return {**(body if boxes else {}), **inner}


def _boxes(body: Record, envelopes: tuple[str, ...]) -> list[Record]:
    """A body, and the envelopes in it. A single record is none, though it may hold lists of its own."""
    inner = (body.get(name) for name in envelopes)
    return [body, *(box for box in inner if isinstance(box, Mapping) and not identifier(box))]


def _lists_in(box: Record, envelopes: tuple[str, ...]) -> list[str]:
    return [name for name in envelopes if isinstance(box.get(name), list)]


def identifier(record: Record, ids: Sequence[str] = ID_NAMES) -> str:
    """The record's id as a string; empty where it has none."""
    value = first(record, *ids)
    return "" if value is None or isinstance(value, bool) else str(value)


def require_identifier(provider: str, record: Record, ids: Sequence[str] = ID_NAMES) -> str:
    """The record's id. Raises `UnexpectedResponseError` where it has none."""
    found = identifier(record, ids)
    if not found:
        raise UnexpectedResponseError(f"{provider}: a record has no id", provider=provider)
    return found


def moment(value: Any) -> datetime | None:
    """An ISO 8601 string or an epoch number as a time; UTC where it names no zone."""
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value / 1000 if value > 1e11 else value, UTC)
        text = str(value or "").strip()
        if text.isdecimal() and len(text) >= len("1000000000"):
            return moment(int(text))
        parsed = datetime.fromisoformat(text) if text else None
    except (ValueError, OverflowError, OSError):
        return None
    return parsed if parsed is None or parsed.tzinfo else parsed.replace(tzinfo=UTC)


def finished(record: Record, status: GenerationStatus, *names: str) -> datetime | None:
    """When it ended, by the first of these names; `None` before, though it may have been updated."""
    return moment(first(record, *names)) if status.terminal else None


def kind_of(value: Any) -> GenerationKind | None:
    """A kind by its wire name, or `None` if it is none."""
    try:
        return GenerationKind(str(value).lower())
    except ValueError:
        return None


def text_or_none(value: Any) -> str | None:
    """A value as text; `None` for null and empty."""
    return None if value in (None, "", [], {}) else str(value)


def charged(record: Record, *names: str) -> int | float | None:
    """The credits under the first of these names, less those that the record says were given back."""
    amount = credits_or_none(first(record, *names))
    refunded = credits_or_none(first(record, *_REFUND_NAMES))
    if amount is None or refunded is None or refunded <= 0:
        return amount
    return max(0, add_credits((amount, -refunded)))


def address(value: str, base_url: str) -> str:
    """An address as it can be asked for: one that is relative counts from the API's base URL."""
    if _ABSOLUTE.match(value):
        return value  # to the letter: it may be signed
    try:
        return urljoin(f"{base_url}/", value)
    except ValueError:  # such as half an IPv6 address: whoever opens it refuses it
        return value


def outputs_of(record: Record, kind: GenerationKind | None, base_url: str) -> tuple[Output, ...]:
    """All outputs of a record: strings or objects, addresses or texts.

    Only a text generation has texts; where the kind is not known, a value's looks and its name decide.
    """
    for name in _OUTPUT_NAMES:
        value = record.get(name)
        if value:
            found = tuple(_outputs(value, name, kind, base_url))
            if found:
                return found
    for name in (*_URL_NAMES, *_TEXT_NAMES):
        if record.get(name) is not None:
            return tuple(_outputs(record[name], name, kind, base_url))
    return ()


def _outputs(value: Any, name: str, kind: GenerationKind | None, base_url: str) -> Iterable[Output]:
    if isinstance(value, list | tuple):
        for part in value:
            yield from _outputs(part, name, kind, base_url)
    elif isinstance(value, str) and value:
        if _is_address(value, name, kind):
            yield Output(url=address(value, base_url))
        elif kind in (GenerationKind.TEXT, None):
            yield Output(text=value)
    elif isinstance(value, Mapping):
        names = (name for name in (*_URL_NAMES, *_TEXT_NAMES) if isinstance(value.get(name), str))
        inner = next((name for name in names if value[name]), None)
        if inner is not None:
            yield from _outputs(value[inner], inner, kind, base_url)


def _is_address(value: str, name: str, kind: GenerationKind | None) -> bool:
    """Whether a value is an address rather than a text, by its looks, what it is called, and the kind."""
    spaced = value.split() != [value]
    absolute = _ABSOLUTE.match(value) is not None
    rooted = absolute or value.startswith("/")
    if name in _ADDRESSED and (rooted or not spaced):
        return True
    if kind is GenerationKind.TEXT:  # whose text may itself be an address
        return absolute and not spaced and name not in _TEXT_NAMES
    if kind is None:
        return rooted and not spaced
    return rooted or (not spaced and (name not in _TEXT_NAMES or "/" in value))


def page_of(generations: Iterable[Generation], *, end: bool) -> HistoryPage:
    """A history page that knows whether it came in descending order."""
    rows = tuple(generations)
    times = [row.created_at for row in rows]
    known = [time for time in times if time is not None]
    descending = all(earlier >= later for earlier, later in pairwise(known))
    return HistoryPage(generations=rows, end=end, newest_first=descending and len(known) == len(rows))
