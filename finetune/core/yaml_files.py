"""The one reader of YAML, for files and `--set`: every scalar is text, and the field's type decides what it means.

So `00123`, `1e5`, `yes` and `2026-01-01` stay these words where text is wanted, and `yes` is a truth value only in a
boolean field. Empty, `~` and `null` are None. Documents are small by construction: limits on bytes, depth and the size
with aliases written out keep hostile ones from hanging or filling memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from finetune.core.errors import ConfigError, PackshotError
from finetune.core.text_files import read_text

MAX_DEPTH = 20
"""Levels of nesting."""
MAX_NODES = 20_000
"""Values of a document with every alias written out."""
NOTHING = {"", "~", "null", "Null", "NULL"}
"""Plain scalars that mean None (YAML 1.2's core schema)."""

_Parser: Any = getattr(yaml, "CParser", None)


class _Refused(Exception):
    """A document that is YAML, and is refused."""

    def __init__(self, what: str, mark: Any) -> None:
        super().__init__(what)
        self.what, self.mark = what, mark


def read_yaml(path: Path, error: type[PackshotError] = ConfigError) -> dict[str, Any]:
    """Read a YAML file that holds a mapping; an empty file is an empty mapping.

    Args:
        path: the file.
        error: class of the errors raised.

    Raises:
        PackshotError: of class `error`: the file can't be read, is not YAML, exceeds a limit, or holds no mapping.
    """
    data = parse_yaml(read_text(path, error), path.name, error)
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise error(f"{path.name} must hold a mapping of keys to values", "write `key: value` lines")
    return data


def parse_yaml(text: str, source: str, error: type[PackshotError] = ConfigError) -> Any:
    """Values of a YAML text: None, str, list and dict alone.

    Args:
        text: one document.
        source: names the text in messages.
        error: class of the errors raised.

    Raises:
        PackshotError: of class `error`, one line with the position.
    """
    try:
        node = _compose(text)
        return None if node is None else _value_of(node)
    except _Refused as refused:
        where, what, hint = _place(refused.mark), refused.what, "see the reference of this file's keys"
        raise error(f"{source}{where}: {what}", hint) from None
    except (yaml.YAMLError, ValueError, RecursionError) as problem:
        mark = getattr(problem, "problem_mark", None)
        told = getattr(problem, "problem", None) or getattr(problem, "reason", None) or problem
        what = "it is nested too deeply" if isinstance(problem, RecursionError) else " ".join(str(told).split())
        raise error(f"{source}{_place(mark)} is not valid YAML: {what}", "check indentation and quotes") from problem


def _place(mark: Any) -> str:
    return f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""


def _compose(text: str) -> yaml.Node | None:
    """The document's graph of nodes.

    Raises:
        _Refused: it is nested too deeply, or holds too many values.
        yaml.YAMLError: it is not YAML, or holds several documents.
    """
    depth = count = 0
    for event in yaml.parse(text, Loader=_loader()):
        if isinstance(event, yaml.events.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise _Refused(f"nested more than {MAX_DEPTH} levels deep", event.start_mark)
        elif isinstance(event, yaml.events.CollectionEndEvent):
            depth -= 1
        count += isinstance(event, yaml.events.NodeEvent)
        if count > MAX_NODES:
            raise _Refused(f"more than {MAX_NODES:,} values", event.start_mark)
    return yaml.compose(text, Loader=_loader())


def _loader() -> Any:
    """libyaml's parser where PyYAML was built with it, else PyYAML's own, twenty times slower."""
    return yaml.CBaseLoader if _Parser is not None else yaml.BaseLoader


def _value_of(root: yaml.Node) -> Any:
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: yaml.Node) -> int:
        """Values under a node with every alias written out."""
        if id(node) in open_nodes:
            raise _Refused("an anchor contains itself", node.start_mark)
        if id(node) not in sizes:
            open_nodes.add(id(node))
            sizes[id(node)] = 1 + sum(size(child) for child in _children(node))
            open_nodes.discard(id(node))
            if sizes[id(node)] > MAX_NODES:
                raise _Refused(f"more than {MAX_NODES:,} values", node.start_mark)
        return sizes[id(node)]

    size(root)
    return _build(root)


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _build(node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        plain = node.style is None or node.style == ""
        return None if plain and node.value in NOTHING else node.value
    if isinstance(node, yaml.SequenceNode):
        return [_build(child) for child in node.value]
    found: dict[str, Any] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _Refused("a key must be a word", key.start_mark)
        if key.value in found:
            raise _Refused(f"the key '{key.value[:60]}' stands here twice", key.start_mark)
        found[key.value] = _build(value)
    return found
