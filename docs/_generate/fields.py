"""Models as tables: a row a field."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, get_args

from pydantic import BaseModel, TypeAdapter
from pydantic.dataclasses import is_pydantic_dataclass
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from docs._generate.docstrings import described, summary
from docs._generate.markdown import blocks, code, sentence, table

Model = type[Any]
"""A pydantic model, or a dataclass."""


@dataclass(frozen=True)
class FieldOf:
    """A field of a model: what may stand there, what does where nothing is given, and what it means."""

    name: str
    type: str
    default: str
    meaning: str


def fields_of(model: Model) -> Iterator[FieldOf]:
    """The fields of a model in their order, with what the model or one that it extends says of them."""
    types, said = dict[str, str](), dict[str, str]()
    for each in reversed(model.__mro__):
        types |= {name: _type(text) for name, text in inspect.get_annotations(each).items()}
        said |= described(each.__dict__.get("__doc__"))
    for name, default, description in _declared(model):
        meaning = description or said.get(name) or ("always this" if types[name] == _only(default) else "")
        yield FieldOf(name, types[name], default, f"{sentence(meaning)}{_words(model, name)}")


def models_in(annotation: Any) -> Iterator[Model]:
    """The models that a type is made of, in the order in which they are written."""
    if inspect.isclass(annotation) and (
        issubclass(annotation, BaseModel) or is_pydantic_dataclass(annotation)
    ):
        yield annotation
    for part in get_args(annotation):
        yield from models_in(part)


def with_nested(models: Iterable[Model]) -> list[Model]:
    """Models, each followed by those that its fields hold, and each once."""
    found: dict[Model, None] = {}
    for model in models:
        if model not in found:
            found[model] = None
            held = (field.annotation for field in getattr(model, "model_fields", {}).values())
            nested = with_nested(each for annotation in held for each in models_in(annotation))
            found |= dict.fromkeys(nested)
    return list(found)


def _words(model: Model, name: str) -> str:
    """The words that a field may hold, where they are an enumeration's."""
    annotation = model.model_fields[name].annotation if issubclass(model, BaseModel) else None
    for part in (annotation, *get_args(annotation)):
        if inspect.isclass(part) and issubclass(part, Enum):
            return f" One of {', '.join(code(each.value) for each in part)}."
    return ""


def _declared(model: Model) -> Iterator[tuple[str, str, str]]:
    """Name, default and own description."""
    if issubclass(model, BaseModel):
        for name, field in model.model_fields.items():
            yield name, _default(_given(field)), field.description or ""
        return
    for each in dataclasses.fields(model):
        made = each.default_factory() if each.default_factory is not dataclasses.MISSING else each.default
        yield each.name, _default(PydanticUndefined if made is dataclasses.MISSING else made), ""


def _given(field: FieldInfo) -> object:
    """The value where none is given: the one that the schema tells, where it depends on the environment."""
    told = field.json_schema_extra
    if isinstance(told, dict) and "default" in told:
        return told["default"]
    return field.get_default(call_default_factory=True, validated_data={})


def _type(annotation: object) -> str:
    """As the source has it, which postpones the evaluation of annotations."""
    return str(annotation).replace("'", '"')


def _only(default: str) -> str:
    """The type of which there is this value alone."""
    return f"Literal[{default.strip('`')}]"


def _default(value: object) -> str:
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, BaseModel):
        return code(f"{type(value).__name__}()")
    written = TypeAdapter(type(value)).dump_python(value, mode="json")
    return code(json.dumps(written, ensure_ascii=False))


def model_table(model: Model) -> str:
    """What a model is for, and its fields."""
    return blocks(summary(model.__doc__), field_table(model))


def field_table(model: Model, what: str = "field") -> str:
    """The fields of a model. Two columns, which a phone has room for."""
    return table([what, "meaning"], ([_named(each), _meant(each)] for each in fields_of(model)))


def _named(field: FieldOf) -> str:
    return f"**{code(field.name)}**<br>{code(field.type)}"


def _meant(field: FieldOf) -> str:
    given = "" if field.default in ("required", "`null`") else f" Default: {field.default}."
    return f"{field.meaning}{given}".strip()


def model_section(model: Model, level: int = 2) -> str:
    """The same below a heading."""
    return blocks(f"{'#' * level} {model.__name__}", model_table(model))
