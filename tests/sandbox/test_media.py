"""Media are what they claim to be, differ from job to job, and match the sums in the books."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import wave
from itertools import combinations

import httpx
import pytest
from PIL import Image, ImageChops, ImageFont, ImageStat

from prefect_imagine.sandbox import FaultRule, RunningSandbox
from prefect_imagine.sandbox.media.pictures import drawable

from .callers import CREATES, Callers
from .receiver import until

MODELS = {
    "image": "seedream-5.0-lite",
    "infographic": "chartmaker-1",
    "video": "seedance-2.0-lite",
    "voice": "lyra-voice-2",
    "music": "cadence-1.5",
}


def boxes(data: bytes) -> list[tuple[str, int]]:
    """Name and size of the top-level boxes of an MP4 file."""
    found, at = [], 0
    while at < len(data):
        size, name = struct.unpack(">I4s", data[at : at + 8])
        found.append((name.decode(), size))
        at += size
    assert at == len(data)
    return found


def check(media_type: str, data: bytes) -> None:
    if media_type.startswith("image/"):
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()
            assert picture.get_format_mimetype() == media_type
    elif media_type == "audio/wav":
        with wave.open(io.BytesIO(data)) as sound:
            frames = sound.getnframes()
            assert frames >= sound.getframerate()
            assert len(sound.readframes(frames)) == frames * 2
    else:
        names = [name for name, _ in boxes(data)]
        assert names[0] == "ftyp"
        assert {"moov", "mdat", "free"} <= set(names)


@pytest.mark.parametrize("least", [None, 300_000])
@pytest.mark.parametrize("kind", MODELS)
def test_every_kind_is_valid(
    callers: Callers, sandbox: RunningSandbox, http: httpx.Client, kind: str, least: int | None
) -> None:
    sandbox.configure(media_bytes=least)
    more = {"generation_type": kind, "model_name": MODELS[kind]}
    jobs = [callers.made("imaginelab", "one prompt", **more) for _ in range(2)]
    sandbox.advance(11)
    files = [http.get(callers.media_url("imaginelab", job)) for job in jobs]
    assert files[0].content != files[1].content
    for file, job in zip(files, sandbox.report()["jobs"], strict=True):
        check(file.headers["Content-Type"], file.content)
        assert len(file.content) >= (least or 1)
        output = job["outputs"][0]
        assert output["sha256"] == hashlib.sha256(file.content).hexdigest()
        assert (output["bytes"], output["media_type"]) == (len(file.content), file.headers["Content-Type"])


def test_a_client_that_goes_away_is_no_error_of_the_server(
    callers: Callers, sandbox: RunningSandbox, http: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    job = callers.made("imaginelab")
    sandbox.advance(11)
    url = callers.media_url("imaginelab", job)
    sandbox.faults.add(FaultRule("slow", on="media", seconds=0.3))
    with pytest.raises(httpx.ReadTimeout):
        http.get(url, timeout=0.1)
    until(lambda: sandbox.books.in_flight["imaginelab"] == 0)
    assert http.get(url).is_success, "the first one's answer is over"
    assert "Error handling request" not in caplog.text


@pytest.mark.parametrize("output_format", ["webp", "png", "jpg"])
def test_padded_pictures_are_valid(
    callers: Callers, sandbox: RunningSandbox, http: httpx.Client, output_format: str
) -> None:
    sandbox.configure(media_bytes=500_000)
    job = callers.made("aivisualstudio", output_format=output_format, aspect_ratio="16:9")
    sandbox.advance(11)
    file = http.get(callers.media_url("aivisualstudio", job))
    check(file.headers["Content-Type"], file.content)
    assert len(file.content) >= 500_000


@pytest.mark.parametrize("provider", CREATES)
@pytest.mark.parametrize("prompt", ["", "a\ud800b", "日本語 🎨\n\t\x00", "x" * 590])
def test_any_prompt_can_be_drawn(
    callers: Callers, sandbox: RunningSandbox, provider: str, prompt: str
) -> None:
    body = {**CREATES[provider][1], "prompt": f"p {prompt}"}
    content = json.dumps(body)
    headers = {"Content-Type": "application/json"}
    created = callers.client(provider).post(CREATES[provider][0], content=content, headers=headers)
    assert created.is_success
    sandbox.advance(11)
    report = sandbox.report()
    assert report["jobs"][0]["prompt"] == f"p {prompt}"
    assert report["jobs"][0]["outputs"][0]["bytes"] > 0


def top(file: httpx.Response) -> Image.Image:
    """The part of a picture where no label is written, small."""
    with Image.open(io.BytesIO(file.content)) as picture:
        width, height = picture.size
        return picture.convert("RGB").crop((0, 0, width, height * 2 // 3)).resize((8, 8))


def unlike(one: Image.Image, other: Image.Image) -> float:
    """How far apart two pictures are on average, of 255."""
    return sum(ImageStat.Stat(ImageChops.difference(one, other)).mean) / 3


def test_a_prompt_asked_for_twice_gives_two_pictures(
    callers: Callers, sandbox: RunningSandbox, http: httpx.Client
) -> None:
    sandbox.configure(image_pixels=256)
    jobs = [callers.made("blockadelabs", "one prompt") for _ in range(2)]
    sandbox.advance(11)
    records = [callers.read("blockadelabs", job) for job in jobs]
    one, other = (top(http.get(record["file_url"])) for record in records)
    assert unlike(one, other) > 10
    assert unlike(one, top(http.get(records[0]["thumb_url"]))) < unlike(one, other) / 2


def test_one_job_s_pictures_differ_too(callers: Callers, sandbox: RunningSandbox, http: httpx.Client) -> None:
    job = callers.made("imagineapi", "one prompt")
    sandbox.advance(11)
    pictures = [top(http.get(url)) for url in callers.read("imagineapi", job)["upscaled_urls"]]
    assert all(unlike(one, other) > 10 for one, other in combinations(pictures, 2))


def test_letters_with_accents_are_written_without() -> None:
    text = "Ein Café à la Łódź: smørrebrød, œufs, ñandú, straße — 5 %"
    assert drawable(text) == "Ein Cafe a la Lodz: smorrebrod, oeufs, nandu, strasse - 5 %"
    font = ImageFont.load_default(24)
    missing = bytes(font.getmask("\ue000"))
    assert not [letter for letter in drawable(text) if bytes(font.getmask(letter)) == missing]


def test_files_exist_only_when_done(callers: Callers, sandbox: RunningSandbox, http: httpx.Client) -> None:
    callers.made("imaginelab")
    url = f"{sandbox.cdn_url}/imaginelab/1/0/output-0.png"
    assert http.get(url).status_code == 404
    sandbox.advance(11)
    assert http.get(url).is_success


def test_credentials_sent_to_the_cdn_are_noticed(
    callers: Callers, sandbox: RunningSandbox, http: httpx.Client
) -> None:
    job = callers.made("blockadelabs")
    sandbox.advance(11)
    url = callers.media_url("blockadelabs", job)
    http.get(url)
    assert sandbox.report()["credential_leaks"] == 0
    callers.client("blockadelabs").get(url)
    assert sandbox.report()["credential_leaks"] == 1
