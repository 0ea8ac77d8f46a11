"""ImagineLab's checks of a request's fields, worded as FastAPI words its 422."""

from __future__ import annotations

from typing import Any

from prefect_imagine.sandbox.apis.base import Refusal
from prefect_imagine.sandbox.core.settings import KINDS


def checked_create(fields: dict[str, Any] | None) -> dict[str, Any]:
    """The body of a create when its fields have the right types, else a 422 as FastAPI words it."""
    if fields is None:
        raise unprocessable([wrong_field(["body"], "missing", "Field required")])
    errors = [
        missing_field(name) for name in ("generation_type", "model_name", "prompt") if name not in fields
    ]
    errors += [
        wrong_field(["body", name], "string_type", "Input should be a valid string")
        for name in ("generation_type", "model_name", "prompt")
        if name in fields and not isinstance(fields[name], str)
    ]
    if isinstance(fields.get("generation_type"), str) and fields["generation_type"] not in KINDS:
        message = "Input should be " + ", ".join(f"'{kind}'" for kind in KINDS)
        errors.append(wrong_field(["body", "generation_type"], "literal_error", message))
    if not isinstance(fields.get("settings"), dict | None):
        errors.append(wrong_field(["body", "settings"], "dict_type", "Input should be a valid dictionary"))
    if not isinstance(fields.get("project_id"), int | None):
        errors.append(wrong_field(["body", "project_id"], "int_type", "Input should be a valid integer"))
    if errors:
        raise unprocessable(errors)
    return fields


def missing_field(name: str) -> dict[str, Any]:
    return wrong_field(["body", name], "missing", "Field required")


def wrong_field(where: list[str], kind: str, message: str) -> dict[str, Any]:
    return {"type": kind, "loc": where, "msg": message}


def unprocessable(errors: list[dict[str, Any]]) -> Refusal:
    return Refusal(422, {"detail": errors})
