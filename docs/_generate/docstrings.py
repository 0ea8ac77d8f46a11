"""What docstrings say, by their sections."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from itertools import pairwise
from types import ModuleType

from griffe import (
    Docstring,
    DocstringSectionAdmonition,
    DocstringSectionAttributes,
    DocstringSectionParameters,
    DocstringSectionText,
)


def summary(text: str | None) -> str:
    """A docstring without its sections."""
    parts = _sections(text)
    return "\n\n".join(part.value for part in parts if isinstance(part, DocstringSectionText))


def example(text: str | None) -> str:
    """What stands under `Example:` in a docstring."""
    parts = (part for part in _sections(text) if isinstance(part, DocstringSectionAdmonition))
    return "\n\n".join(str(part.value.contents) for part in parts if part.value.kind == "example")


def described(text: str | None) -> dict[str, str]:
    """What a docstring says of attributes and arguments, by name."""
    return {
        each.name: " ".join(each.description.split())
        for part in _sections(text)
        if isinstance(part, DocstringSectionAttributes | DocstringSectionParameters)
        for each in part.value
    }


def _sections(text: str | None) -> list[object]:
    docstring = Docstring(inspect.cleandoc(text or ""), lineno=1)
    return list(docstring.parse("google", warnings=False))


def constants(module: ModuleType) -> Iterator[tuple[str, object, str]]:
    """The constants of a module that a string below them describes: name, value, and that string."""
    body = ast.parse(inspect.getsource(module)).body
    for node, after in pairwise(body):
        if not (isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(after, ast.Expr)):
            continue
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        says = after.value.value if isinstance(after.value, ast.Constant) else None
        if isinstance(target, ast.Name) and isinstance(says, str):
            yield target.id, getattr(module, target.id), inspect.cleandoc(says)
