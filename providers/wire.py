"""Reading answers whose shape is not fully documented: tolerant where the pages are silent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from prefect_imagine.errors import UnexpectedResponseError
from prefect_imagine.providers.models import Generation, GenerationKind, GenerationStatus, HistoryPage, Output

Record = Mapping[str, Any]
_OUTPUT_NAMES = ("outputs", "output_urls", "output_url", "output", "urls", "url", "file_url")
_URL_NAMES = ("url", "output_url", "file_url", "media_url", "image_url", "video_url", "audio_url", "src")
_TEXT_NAMES = ("text", "content", "output_text")


def first(record: Record, *names: str) -> Any:
    """The first value among these names that is there and not null."""
    return next((record[name] for name in names if record.get(name) is not None), None)


def record_of(provider: str, body: Any, *envelopes: str) -> Record:
    """The record in a body, bare or in one of these envelopes. Raises `UnexpectedResponseError`."""
    if isinstance(body, Mapping):
        for record in (*(body.get(name) for name in envelopes), body):
            if isinstance(record, Mapping) and identifier(record):
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
    """The list in a body, bare or in one of these envelopes. Raises `UnexpectedResponseError`."""
    if isinstance(body, Mapping):
        body = next((body[name] for name in envelopes if isinstance(body.get(name), list)), None)
    if not isinstance(body, list):
        raise UnexpectedResponseError(f"{provider}: an answer holds no list", provider=provider)
    return [item for item in body if isinstance(item, Mapping)]


def identifier(record: Record) -> str:
    """The record's id as a string; empty where it has none."""
    value = first(record, "id", "generation_id", "uuid")
    return "" if value is None or isinstance(value, bool) else str(value)


def require_identifier(provider: str, record: Record) -> str:
    """The record's id. Raises `UnexpectedResponseError` where it has none."""
    found = identifier(record)
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


def outputs_of(record: Record, kind: GenerationKind | None) -> tuple[Output, ...]:
    """All outputs of a record: strings or objects, addresses or texts."""
    for name in _OUTPUT_NAMES:
        value = record.get(name)
        if value:
            found = tuple(_outputs(value, kind))
            if found:
                return found
    single = first(record, *_URL_NAMES, *_TEXT_NAMES)
    return tuple(_outputs(single, kind)) if single else ()


def _outputs(value: Any, kind: GenerationKind | None) -> Iterable[Output]:
    if isinstance(value, list | tuple):
        for part in value:
            yield from _outputs(part, kind)
    elif isinstance(value, str) and value:
        yield Output(url=value) if _is_address(value) else Output(text=value)
    elif isinstance(value, Mapping):
        address = first(value, *_URL_NAMES)
        text = first(value, *_TEXT_NAMES)
        if isinstance(address, str) and address:
            yield Output(url=address)
        elif isinstance(text, str) and text:
            # A text generation's text may itself be an address; media given as `content` are one.
            is_media = kind is not GenerationKind.TEXT and _is_address(text)
            yield Output(url=text) if is_media else Output(text=text)


def _is_address(value: str) -> bool:
    return value.startswith(("http://", "https://")) and not any(space in value for space in " \n\t")


def page_of(generations: Iterable[Generation], *, end: bool) -> HistoryPage:
    """A history page that knows whether it came in descending order."""
    rows = tuple(generations)
    times = [row.created_at for row in rows]
    known = [time for time in times if time is not None]
    descending = all(earlier >= later for earlier, later in pairwise(known))
    return HistoryPage(generations=rows, end=end, newest_first=descending and len(known) == len(rows))
