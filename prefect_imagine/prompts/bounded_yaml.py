"""YAML whose aliases stay within bounds: a few lines of them can stand for billions of values."""

from __future__ import annotations

from typing import Any

import yaml

GROWTH = 20
SMALL = 1_000_000
"""Characters that aliases may make of any file, however small."""
DEEPEST = 100


def load_yaml(text: str) -> Any:
    """The document's value.

    Raises:
        yaml.YAMLError: it is none, or its aliases stand for far more than it holds.
    """
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None
        _check(root)
        return loader.construct_document(root)
    finally:
        loader.dispose()


def _check(root: yaml.Node) -> None:
    sizes = _Sizes()
    whole, _ = sizes.of(root)
    if whole > max(SMALL, GROWTH * sizes.written):
        raise yaml.YAMLError("its aliases stand for far more than it holds; write out what they stand for")


class _Sizes:
    """Measures nodes as they are with every alias written out, each of them once."""

    def __init__(self) -> None:
        self.written = 0
        self._known: dict[yaml.Node, tuple[int, int] | None] = {}

    def of(self, node: yaml.Node) -> tuple[int, int]:
        """Characters and depth of a node."""
        if node not in self._known:
            self._known[node] = None
            self._known[node] = self._measured(node)
        size = self._known[node]
        if size is None:
            raise _refusal("an alias stands inside of what it stands for", node)
        return size

    def _measured(self, node: yaml.Node) -> tuple[int, int]:
        own = 1 + (len(node.value) if isinstance(node, yaml.ScalarNode) else 0)
        self.written += own
        inner = [self.of(child) for child in _children(node)]
        depth = 1 + max((depth for _, depth in inner), default=0)
        if depth > DEEPEST:
            raise _refusal(f"it is more than {DEEPEST} levels deep", node)
        return own + sum(size for size, _ in inner), depth


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [each for pair in node.value for each in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _refusal(problem: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
