"""Which files or texts a job produces, and where they can be downloaded."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from prefect_imagine.sandbox.core.books import Job, Order
from prefect_imagine.sandbox.core.settings import AIVISUALSTUDIO, BLOCKADELABS, IMAGINEAPI
from prefect_imagine.sandbox.media.files import MEDIA_TYPES, MediaSpec, fingerprint

PARTIAL = 9
"""Index of the unfinished picture that ImagineAPI shows while a job is in progress."""

THUMBNAIL = 8


@dataclass(frozen=True, slots=True)
class Output:
    """One file of a job. `index` tells a job's files apart; 0 is the first."""

    index: int
    name: str
    spec: MediaSpec

    @property
    def media_type(self) -> str:
        return MEDIA_TYPES[self.spec.format]


_FORMATS = {"image": "png", "infographic": "png", "video": "mp4", "voice": "wav", "music": "wav"}


def text_of(job: Job) -> str | None:
    """The text a text job writes; None for every other kind."""
    if job.order.kind != "text":
        return None
    digest = hashlib.sha256(job.prompt.encode("utf-8", "replace")).digest()
    mood = ("quiet", "bright", "restless", "patient")[digest[0] % 4]
    return (
        f"{job.prompt}\n\nThis is a {mood} paragraph about it, written for generation {job.id}. "
        "It begins where the prompt ends, stays for a sentence or two, and stops before it says too much."
    )


def strangers(provider: str) -> Job:
    """A job of somebody else, which is in no books: what a forged webhook passes for one's own."""
    order = Order("image", "any", "somebody else's picture", 0)
    return Job(0, "0", provider, "stranger", order, 0.0, 0.0, False, None, 64)


def output(job: Job, index: int) -> Output:
    """The job's file of this index, whether or not the API lists it."""
    extension = _extension(job)
    stem = {PARTIAL: "partial", THUMBNAIL: "thumb"}.get(index, f"output-{index}")
    marker = f"{job.provider} {job.id}" + (f" #{index}" if index else "")
    small = index in (PARTIAL, THUMBNAIL)
    look = f"{job.id} {0 if small else index}"
    least = None if small else job.media_bytes
    spec = MediaSpec(extension, job.prompt, marker, look, _size(job, index), least)
    return Output(index, f"{stem}.{extension}", spec)


def is_there(job: Job, index: int, now: float) -> bool:
    """Whether the file can be downloaded now: the unfinished picture until the job is done, others after."""
    return job.phase(now) == ("running" if index == PARTIAL else "succeeded")


def listed_outputs(job: Job, upscales: int) -> list[Output]:
    """The files that are the job's result: ImagineAPI's upscaled pictures, anyone else's only one."""
    if job.order.kind == "text":
        return []
    if job.provider == IMAGINEAPI and upscales:
        return [output(job, index) for index in range(1, upscales + 1)]
    return [output(job, 0)]


def output_json(one: Output, url: str) -> dict[str, Any]:
    digest, length = fingerprint(one.spec)
    return {"url": url, "sha256": digest, "bytes": length, "media_type": one.media_type}


def _extension(job: Job) -> str:
    if job.order.kind == "image" and job.provider == BLOCKADELABS:
        return "jpg"
    if job.order.kind == "image" and job.provider == AIVISUALSTUDIO:
        return str(job.order.settings.get("output_format") or "webp")
    return _FORMATS[job.order.kind]


def _size(job: Job, index: int) -> tuple[int, int]:
    longer = job.image_pixels // 4 if index in (PARTIAL, THUMBNAIL) else job.image_pixels
    if job.provider == BLOCKADELABS:
        return longer * 2, longer
    ratio = str(job.order.settings.get("aspect_ratio", "1:1")) if job.provider != IMAGINEAPI else "1:1"
    across, down = _ratio(ratio)
    widest = max(across, down)
    return max(16, longer * across // widest), max(16, longer * down // widest)


def _ratio(text: str) -> tuple[int, int]:
    across, _, down = text.partition(":")
    if across.isdigit() and down.isdigit() and 0 < int(across) < 100 and 0 < int(down) < 100:
        return int(across), int(down)
    return 1, 1


def cdn_path(job: Job, one: Output) -> str:
    """Path and query on the CDN. The version changes when an address has expired."""
    query = "ver" if job.provider == BLOCKADELABS else "v"
    return f"/{job.provider}/{job.number}/{one.index}/{one.name}?{query}={job.url_version}"


def asset_id(job: Job, index: int) -> str:
    """ImagineAPI's id of one file: the job's id, which always ends in 0, with another last digit."""
    return job.id[:-1] + f"{index + 1:x}"


def asset_path(job: Job, one: Output) -> str:
    version = f"?v={job.url_version}" if job.url_version > 1 else ""
    return f"/imagineapi/assets/{asset_id(job, one.index)}/{one.name}{version}"


@dataclass(frozen=True, slots=True)
class Origins:
    """Where the API and the CDN listen: `http://127.0.0.1:<port>`, no slash at the end."""

    api: str
    cdn: str

    def url(self, job: Job, one: Output) -> str:
        if job.provider == IMAGINEAPI:
            return self.api + asset_path(job, one)
        return self.cdn + cdn_path(job, one)
