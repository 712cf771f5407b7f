"""YAML that a person wrote, as plain data: what no settings file holds is an error, not a surprise later.

PyYAML takes the last of two equal keys in silence, recurses as deep as the text does, expands aliases of aliases
without end, and raises whatever a broken number or date happens to raise. Here all of that is a ValueError.
"""

from __future__ import annotations

from typing import Any

import yaml

LARGEST = 1_000_000
"""Characters of the longest text that is read."""
DEEPEST = 60
"""Levels of nesting that are read."""
MOST_VALUES = 100_000
"""Values that a text may stand for once its aliases are written out."""


def parse_yaml(text: str) -> Any:
    """The data of a YAML document (None of an empty one). Raises ValueError that says on one line what is wrong."""
    if len(text) > LARGEST:
        raise ValueError(f"longer than {LARGEST:,} characters")
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check(node)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"not valid YAML ({_cut(reason, 300)})") from None
    except RecursionError:
        raise ValueError(f"nested more than {DEEPEST} levels deep") from None
    except (ArithmeticError, AttributeError, LookupError, TypeError) as error:
        # what PyYAML's constructors raise for !!bool, !!timestamp and the like of something else
        raise ValueError(f"not valid YAML (a value does not fit its tag: {type(error).__name__})") from None


def _check(root: yaml.Node) -> None:
    """Raises ValueError for a node that is too deep, too large, has a key twice or text that is none."""
    sizes: dict[int, int] = {}
    inside: set[int] = set()

    def size_of(node: yaml.Node, depth: int) -> int:
        """How many values a node stands for. An alias is the node it names, so it is looked at once."""
        if id(node) in sizes:
            return sizes[id(node)]
        if depth > DEEPEST:
            raise ValueError(f"nested more than {DEEPEST} levels deep")
        if id(node) in inside:
            raise ValueError(f"{_place(node)}: an alias stands inside what it names")
        inside.add(id(node))
        size = 1
        if isinstance(node, yaml.MappingNode):
            _check_keys(node)
            size += sum(size_of(child, depth + 1) for pair in node.value for child in pair)
        elif isinstance(node, yaml.SequenceNode):
            size += sum(size_of(child, depth + 1) for child in node.value)
        elif isinstance(node, yaml.ScalarNode):
            _check_scalar(node)
        if size > MOST_VALUES:
            raise ValueError(f"{_place(node)}: aliases stand for more than {MOST_VALUES:,} values")
        inside.discard(id(node))
        sizes[id(node)] = size
        return size

    size_of(root, 0)


def _check_keys(node: yaml.MappingNode) -> None:
    """Two equal keys: the first would be dropped. `<<` may stand more than once."""
    seen: set[tuple[str, str]] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
            if (key.tag, key.value) in seen:
                raise ValueError(f"{_place(key)}: the key {_cut(repr(key.value), 60)} stands there twice; remove one")
            seen.add((key.tag, key.value))


def _check_scalar(node: yaml.ScalarNode) -> None:
    if node.tag == "tag:yaml.org,2002:int" and len(node.value) > 1000:
        raise ValueError(f"{_place(node)}: a number of {len(node.value):,} digits")
    if any("\ud800" <= c <= "\udfff" for c in node.value):
        raise ValueError(f"{_place(node)}: text with half of a surrogate pair (\\ud800 to \\udfff)")


def _place(node: yaml.Node) -> str:
    return f"line {node.start_mark.line + 1}"


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
