"""Outputs that an address itself holds."""

from __future__ import annotations

from base64 import b64encode

import pytest

from prefect_imagine.errors import OutputError
from prefect_imagine.providers import wire
from prefect_imagine.providers.models import GenerationKind
from prefect_imagine.stores import MediaSource

DATA = bytes(range(256))
ENCODED = b64encode(DATA).decode()


@pytest.mark.parametrize(
    ("url", "data"),
    [
        (f"data:image/png;base64,{ENCODED}", DATA),
        (f"data:image/png;base64,{ENCODED.replace('+', '%2B').replace('/', '%2F')}", DATA),
        ("data:text/plain;charset=utf-8,a%20l%C3%A4ke", "a läke".encode()),
    ],
)
def test_a_data_url_holds_its_body(url: str, data: bytes) -> None:
    source = MediaSource.from_data_url(url)
    assert (source.content_length, b"".join(source.chunks())) == (len(data), data)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("data:image/png;base64", "refused_url"),
        ("data:image/png;base64,AAA", "truncated"),
        ("data:image/png;base64,A*==", "truncated"),
        (f"data:image/png;base64,{b64encode(bytes(11)).decode()}", "too_large"),
    ],
)
def test_what_holds_no_whole_body_is_an_error_without_the_body(url: str, reason: str) -> None:
    with pytest.raises(OutputError) as caught:
        MediaSource.from_data_url(url, max_bytes=10)
    assert caught.value.reason == reason
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("kind", [GenerationKind.IMAGE, GenerationKind.TEXT, None])
def test_a_record_s_data_url_is_an_output_as_it_stands(kind: GenerationKind | None) -> None:
    url = f"data:image/png;base64,{ENCODED}"
    for record in ({"output": url}, {"output": [url]}, {"outputs": [{"url": url}]}):
        [output] = wire.outputs_of(record, kind, "http://127.0.0.1:9/v1")
        assert (output.url, output.inline) == (url, True)


def test_a_text_that_begins_like_one_is_a_text() -> None:
    [output] = wire.outputs_of({"output": "data: the new oil, they say"}, GenerationKind.TEXT, "http://x")
    assert (output.text, output.inline) == ("data: the new oil, they say", False)
