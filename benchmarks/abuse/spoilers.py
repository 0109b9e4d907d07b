"""Ways to spoil a file or folder, each by name: text that is no JSON or YAML, values of a wrong kind, odd entries."""

from __future__ import annotations

import json
import os
import random
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

Change = Callable[[Path], None]
"""Spoils one path."""
LONG = "x" * 5000
KERNELS = "/proc/version"
"""A file outside of every workspace that not even root can replace: what a command wrote there would stay."""
DEEP = 20_000

TEXTS: dict[str, bytes] = {
    "empty": b"",
    "blank": b"\n \n",
    "null": b"null",
    "a number": b"3",
    "a word": b'"x"',
    "a list": b"[]",
    "an empty object": b"{}",
    "a list of an empty object": b"[{}]",
    "lists nested 20,000 deep": b"[" * DEEP,
    "objects nested 20,000 deep": b'{"a":' * DEEP,
    "closed lists nested 20,000 deep": b"[" * DEEP + b"]" * DEEP,
    "not UTF-8": b"\xff\xfe\x00{",
    "null bytes": b"\x00" * 64,
    "a lone surrogate": b'{"sku": "\\ud800"}',
    "a number too large": b'{"format": 1e999999}',
    "an integer of 5,000 digits": b'{"format": ' + b"9" * 5000 + b"}",
    "two documents": b"{}\n{}\n{",
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
    "HTML": b"<html><body>404</body></html>",
    "a merge conflict": b"<<<<<<< HEAD\n{}\n=======\n{}\n>>>>>>> x\n",
}
"""What a document may hold instead of itself."""

YAML_TEXTS: dict[str, bytes] = {
    "an open list": b"train: [",
    "a reserved sign": b"class_noun: @x",
    "a tag": b"class_noun: !!int abc",
    "a date that is none": b"class_noun: 2001-99-99",
    "a call": b"class_noun: !!python/object/apply:os.system ['touch called']",
    "an anchor that contains itself": b"a: &a [*a]",
    "nine levels of aliases": b"a0: &a0 [x, x]\n"
    + b"".join(b"a%d: &a%d [%s]\n" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 10)),
    "an unknown alias": b"class_noun: *nobody",
    "1 MB of keys": b"".join(b"k%d: 1\n" % n for n in range(100_000)),
    "10 MB of keys": b"".join(b"key%d: value\n" % n for n in range(700_000)),
    "lists nested 20,000 deep": b"[" * DEEP,
    "mappings nested 20,000 deep": b"{a: " * DEEP,
    "tabs": b"class_noun:\n\t- x",
    "two documents": b"a: 1\n---\nb: 2\n",
    "a directive": b"%YAML 9.9\n---\na: 1\n",
    "a key twice": b"class_noun: mug\nclass_noun: cup\n",
    "a list as a key": b"? [a, b]\n: 1\n",
    "a list": b"- a\n- b\n",
    "a word": b"mug",
    "Latin-1": b"class_noun: K\xf6nig\n",
    "UTF-16": "class_noun: mug\n".encode("utf-16"),
    "null bytes": b"\x00" * 64,
    "a control sign": b"class_noun: \x07\n",
    "an open quote": b'class_noun: "mug\n',
    "wrong indentation": b"a:\n    b: 1\n  c: 2\n",
    "a merge key": b"<<: {class_noun: mug}\n",
    "an unknown key": b"colour: red\n",
    "a key of 5,000 signs": LONG.encode() + b": 1\n",
    "a merge conflict": b"<<<<<<< HEAD\na: 1\n=======\na: 2\n>>>>>>> x\n",
}
"""What a YAML file may hold; all of it wrong for every one of ours."""

VALUES: dict[str, Any] = {
    "null": None,
    "a list": [],
    "a mapping": {},
    "a list of lists": [[[]]],
    "a word": "banana",
    "empty": "",
    "-1": -1,
    "a huge number": 10**30,
    "a fraction": 0.333,
    "infinite": float("inf"),
    "not a number": float("nan"),
    "true": True,
    "../../outside/kept.txt": "../../outside/kept.txt",
    KERNELS: KERNELS,
    "~nosuchuser/x": "~nosuchuser/x",
    "5,000 signs": LONG,
    "a null byte": "a\0b",
    "newlines": "a\nError: b\nhint: c",
}
"""Values that may stand where others are wanted."""

