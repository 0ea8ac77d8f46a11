"""Signatures of deliveries: what is accepted, what is refused and why, beside the page's own JavaScript."""

from __future__ import annotations

import hashlib
import hmac
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from prefect_imagine.errors import ImagineError, SignatureError
from prefect_imagine.providers.signatures import (
    LONGEST_HEADER,
    as_javascript_writes,
    check_signature,
    split_secrets,
)

from .properties import relaxed

AT = 1704801600
SECRET = "whsec_0123456789abcdef"
BODY = (Path(__file__).parent / "seeds/aivisualstudio-webhook-event.json").read_bytes()


def signature(body: bytes = BODY, secret: str = SECRET, at: object = AT) -> str:
    signed = f"{at}.".encode() + body
    return hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def header(body: bytes = BODY, secret: str = SECRET, at: object = AT) -> str:
    """As the page writes it."""
    return f"t={at},v1={signature(body, secret, at)}"


def reason_of(
    value: str | None, body: bytes = BODY, secrets: tuple[str, ...] = (SECRET,), now: float = AT
) -> str | None:
    """Why a delivery is refused; `None` where it is accepted."""
    try:
        check_signature(value, body, [SecretStr(secret) for secret in secrets], now)
    except SignatureError as error:
        return error.reason
    return None


def test_what_the_provider_signed_is_accepted() -> None:
    assert reason_of(header()) is None


@pytest.mark.parametrize(
    "value",
    [
        f"v1={signature()},t={AT}",
        f" t = {AT} ,  v1 = {signature()} ",
        f"v0=abc,t={AT},nonce,k=v=w,v1={signature()},",
        f"t={AT},v1={'0' * 64},v1={signature()}",
        f"t={AT},v1={signature()},v1=short",
        f"t={AT},v1={signature()},t=1",
    ],
)
def test_parts_are_read_by_their_names(value: str) -> None:
    assert reason_of(value) is None


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "missing"),
        ("", "missing"),
        ("  ", "missing"),
        (f"{header()},{'x' * LONGEST_HEADER}", "too_long"),
        (header() + ",é=1", "not_ascii"),
        (f"t=١٢,v1={signature()}", "not_ascii"),
        (f"v1={signature()}", "no_time"),
        (f"T={AT},v1={signature()}", "no_time"),
        (f"t=,v1={signature()}", "bad_time"),
        (f"t=soon,v1={signature()}", "bad_time"),
        (f"t={AT}.0,v1={signature(at=f'{AT}.0')}", "bad_time"),
        (f"t=1_704_801_600,v1={signature()}", "bad_time"),
        (f"t={'9' * 4000},v1={signature()}", "bad_time"),
        (f"t={AT}", "no_signature"),
        (f"t={AT},v1=", "no_signature"),
        (f"t={AT},v2={signature()}", "no_signature"),
        ("nonsense", "no_time"),
        (f"t={AT},v1={signature().upper()}", "mismatch"),
        (f"t={AT},v1={signature()[:-1]}", "mismatch"),
        (f"t={AT + 1},v1={signature()}", "mismatch"),
        (f"t=0{AT},v1={signature()}", "mismatch"),
    ],
)
def test_why_a_header_is_refused(value: str | None, reason: str) -> None:
    assert reason_of(value) == reason


@pytest.mark.parametrize(
    ("off", "reason"),
    [(-301, "not_recent"), (-300, None), (0, None), (300, None), (300.9, None), (301, "not_recent")],
)
def test_five_minutes_either_way(off: float, reason: str | None) -> None:
    assert reason_of(header(), now=AT + off) == reason


def test_another_body_is_refused() -> None:
    assert reason_of(header(), BODY.replace(b"completed", b"Completed")) == "mismatch"
    assert reason_of(header(b"not JSON"), b"not JSON") is None
    assert reason_of(header(b"not JSON"), b"no JSON") == "mismatch"
    assert reason_of(header(), b"[" * 100_000) == "mismatch"


@pytest.mark.parametrize(
    ("secrets", "reason"),
    [
        (("whsec_new", SECRET), None),
        ((SECRET, "whsec_new"), None),
        ((f" {SECRET}\n",), None),
        (("whsec_new",), "mismatch"),
        ((SECRET.removeprefix("whsec_"),), "mismatch"),
        ((), "no_secret"),
        (("",), "no_secret"),
    ],
)
def test_several_secrets_while_one_is_rotated(secrets: tuple[str, ...], reason: str | None) -> None:
    assert reason_of(header(), secrets=secrets) == reason


def test_the_key_is_the_secret_with_or_without_its_prefix() -> None:
    assert reason_of(header(secret=SECRET.removeprefix("whsec_"))) is None


@pytest.mark.parametrize("secret", ["", "whsec_", " "])
def test_nobody_signs_with_nothing(secret: str) -> None:
    assert reason_of(header(secret=""), secrets=(secret, SECRET)) == "mismatch"


def test_secrets_are_separated_by_commas() -> None:
    assert split_secrets(" whsec_a, whsec_b ,,") == (SecretStr("whsec_a"), SecretStr("whsec_b"))
    assert split_secrets(SecretStr("whsec_a")) == (SecretStr("whsec_a"),)
    assert split_secrets(None) == split_secrets("") == ()


