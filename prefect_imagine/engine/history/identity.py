"""What a provider's history shows of a request, and whether a job that it shows may answer that request.

No page promises that a prompt or a model comes back as it was sent: it may be normalised, escaped, cut short,
or given another name. So there are three answers, not two.
"""

from __future__ import annotations

import html
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from prefect_imagine.providers.models import Generation, GenerationRequest


class RequestIdentity(NamedTuple):
    """What tells one request from another in a provider's history; a seed where there is one."""

    kind: str
    model: str | None
    prompt: str
    seed: str | None


PROMPTS = 2048
"""So many are kept in the notation in which they are compared: each may have thousands of letters."""
CUT_AT_LEAST = 30
"""Letters and digits of a prompt that was cut short: fewer are as well another prompt."""


class Likeness(Enum):
    """Whether a job answers a request: as far as one can see, possibly, or not."""

    SAME = "same"
    DOUBTFUL = "doubtful"
    OTHER = "other"


def request_identity(request: GenerationRequest, wire_prompt: str) -> RequestIdentity:
    """What a history shows of a request. Requests of one class cannot be told apart there."""
    model = None if request.model is None else _model(request.model)
    return RequestIdentity(request.kind, model, _text(wire_prompt), _seed(request.settings.get("seed")))


def same(row: Generation, identity: RequestIdentity) -> bool:
    """Whether a job is shown as the answer to a request of this class would be. Of model and seed, what the
    provider does not echo cannot differ; a prompt that it does not show identifies nothing, unless a seed
    does."""
    return _rest_fits(row, identity) and _prompt_fits(row, identity)


def faithful(own: Iterable[tuple[Generation, RequestIdentity]]) -> dict[tuple[str, str | None], bool]:
    """Of which kinds and models a history tells jobs as they were asked for, or otherwise, as far as jobs of
    ours show it.

    Args:
        own: jobs of ours in it, with what was asked.
    """
    told: dict[tuple[str, str | None], bool] = {}
    for row, asked in own:
        told[asked[:2]] = told.get(asked[:2], True) and same(row, asked)
    return told


def likeness(row: Generation, identity: RequestIdentity, told_faithfully: bool | None) -> Likeness:
    """How much a job that nobody has claimed is like the answer to a request, in a history that tells jobs
    faithfully, otherwise, or in a way that nothing shows yet."""
    if same(row, identity):
        return Likeness.SAME
    if row.kind not in (None, identity.kind):
        return Likeness.OTHER
    if not told_faithfully:
        return Likeness.DOUBTFUL  # where nothing shows how it reports prompts, any job of the kind may be it
    known_seed = identity.seed is not None and _seed(row.echoed_seed) == identity.seed
    # A job whose prompt is not shown, or not any more, may be anybody's.
    distorted = row.prompt is None or _distorted(row.prompt, identity.prompt)
    doubtful = _rest_fits(row, identity) and (known_seed or distorted)
    return Likeness.DOUBTFUL if doubtful else Likeness.OTHER


class IdentityIndex:
    """Classes of requests, found by what a job shows without comparing it with each of them."""

    def __init__(self, classes: Iterable[RequestIdentity]) -> None:
        self._by_text: dict[str, list[RequestIdentity]] = defaultdict(list)
        self._by_seed: dict[str, list[RequestIdentity]] = defaultdict(list)
        for identity in classes:
            self._by_text[identity.prompt].append(identity)
            if identity.seed is not None:
                self._by_seed[identity.seed].append(identity)

    def answered_by(self, row: Generation) -> set[RequestIdentity]:
        """The classes whose requests a job may answer, as far as one can see."""
        by_text = self._by_text.get(_text(row.prompt), ()) if row.prompt is not None else ()
        near = [*by_text, *self._by_seed.get(_seed(row.echoed_seed) or "", ())]
        return {identity for identity in near if same(row, identity)}


class UnclaimedJobs:
    """Jobs that nobody has claimed and that answer no create that is not settled, found by what they may
    have been asked as."""

    def __init__(self, rows: Iterable[Generation]) -> None:
        self._kinds: set[str | None] = set()
        self._without_prompt: dict[tuple[str | None, ...], Generation] = {}
        self._by_start: dict[str, list[Generation]] = defaultdict(list)
        self._by_seed: dict[str, list[Generation]] = defaultdict(list)
        for row in rows:
            self._kinds.add(row.kind)
            if row.prompt is None:
                self._without_prompt[row.kind, row.model, row.echoed_seed] = row
            else:
                self._by_start[_start(_text(row.prompt))].append(row)
            seed = _seed(row.echoed_seed)
            if seed is not None:
                self._by_seed[seed].append(row)

    def may_answer(self, identity: RequestIdentity, told_faithfully: bool | None) -> bool:
        """Whether one of them may be the job of a request of this class, although it is not told so."""
        if not told_faithfully:
            return bool(self._kinds & {None, identity.kind})
        near = [
            *self._by_start.get(_start(identity.prompt), ()),
            *self._by_seed.get(identity.seed or "", ()),
            *self._without_prompt.values(),
        ]
        return any(likeness(row, identity, told_faithfully) is not Likeness.OTHER for row in near)


def _prompt_fits(row: Generation, identity: RequestIdentity) -> bool:
    if row.prompt is not None and _text(row.prompt) == identity.prompt:
        return True
    # A seed that comes back says as much as a whole prompt.
    known_seed = identity.seed is not None and _seed(row.echoed_seed) == identity.seed
    return known_seed and (row.prompt is None or _distorted(row.prompt, identity.prompt))


def _rest_fits(row: Generation, identity: RequestIdentity) -> bool:
    kind, model, *_ = identity
    model_fits = row.model is None or model is None or _model(row.model) == model
    return model_fits and row.kind in (None, kind) and _seed_fits(row, identity)


def _seed_fits(row: Generation, identity: RequestIdentity) -> bool:
    told = _seed(row.echoed_seed)
    return told is None or identity.seed is None or told == identity.seed


def _seed(value: object) -> str | None:
    """A seed in one notation; `None` where there is none, or one that stands for any."""
    if value is None:
        return None
    with suppress(ValueError, OverflowError):
        number = float(str(value))
        value = int(number) if number.is_integer() else number
    return None if value in (0, -1) else str(value)


@lru_cache(maxsize=PROMPTS)
def _text(text: str) -> str:
    """A prompt without what providers echo as they please: white space, composed letters, HTML's escapes."""
    plain = " ".join(unicodedata.normalize("NFC", html.unescape(text)).split())
    return text if plain == text else plain  # most are plain, and held by their items anyway


@lru_cache(maxsize=1024)
def _model(name: str) -> str:
    """A model without its owner, case and punctuation: a label may stand for the id."""
    last = name.rstrip("/").rpartition("/")[2]
    return _letters(last) or name


@lru_cache(maxsize=PROMPTS)
def _letters(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).casefold()
    return "".join(sign for sign in plain if sign.isalnum())


def _distorted(told: str, asked: str) -> bool:
    """Whether one may be what became of the other: cut short, or with signs taken away."""
    short, long = sorted((_letters(_text(told)), _letters(asked)), key=len)
    return short == long or (len(short) >= CUT_AT_LEAST and long.startswith(short))


def _start(text: str) -> str:
    """What a prompt and all that may have become of it have in common."""
    return _letters(text)[:CUT_AT_LEAST]
