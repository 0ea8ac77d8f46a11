"""What goes wrong, when and how often: rules that fire deterministically for a seed."""

from __future__ import annotations

import random
from collections.abc import Container, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from prefect_imagine.sandbox.core.settings import PROVIDERS
from prefect_imagine.sandbox.core.shapes import as_object

API = frozenset({"create", "read", "list", "login", "other"})
MEDIA = frozenset({"media"})
CREATE = frozenset({"create"})
SIGNED = API - {"login"}
WEBHOOK = frozenset({"webhook"})

AT_CREATE = frozenset({"webhook_early", "webhook_forged"})
AT_DELIVERY = frozenset({"webhook_late", "webhook_twice", "webhook_never", "webhook_skewed"})
"""The faults of webhooks: those that a create decides on, and those of a single delivery."""

FAULTS: Mapping[str, frozenset[str]] = {
    "rate_limited": API | MEDIA,
    "error_before": API | MEDIA,
    "error_after": API,
    "cut_before": API | MEDIA,
    "cut_after": API,
    "garbage_after": API,
    "slow": API | MEDIA,
    "slow_accept": CREATE,
    "expired_token": SIGNED,
    "no_credits": CREATE,
    "refused": CREATE,
    "job_fails": CREATE,
    "job_hangs": CREATE,
    "image_error": CREATE,
    "error_200": API,
    "html": MEDIA,
    "truncated": MEDIA,
    "cut_body": MEDIA,
    "empty": MEDIA,
    "no_length": MEDIA,
    "wrong_type": MEDIA,
    "expired_url": MEDIA,
    **dict.fromkeys(sorted(AT_CREATE | AT_DELIVERY), WEBHOOK),
}
"""Each fault with the operations it can hit; a rule's `on` narrows this and never widens it."""


@dataclass(frozen=True, slots=True)
class FaultRule:
    """One thing that goes wrong.

    Of the requests it applies to (`provider`, `on`, `match`: a part of the prompt, which list requests have
    none of), the first `skip` pass; of the others each is hit with probability `rate`, at most `times` times.
    `seconds` is the delay of `slow` and `slow_accept` (default 1) and the `Retry-After` of `rate_limited`
    (default: no such header). `status` replaces a fault's own status code.

    Faults of webhooks hit what is told to one address, by the sandbox's clock: `webhook_late` by `seconds`
    (default 1), `webhook_twice`, `webhook_never`, and `webhook_skewed` with a signature whose time is
    `seconds` old (default 301). Two hit creates of which somebody is told: with `webhook_early` the job ends,
    and is told of, while the create's answer is held back for `seconds` (default 1); with `webhook_forged`
    somebody else claims, `seconds` after acceptance (default: half-way), that it has succeeded.
    """

    fault: str
    provider: str = "*"
    on: str = "any"
    rate: float = 1.0
    times: int | None = None
    skip: int = 0
    seconds: float | None = None
    match: str | None = None
    status: int | None = None

    def __post_init__(self) -> None:
        if self.fault not in FAULTS:
            raise ValueError(f"unknown fault: {self.fault!r}")
        if self.provider != "*" and self.provider not in PROVIDERS:
            raise ValueError(f"unknown provider: {self.provider!r}")
        if self.on != "any" and self.on not in API | MEDIA | WEBHOOK:
            raise ValueError(f"unknown operation: {self.on!r}")
        if not 0 <= self.rate <= 1 or self.skip < 0 or (self.seconds or 0) < 0:
            raise ValueError("rate is from 0 to 1; skip and seconds are not negative")

    @classmethod
    def from_json(cls, value: Any) -> FaultRule:
        names = {one.name for one in fields(cls)}
        given = as_object(value) or {}
        if "fault" not in given or given.keys() - names:
            raise ValueError(f"a fault is an object with `fault` and any of: {', '.join(sorted(names))}")
        return cls(**given)

    def applies(self, provider: str, operation: str, prompt: str | None) -> bool:
        return (
            self.provider in ("*", provider)
            and self.on in ("any", operation)
            and operation in FAULTS[self.fault]
            and (self.match is None or (prompt is not None and self.match in prompt))
        )


def seconds_of(rule: FaultRule, default: float = 1.0) -> float:
    return default if rule.seconds is None else rule.seconds


class _Armed:
    """A rule with its own dice, so that what one rule does never depends on the others."""

    def __init__(self, rule: FaultRule, dice: random.Random) -> None:
        self.rule = rule
        self.seen = 0
        self.hits = 0
        self._dice = dice

    def fires(self) -> bool:
        self.seen += 1
        if self.seen <= self.rule.skip or (self.rule.times is not None and self.hits >= self.rule.times):
            return False
        hit = self.rule.rate >= 1.0 or self._dice.random() < self.rule.rate
        self.hits += hit
        return hit


Fired = Mapping[str, FaultRule]
NOTHING: Fired = {}


class Faults:
    """The armed rules, in the order they were added."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._armed: list[_Armed] = []
        self._added = 0

    def add(self, *rules: FaultRule) -> None:
        for rule in rules:
            self._added += 1
            dice = random.Random(f"{self._seed}:{self._added}:{rule.fault}")
            self._armed.append(_Armed(rule, dice))

    def clear(self) -> None:
        self._armed = []

    def reset(self, seed: int) -> None:
        self._seed, self._added, self._armed = seed, 0, []

    def as_json(self) -> list[dict[str, Any]]:
        """The rules with how many requests each has seen and hit."""
        return [asdict(one.rule) | {"seen": one.seen, "hits": one.hits} for one in self._armed]

    def fire(self, provider: str, operation: str, prompt: str | None, only: Container[str] = FAULTS) -> Fired:
        """The faults this request or delivery suffers, by name; of two of one name the earlier rule wins."""
        if not self._armed:
            return NOTHING
        fired: dict[str, FaultRule] = {}
        for one in list(self._armed):
            rule = one.rule
            if rule.fault not in only:
                continue
            if rule.fault not in fired and rule.applies(provider, operation, prompt) and one.fires():
                fired[rule.fault] = rule
        return fired
