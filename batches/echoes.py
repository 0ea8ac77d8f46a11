"""What a provider's history shows of a request, and whether a job that it shows may answer that request.

No page promises that a prompt or a model comes back as it was sent: it may be normalised, escaped, cut short,
or given another name. So there are three answers, not two.
"""

from __future__ import annotations

import difflib
import html
import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from enum import Enum
from functools import lru_cache

from prefect_imagine.providers.models import Generation, GenerationRequest

EchoClass = tuple[str, str | None, str, str | None]
"""Kind, model, prompt, and a seed where there is one."""

CUT_AT_LEAST = 30
"""Letters and digits of a prompt that was cut short: fewer are as well another prompt."""
ALIKE = 0.6


class Likeness(Enum):
    """Whether a job answers a request: as far as one can see, possibly, or not."""

    SAME = "same"
    DOUBTFUL = "doubtful"
    OTHER = "other"


def echo_class(request: GenerationRequest, wire_prompt: str) -> EchoClass:
    """What a history shows of a request. Requests of one class cannot be told apart there."""
    model = None if request.model is None else _model(request.model)
    return (request.kind, model, _text(wire_prompt), _seed(request.settings.get("seed")))


def same(row: Generation, echo: EchoClass) -> bool:
    """Whether a job is told as the answer to a request of this class would be. What the provider does not
    echo cannot differ."""
    return _rest_fits(row, echo) and _prompt_fits(row, echo)


def faithful(own: Iterable[tuple[Generation, EchoClass]], echo: EchoClass) -> bool | None:
    """Whether a history tells jobs of this kind and model as they were asked for; `None` where none of ours
    shows it.

    Args:
        own: jobs of ours in it, with what was asked.
    """
    told = [same(row, asked) for row, asked in own if asked[:2] == echo[:2]]
    return all(told) if told else None


def likeness(row: Generation, echo: EchoClass, told_faithfully: bool | None) -> Likeness:
    """How much a job that nobody has claimed is like the answer to a request, in a history that tells jobs
    faithfully, otherwise, or in a way that nothing shows yet."""
    if same(row, echo):
        return Likeness.SAME
    if row.kind not in (None, echo[0]):
        return Likeness.OTHER
    if told_faithfully is False:
        return Likeness.DOUBTFUL
    if not _seed_fits(row, echo):
        return Likeness.OTHER
    rest_fits = _rest_fits(row, echo)
    if told_faithfully is None:
        doubtful = rest_fits or row.prompt is None or _alike(row.prompt, echo[2])
    else:
        known_seed = echo[3] is not None and _seed(row.echoed_seed) == echo[3]
        distorted = row.prompt is not None and _distorted(row.prompt, echo[2])
        doubtful = rest_fits and (known_seed or distorted)
    return Likeness.DOUBTFUL if doubtful else Likeness.OTHER


def _prompt_fits(row: Generation, echo: EchoClass) -> bool:
    if row.prompt is None or _text(row.prompt) == echo[2]:
        return True
    # A seed that comes back says as much as a whole prompt.
    return echo[3] is not None and _seed(row.echoed_seed) == echo[3] and _distorted(row.prompt, echo[2])


def _rest_fits(row: Generation, echo: EchoClass) -> bool:
    kind, model, *_ = echo
    model_fits = row.model is None or model is None or _model(row.model) == model
    return model_fits and row.kind in (None, kind) and _seed_fits(row, echo)


def _seed_fits(row: Generation, echo: EchoClass) -> bool:
    told = _seed(row.echoed_seed)
    return told is None or echo[3] is None or told == echo[3]


def _seed(value: object) -> str | None:
    """A seed in one notation; `None` where there is none, or one that stands for any."""
    if value is None:
        return None
    with suppress(ValueError, OverflowError):
        number = float(str(value))
        value = int(number) if number.is_integer() else number
    return None if value in (0, -1) else str(value)


@lru_cache(maxsize=65536)
def _text(text: str) -> str:
    """A prompt without what providers echo as they please: white space, composed letters, HTML's escapes."""
    return " ".join(unicodedata.normalize("NFC", html.unescape(text)).split())


@lru_cache(maxsize=1024)
def _model(name: str) -> str:
    """A model without its owner, case and punctuation: a label may stand for the id."""
    last = name.rstrip("/").rpartition("/")[2]
    return _letters(last) or name


def _letters(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).casefold()
    return "".join(sign for sign in plain if sign.isalnum())


def _distorted(told: str, asked: str) -> bool:
    """Whether one may be what became of the other: cut short, or with signs taken away."""
    short, long = sorted((_letters(_text(told)), _letters(asked)), key=len)
    return short == long or (len(short) >= CUT_AT_LEAST and long.startswith(short))


def _alike(told: str, asked: str) -> bool:
    return _distorted(told, asked) or difflib.SequenceMatcher(None, _text(told), asked).ratio() >= ALIKE