def test_a_refusal_is_one_of_the_package_s_errors_and_shows_nothing_of_the_delivery() -> None:
    with pytest.raises(ImagineError, match=r"^a delivery's signature was refused: missing$"):
        check_signature(None, BODY, [SecretStr(SECRET)], AT)


# The page's own function.

HARNESS = """
import readline from 'node:readline';
for await (const line of readline.createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line);
  Date.now = () => asked.now * 1000;
  const answer = {};
  try {
    const payload = JSON.parse(asked.body);
    answer.written = JSON.stringify(payload);
    answer.accepts = verifyWebhookSignature(payload, asked.header, asked.secret);
  } catch (error) {
    answer.accepts = false; // a handler that throws accepts nothing
  }
  process.stdout.write(JSON.stringify(answer) + '\\n');
}
"""
Ask = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """The page's own verification, as it stands there, in Node."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node to run the page's JavaScript with")
    script = tmp_path_factory.mktemp("page") / "verify.mjs"
    verbatim = (Path(__file__).parent / "seeds/aivisualstudio-verify.js").read_text(encoding="utf-8")
    script.write_text(verbatim + HARNESS, encoding="utf-8")
    with subprocess.Popen([node, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        to_page, from_page = process.stdin, process.stdout
        assert to_page is not None
        assert from_page is not None

        def ask(
            body: bytes, header: str = "t=0,v1=0", now: float = AT, secret: str = SECRET
        ) -> dict[str, Any]:
            asked = {"body": body.decode(), "header": header, "now": now, "secret": secret}
            to_page.write(json.dumps(asked).encode() + b"\n")
            to_page.flush()
            found: dict[str, Any] = json.loads(from_page.readline())
            return found

        yield ask
        to_page.close()


TEXTS = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(
    ["\u2028", "\x7f", "\x1f", '"\\/']
)
NAMES = TEXTS | st.integers(-2, 2**33).map(str) | st.sampled_from(["__proto__", "01", "1e3", "4294967295"])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**25), 10**25)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """JSON, in one of the ways to write it."""
    spaced = draw(st.sampled_from([None, (",", ":"), (" , ", " :\t")]))
    return json.dumps(
        draw(VALUES),
        ensure_ascii=draw(st.booleans()),
        indent=draw(st.sampled_from([None, 2])),
        separators=spaced,
    ).encode()


@pytest.mark.parametrize(
    "body",
    [
        BODY,
        b'{"b": 1, "2": 2, "a": 3, "1": 4, "4294967294": 5, "4294967295": 6, "01": 7}',
        b'{"a": 1, "b": 2, "a": 3}',
        b'"\\ud83d\\ude00 \\ud83d \\ude00 \\u0041 \\/ \\u2028 \\u007f \\u001f"',
        b"[0, -0, -0.0, 0.1, 100, 1e21, 1e20, 123456789012345680000, 1.5e-7, 0.000001]",
        b"[1e400, -1e400, 5e-324, 9007199254740993, 1152921504606846976]",
        b"[1.7976931348623157e308, 1E2, 1.0, 123.456, -1.25e+30]",
    ],
)
def test_bodies_are_written_as_javascript_writes_them(page: Ask, body: bytes) -> None:
    assert as_javascript_writes(body).decode() == page(body)["written"]


@relaxed
@given(bodies())
def test_any_body_is_written_as_javascript_writes_it(page: Ask, body: bytes) -> None:
    assert as_javascript_writes(body).decode("utf-8", "surrogatepass") == page(body)["written"]


@pytest.mark.parametrize(
    "body", [b"NaN", b"[Infinity]", b"{'a': 1}", b"[1,]", b"01", b'"\x01"', b"\xef\xbb\xbf1"]
)
def test_what_javascript_does_not_read_is_not_written(page: Ask, body: bytes) -> None:
    assert "written" not in page(body)
    with pytest.raises(ValueError):  # noqa: PT011  # of any kind
        as_javascript_writes(body)


@relaxed
@given(
    body=bodies(),
    over=st.sampled_from(["page", "other"]),
    at=st.integers(AT - 310, AT + 310) | st.sampled_from([AT - 301, AT - 300, AT + 300, AT + 301]),
    secret=st.sampled_from([SECRET, "whsec_another"]),
    spoilt=st.sampled_from(["", "{},v1=x", "t={},v1=", "{}0", "{}"]),
    fraction=st.sampled_from([0.0, 0.5]),
)
def test_we_accept_what_the_page_s_function_accepts_and_refuse_what_it_refuses(
    page: Ask, body: bytes, over: str, at: int, secret: str, spoilt: str, fraction: float
) -> None:
    signed = page(body)["written"].encode() if over == "page" else b"[" + body + b"]"
    value = header(signed, secret, at)
    if spoilt:
        value = spoilt.format(value)
    now = AT + fraction
    assert (reason_of(value, body, now=now) is None) is page(body, value, now)["accepts"]


def test_the_page_s_own_example_of_a_header_is_read() -> None:
    example = f"t={AT},v1=5257a869e7ecebeda32affa62cdca3fa51cad7e77a0e56ff536d0ce8e108d8bd"
    assert reason_of(example) == "mismatch"