WORDS: dict[str, str] = {
    "empty": "",
    "a dot": ".",
    "two dots": "..",
    "a path": "a/b",
    "an absolute path": KERNELS,
    "a folder": "/proc/sys/kernel",
    "a device": "device",
    "5,000 signs": LONG,
    "another user's home": "~nosuchuser/x",
    "not UTF-8": os.fsdecode(b"caf\xe9"),
    "newlines": "a\nb",
    "a dash": "-",
    "a FIFO": "fifo",
    "a link to itself": "itself",
    "a broken link": "broken",
    "a folder without rights": "closed",
    "an emoji": "\U0001f943",
}
"""What may be given for a name or path on a command line; the entries are made by `odd_entries`."""


def odd_entries(root: Path) -> None:
    """The entries that `WORDS` names."""
    os.mkfifo(root / "fifo")
    try:  # a device of its own: who writes beside and renames would replace the system's
        os.mknod(root / "device", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    except PermissionError:
        (root / "device").symlink_to("/dev/zero")
    (root / "itself").symlink_to("itself")
    (root / "broken").symlink_to("nothing")
    (root / "closed").mkdir(mode=0o000)


def at(path: str, change: Change) -> Change:
    """A change of one path of the workspace, which it is given."""
    return lambda root: change(root / path)


def written(data: bytes) -> Change:
    """Other bytes in a file."""
    return lambda path: _replace(path, lambda: path.write_bytes(data)) and None


def _replace(path: Path, make: Callable[[], object]) -> bool:
    """Remove what is at a path and make something else."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    make()
    return True


def _sparse(path: Path, size: int) -> None:
    with path.open("wb") as handle:
        handle.truncate(size)


def outside(path: Path) -> Path:
    """The folder beside the workspace, of some path in it."""
    return next(parent for parent in path.parents if parent.name == "workspace").parent / "outside"


def entry(kind: str) -> Change:
    """Another kind of entry at a path.

    Args:
        kind: a key of `ENTRIES`.
    """
    makers: dict[str, Callable[[Path], object]] = {
        "a folder": lambda p: p.mkdir(),
        "a file": lambda p: p.write_text("x", encoding="utf-8"),
        "a FIFO": os.mkfifo,
        "a link to itself": lambda p: p.symlink_to(p.name),
        "a broken link": lambda p: p.symlink_to("nothing"),
        "a link to a device": lambda p: p.symlink_to("/dev/zero"),
        "a link out": lambda p: p.symlink_to(outside(p)),
        "a link to a file outside": lambda p: p.symlink_to(outside(p) / "kept.txt"),
        "3 GB": lambda p: _sparse(p, 3 << 30),
        "gone": lambda p: None,
    }
    return lambda path: _replace(path, lambda: makers[kind](path)) and None


ENTRIES = ("a folder", "a FIFO", "a link to itself", "a broken link", "a link to a device", "3 GB")
"""What may stand at a file's place."""
FOLDER_ENTRIES = ("a file", "a FIFO", "a link to itself", "a broken link", "a link to a device")
"""What may stand at a folder's place."""


def cut(share: float) -> Change:
    """A file that ends early."""
    return lambda path: path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)]) and None


def closed(mode: int) -> Change:
    """Other rights."""
    return lambda path: path.chmod(mode)


def leaves(data: Any, place: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The places of all values in a document."""
    found = [place] if place else []
    if isinstance(data, dict):
        for key, value in data.items():
            found += leaves(value, (*place, key))
    elif isinstance(data, list):
        for number, value in enumerate(data[:2]):
            found += leaves(value, (*place, number))
    return found


def with_value(data: Any, place: tuple[str | int, ...], value: Any) -> Any:
    """A document with another value at a place; `KeyError` as value removes it."""
    copy: Any = json.loads(json.dumps(data))
    node = copy
    for part in place[:-1]:
        node = node[part]
    if value is KeyError:
        del node[place[-1]]
    else:
        node[place[-1]] = value
    return copy


def value_changes(data: Any, rng: random.Random, count: int) -> dict[str, Any]:
    """Documents that differ in one value each, by name.

    Args:
        data: the document.
        rng: draws them.
        count: how many.
    """
    choices = [(place, name) for place in leaves(data) for name in (*VALUES, "gone")]
    found = {}
    for place, name in rng.sample(choices, min(count, len(choices))):
        value = KeyError if name == "gone" else VALUES[name]
        found[f"{'.'.join(map(str, place))} is {name}"] = with_value(data, place, value)
    return found
