"""Who may call: fixed demo credentials, and as many further accounts as anyone names."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

from prefect_imagine.sandbox.core.books import Job
from prefect_imagine.sandbox.core.ratelimit import Limiter, make_limiter
from prefect_imagine.sandbox.core.settings import (
    AIVISUALSTUDIO,
    BLOCKADELABS,
    IMAGINEAPI,
    IMAGINELAB,
    RateLimit,
)

EMAIL = "you@example.com"
PASSWORD = "sandbox"
KEYS = {
    IMAGINELAB: "imaginelab-sandbox-key",
    BLOCKADELABS: "blockade-sandbox",
    IMAGINEAPI: "imagineapi-sandbox",
    AIVISUALSTUDIO: "avs_live_sandbox",
}
ANONYMOUS = ""


@dataclass(slots=True, eq=False)
class Subscription:
    """A webhook that an account has registered. The secret is shown once."""

    id: str
    url: str
    events: list[str]
    created_at: str
    secret: str
    is_active: bool = True

    def wants(self, event: str) -> bool:
        return self.is_active and event in self.events


@dataclass(slots=True, eq=False)
class Account:
    """One customer of one provider. `jobs` are those the API still shows, oldest first, as are `webhooks`.
    One whose key is `blind` is told a balance of 0, whatever is left."""

    provider: str
    name: str
    user_id: int
    readonly: bool = False
    blind: bool = False
    jobs: list[Job] = field(default_factory=list[Job])
    spent: int = 0
    losses: list[Job] = field(default_factory=list[Job])
    webhooks: dict[str, Subscription] = field(default_factory=dict[str, Subscription])
    _rule: RateLimit = field(default_factory=RateLimit)
    _limiter: Limiter = field(default_factory=lambda: make_limiter(RateLimit()))

    def limiter(self, rule: RateLimit) -> Limiter:
        """This account's limiter under the rule in force; a changed rule starts afresh."""
        if rule != self._rule:
            self._rule, self._limiter = rule, make_limiter(rule)
        return self._limiter

    def charged(self, now: float) -> int:
        """Credits taken and not given back."""
        return self.spent - sum(job.price - job.credits(now) for job in self.losses)

    def unfinished(self, now: float) -> int:
        return sum(job.phase(now) == "running" for job in self.jobs)


@dataclass(frozen=True, slots=True)
class View:
    """Who is shown something, and at which moment (epoch seconds)."""

    account: Account
    now: float


class Accounts:
    """Accounts by provider and name, made when first used."""

    def __init__(self) -> None:
        self._accounts: dict[tuple[str, str], Account] = {}

    def clear(self) -> None:
        self._accounts.clear()

    def by_name(self, provider: str, name: str) -> Account:
        account = self._accounts.get((provider, name))
        if account is None:
            account = Account(
                provider,
                name,
                user_id=17 + zlib.crc32(name.encode()) % 1_000_000 if name not in _MAIN else 17,
                readonly=name.endswith("-readonly"),
                blind=name.partition("@")[0].endswith("-blind"),
            )
            self._accounts[provider, name] = account
        return account

    def by_key(self, provider: str, key: str) -> Account | None:
        """The account of an API key: the demo key, or the demo key with `-<anything>`."""
        demo = KEYS[provider]
        if key != demo and not (key.startswith(f"{demo}-") and len(key) > len(demo) + 1):
            return None
        if provider == IMAGINELAB:
            return self.by_name(provider, email_of(key[len(demo) + 1 :]))
        return self.by_name(provider, key)

    def by_login(self, email: str, password: str) -> Account | None:
        """ImagineLab's account of an email: the demo one, or `you+<anything>@example.com`."""
        local, _, domain = email.partition("@")
        known = domain == "example.com" and (local == "you" or (local.startswith("you+") and len(local) > 4))
        return self.by_name(IMAGINELAB, email) if known and password == PASSWORD else None


_MAIN = {EMAIL, *KEYS.values()}


def key_of(provider: str, account: str) -> str:
    """The API key of the demo account (no name) or of one that anyone names."""
    return f"{KEYS[provider]}-{account}" if account else KEYS[provider]


def email_of(account: str) -> str:
    """The email that such an account has at ImagineLab."""
    return f"you+{account}@example.com" if account else EMAIL
