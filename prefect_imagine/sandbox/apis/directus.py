"""The part of Directus' query language that lists of images are asked with."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prefect_imagine.sandbox.apis.base import Refusal, whole_number
from prefect_imagine.sandbox.core.shapes import as_list

if TYPE_CHECKING:
    from prefect_imagine.sandbox.apis.imagineapi import ImagineAPI
    from prefect_imagine.sandbox.core.books import Job

FIELDS = ("id", "prompt", "ref", "status", "date_created")
DEFAULT_LIMIT = 100
SORTS = ("", "date_created", "-date_created")
_FILTER = re.compile(r"filter\[(\w+)\]\[(_\w+)\](?:\[\d*\])?")


@dataclass(frozen=True, slots=True)
class Condition:
    """`filter[name][operator]=value`; `_in` and `_nin` have several values."""

    name: str
    operator: str
    values: tuple[str, ...]

    def holds(self, have: str | None) -> bool:
        """Whether a field that has this value meets the condition."""
        if self.operator == "_in":
            return have in self.values
        if self.operator == "_nin":
            return have not in self.values
        want = self.values[0]
        return (
            have is not None
            and {
                "_eq": have == want,
                "_neq": have != want,
                "_gt": have > want,
                "_gte": have >= want,
                "_lt": have < want,
                "_lte": have <= want,
                "_contains": want in have,
            }[self.operator]
        )


Complain = Callable[[str], Refusal]
OPERATORS = ("_in", "_nin", "_eq", "_neq", "_gt", "_gte", "_lt", "_lte", "_contains")


@dataclass(frozen=True, slots=True)
class Query:
    """What a list is asked for. `limit` -1 is everything; `sort` is empty when the order does not matter."""

    conditions: tuple[Condition, ...]
    limit: int
    offset: int
    sort: str

    def matches(self, value_of: Callable[[str], str | None]) -> bool:
        """Whether a row is asked for; only the fields in question are looked at."""
        return all(condition.holds(value_of(condition.name)) for condition in self.conditions)

    def ids(self) -> list[str] | None:
        """The ids asked for, each once; None when the query names none."""
        for condition in self.conditions:
            if condition.name == "id" and condition.operator in ("_in", "_eq"):
                return list(dict.fromkeys(condition.values))
        return None

    def page(self, jobs: list[Job]) -> Sequence[Job]:
        end = None if self.limit < 0 else self.offset + self.limit
        return jobs[self.offset : end]


def read_query(query: Mapping[str, str], api: ImagineAPI) -> Query:
    """The query of a list request, or `Refusal` as Directus words it."""

    def complain(message: str) -> Refusal:
        return api.refuse("invalid", f"Invalid query. {message}.", code="INVALID_QUERY", reason=message)

    limit = _limit(query, api.world.settings.query_limit_max, complain)
    offset = whole_number(query, "offset", 0, complain)
    page = whole_number(query, "page", 1, complain)
    sort = query.get("sort", "")
    if limit < -1 or offset < 0 or page < 1 or sort not in SORTS:
        raise complain('"limit", "offset", "page" or "sort" is out of range')
    conditions = _conditions(query, api, complain)
    return Query(conditions, limit, offset + (page - 1) * max(limit, 0), sort)


def _limit(query: Mapping[str, str], most: int | None, complain: Complain) -> int:
    """How many rows are asked for. Where the server has a maximum, -1 means that many."""
    limit = whole_number(query, "limit", DEFAULT_LIMIT, complain)
    if most is None:
        return limit
    if limit == -1:
        return most
    if "limit" not in query:
        return min(limit, most)
    if limit > most:
        raise complain(f'"limit" must be less than or equal to {most}')
    return limit


def _conditions(query: Mapping[str, str], api: ImagineAPI, complain: Complain) -> tuple[Condition, ...]:
    found: dict[tuple[str, str], list[str]] = {}
    for name, value in query.items():
        if match := _FILTER.fullmatch(name):
            found.setdefault((match[1], match[2]), []).extend(_values(match[2], value))
    for field, operator, values in _from_json(query, complain):
        found.setdefault((field, operator), []).extend(values)
    for field, operator in found:
        if field not in api.filterable():
            raise api.forbidden()
        if operator not in OPERATORS:
            raise complain(f'Invalid filter operator "{operator}"')
    return tuple(Condition(*where, tuple(values)) for where, values in found.items())


def _values(operator: str, text: str) -> list[str]:
    return text.split(",") if operator in ("_in", "_nin") else [text]


def _from_json(query: Mapping[str, str], complain: Complain) -> list[tuple[str, str, list[str]]]:
    """`filter={"id": {"_in": ["…"]}}`"""
    if "filter" not in query:
        return []
    try:
        tree: dict[str, dict[str, Any]] = json.loads(query["filter"])
        return [
            (field, operator, _strings(value))
            for field, rules in tree.items()
            for operator, value in rules.items()
        ]
    except (ValueError, AttributeError):
        raise complain('"filter" is not valid JSON') from None


def _strings(value: Any) -> list[str]:
    listed = as_list(value)
    return [str(one) for one in ([value] if listed is None else listed)]
