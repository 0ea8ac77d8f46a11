"""An account's balance against the books: how far they explain what became of it since the last report."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from prefect_imagine.batches.accounts.marks import BalanceMark, BookSums
from prefect_imagine.providers.credits import Credits, add_credits

FIRST = "its balance is seen for the first time here: the next report holds it against the books"


@dataclass(frozen=True)
class Statement:
    """An account since the last report.

    Attributes:
        balance: the credits that are left.
        since: when the last report saw the account; `None` where none did.
        before: what was left then.
        charged: what the books of all batches say was charged since then; below 0 where more was refunded.
        unexplained: by how many credits the balance fell more than that; `None` where it cannot be told.
        added: how many credits it has more than the books explain, by a top-up or by refunds that no record
            shows; `None` where it cannot be told.
        note: the same in a sentence, with what may explain a rest.
    """

    provider: str
    balance: Credits
    since: datetime | None = None
    before: Credits | None = None
    charged: Credits | None = None
    unexplained: Credits | None = None
    added: Credits | None = None
    note: str = FIRST


@dataclass(frozen=True)
class Seen:
    """An account as a report sees it.

    Attributes:
        identity: names the account.
        books: what was booked since the moment from which the last report counted.
        creates: how many creates were ever sent with each of the provider's accounts, by its name.
        left_out: batches that cannot be read.
    """

    provider: str
    identity: str
    balance: Credits
    books: BookSums
    creates: Mapping[str, int]
    left_out: Collection[str] = ()


def statement(mark: BalanceMark | None, seen: Seen) -> Statement:
    """An account beside where the last report left it."""
    if mark is None:
        return Statement(seen.provider, seen.balance)
    charged = add_credits([seen.books.charged, -mark.books.charged])
    rest = add_credits([mark.balance, -seen.balance, -charged])
    others = _others(mark, seen)
    booked = f"charged {charged} credits" if charged >= 0 else f"gave {-charged} credits back"
    told = f"{_change(mark, seen.balance)}, and the books {booked}"
    known = Statement(seen.provider, seen.balance, mark.at, mark.balance, charged, note=told)
    if others:
        used = f"{others} more of {seen.provider}'s accounts {'was' if others == 1 else 'were'} used here"
        return replace(known, note=f"{told}; {used}: what each was charged cannot be told apart")
    note = f"{told}: {_verdict(rest, mark, seen)}{_unread(mark, seen)}"
    return replace(known, unexplained=max(rest, 0), added=max(-rest, 0), note=note)


def _others(mark: BalanceMark, seen: Seen) -> int:
    """How many other accounts of the provider have sent creates since then."""
    return sum(
        1
        for identity, creates in seen.creates.items()
        if identity != seen.identity and creates > mark.creates.get(identity, 0)
    )


def _change(mark: BalanceMark, balance: Credits) -> str:
    fell = add_credits([mark.balance, -balance])
    change = f"fell by {fell}" if fell > 0 else f"rose by {-fell}" if fell < 0 else "did not change"
    return f"since {mark.at.astimezone(UTC):%Y-%m-%d %H:%M} UTC the balance {change}"


def _verdict(rest: Credits, mark: BalanceMark, seen: Seen) -> str:
    if not rest:
        return "0 are unexplained"
    if rest > 0:
        reasons = [*_lost(mark, seen), *_moving(mark, seen), "use of the account elsewhere"]
        return f"{rest} are unexplained: {_either(reasons)}"
    reasons = ["a top-up", "refunds that no record shows", *_found(mark), *_moving(mark, seen)]
    return f"{-rest} were added, or came back: {_either(reasons)}"


def _lost(mark: BalanceMark, seen: Seen) -> list[str]:
    possible = add_credits([seen.books.possible, -mark.books.possible])
    estimated = add_credits([seen.books.estimated, -mark.books.estimated])
    return [
        *([f"creates of unknown fate ({possible} possible)"] if possible > 0 else ()),
        *([f"jobs whose cost nobody tells ({estimated} estimated)"] if estimated > 0 else ()),
    ]


def _found(mark: BalanceMark) -> list[str]:
    possible = add_credits([mark.books.possible])
    return [f"creates found since that were of unknown fate then ({possible} possible)"] if possible else []


def _moving(mark: BalanceMark, seen: Seen) -> list[str]:
    moving = (("now", seen.books.under_way), ("at the last report", mark.books.under_way))
    return [f"charges of the moment ({count} jobs were under way {when})" for when, count in moving if count]


def _either(reasons: list[str]) -> str:
    *first, last = reasons
    return f"{', '.join(first)} or {last}" if first else last


def _unread(mark: BalanceMark, seen: Seen) -> str:
    """Which batches only one of the two reports could read."""
    differ = sorted({*mark.left_out} ^ {*seen.left_out})
    return (
        f"; of batches that could not be read then or now nothing is known: {', '.join(differ)}"
        if differ
        else ""
    )
