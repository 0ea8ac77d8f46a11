"""Whether a webhook's delivery comes from the provider: AI Visual Studio's `X-Webhook-Signature`.

`t=<Unix time>,v1=<hex>`, where `v1` is the HMAC-SHA256 of `<t>.<body>` (page: Verifying Webhook Signatures).
The body is what was sent. The page's own code computes over the body as JavaScript writes it once it has been
parsed, so a signature over that counts as well: it vouches for the values, as JavaScript reads them.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, NoReturn

from pydantic import SecretStr

from prefect_imagine.errors import SignatureError

HEADER = "X-Webhook-Signature"
LONGEST_HEADER = 4096
LARGEST_SKEW = 300
"""Seconds by which a delivery's time may differ from ours."""
PREFIX = "whsec_"
LARGEST_REWRITTEN = 64 * 1024
"""Bytes of a body that is written anew: strangers too may make us do it."""
LARGEST_ARRAY_INDEX = 2**32 - 2
_TIME = re.compile(r"-?[0-9]{1,20}")
_SURROGATE = re.compile("[\ud800-\udfff]")


def split_secrets(text: str | SecretStr | None) -> tuple[SecretStr, ...]:
    """The secrets in a variable or a block's field: several are separated by commas, while one is rotated."""
    plain = text.get_secret_value() if isinstance(text, SecretStr) else text or ""
    return tuple(SecretStr(part.strip()) for part in plain.split(",") if part.strip())


def check_signature(header: str | None, body: bytes, secrets: Sequence[SecretStr], now: float) -> None:
    """Check that a delivery was signed with one of these secrets, at most five minutes ago.

    Takes time in proportion to the body: bound its size before.

    Args:
        header: the value of `X-Webhook-Signature`, as it came.
        body: as it came.
        secrets: each is tried as it stands, and without its `whsec_`.
        now: Unix time, in seconds.

    Raises:
        SignatureError: it was not, or the header cannot be read.
    """
    time, signatures = _read(header)
    if abs(math.floor(now) - int(time)) > LARGEST_SKEW:
        raise SignatureError("not_recent")
    keys = _keys(secrets)
    if not keys:
        raise SignatureError("no_secret")
    expected = (_hex(key, time, signed) for signed in _signed(body) for key in keys)
    if not any(hmac.compare_digest(each, signature) for each in expected for signature in signatures):
        raise SignatureError("mismatch")


def _read(header: str | None) -> tuple[str, list[bytes]]:
    """The time and the signatures in a header, by their names. Raises `SignatureError`."""
    if header is None or not header.strip():
        raise SignatureError("missing")
    if len(header) > LONGEST_HEADER:
        raise SignatureError("too_long")
    if not header.isascii():
        raise SignatureError("not_ascii")
    pairs = [
        (name.strip(), value.strip()) for name, _, value in (x.partition("=") for x in header.split(","))
    ]
    time = next((value for name, value in pairs if name == "t"), None)
    signatures = [value.encode() for name, value in pairs if name == "v1" and value]
    if time is None:
        raise SignatureError("no_time")
    if not _TIME.fullmatch(time):
        raise SignatureError("bad_time")
    if not signatures:
        raise SignatureError("no_signature")
    return time, signatures


def _keys(secrets: Sequence[SecretStr]) -> list[bytes]:
    """What may be the key. Nothing is none: everybody could sign with it."""
    texts = [secret.get_secret_value().strip() for secret in secrets]
    texts += [text.removeprefix(PREFIX) for text in texts]
    return [text.encode("utf-8", "surrogateescape") for text in dict.fromkeys(texts) if text]


def _hex(key: bytes, time: str, signed: bytes) -> bytes:
    return hmac.new(key, time.encode() + b"." + signed, hashlib.sha256).hexdigest().encode()


def _signed(body: bytes) -> Iterator[bytes]:
    """What the signature may be over."""
    yield body
    if len(body) > LARGEST_REWRITTEN:
        return
    try:
        written = as_javascript_writes(body)
    except (ValueError, RecursionError):
        return
    if written != body:
        yield written


def as_javascript_writes(body: bytes) -> bytes:
    """`JSON.stringify(JSON.parse(body))`. Raises `ValueError` for what is no JSON, and `RecursionError` for
    what is too deep."""
    value = json.loads(body.decode("utf-8"), parse_int=float, parse_constant=_no_json)
    return _written(value).encode("utf-8")


def _no_json(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")


def _written(value: Any) -> str:
    match value:
        case dict():
            names = [
                *sorted(filter(_is_index, value), key=int),
                *(each for each in value if not _is_index(each)),
            ]
            return "{" + ",".join(f"{_text(name)}:{_written(value[name])}" for name in names) + "}"
        case list():
            return "[" + ",".join(map(_written, value)) + "]"
        case str():
            return _text(value)
        case float():
            return _number(value)
        case _:
            return json.dumps(value)


def _is_index(name: str) -> bool:
    """Whether JavaScript takes a name for an index: such names come first, in the order of their numbers."""
    whole = name.isascii() and name.isdigit() and len(name) <= 10
    return whole and str(int(name)) == name and int(name) <= LARGEST_ARRAY_INDEX


def _text(value: str) -> str:
    """A text in quotes; half a surrogate pair is written as an escape."""
    return _SURROGATE.sub(lambda half: f"\\u{ord(half[0]):04x}", json.dumps(value, ensure_ascii=False))


def _number(value: float) -> str:
    """The same shortest digits as Python's, in JavaScript's notation (ECMA-262, Number::toString)."""
    if not math.isfinite(value):
        return "null"
    if value == 0:
        return "0"
    sign, numbers, exponent = Decimal(repr(value)).as_tuple()
    all_digits = "".join(map(str, numbers))
    digits = all_digits.rstrip("0")
    point = len(all_digits) + int(exponent)  # where the point is, from the first digit on
    return "-" * sign + _placed(digits, point)


def _placed(digits: str, point: int) -> str:
    if len(digits) <= point <= 21:
        return digits.ljust(point, "0")
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"0.{'0' * -point}{digits}"
    fraction = f".{digits[1:]}" if digits[1:] else ""
    return f"{digits[0]}{fraction}e{point - 1:+d}"
