"""All cases, in a fixed order for a seed: every document, value, name, entry and right that a command may meet."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

from benchmarks.abuse import spoilers
from benchmarks.abuse.adapter_cases import adapter_cases, foreign_cases
from benchmarks.abuse.plate_cases import plate_cases
from benchmarks.abuse.runner import Case, Expected
from benchmarks.abuse.spoilers import Change, at, entry, written
from benchmarks.abuse.template import DESK, PREPARE, PROMPT, SKU

PLACE = ("place", SKU, "--prompt", PROMPT, "--adapter", "none", "--base", "embedded", "--size", "256", "--steps", "1")
PLATE = ("place", SKU, "--plate", DESK)
CUTOUT = ("cutout", SKU)
PROMOTE = ("adapters", "promote", SKU, "1", "--force")
CHECK = ("check", SKU, *PREPARE)
NIGHT = ("nightly", "--dry-run", "--set", "config=embedded")
SHOWN = ("config", "show", "--config", "embedded", "--set")
SET = f"datasets/{SKU}"
ADAPTERS = f"adapters/{SKU}"
Lines = tuple[tuple[tuple[str, ...], Expected], ...]
"""Commands that read a document, and how each has to end when it is spoiled."""

JSON_DOCUMENTS: dict[str, Lines] = {
    f"{SET}/prepared/prepared.json": ((PLACE, "error"), (("prepare", SKU, *PREPARE), "fine")),
    f"{SET}/prepared/metadata.jsonl": ((("prepare", SKU, *PREPARE), "fine"),),
    f"{SET}/prepared/records/front.json": ((CHECK, "fine"),),
    f"{SET}/prepared/remembered.json": ((CHECK, "fine"),),
    ".cache/hashes/mug.json": ((CHECK, "fine"), (("prepare", SKU, *PREPARE), "fine")),
    ".cache/checks/mug/remembered.json": ((CHECK, "fine"),),
    f"{ADAPTERS}/0001/adapter.json": (
        (("adapters", "export", SKU, "--version", "1", "--format", "kohya", "--output", "o.safetensors"), "error"),
    ),
    f"{ADAPTERS}/0001/fidelity.json": (
        (("adapters", "list"), "fine"),
        (NIGHT, "either"),
    ),
    f"{ADAPTERS}/history.jsonl": ((("adapters", "rollback", SKU), "error"), (("adapters", "prune", SKU), "error")),
    f"{ADAPTERS}/current": ((("adapters", "show", SKU), "error"), (PROMOTE, "fine")),
    "SCENE/01.json": ((("verify", "SCENE/01.png"), "error"),),
    "SCENE/run.json": ((PLACE, "either"),),
    "PLATED/01.json": ((("verify", "PLATED/01.png"), "error"), (PLATE, "either")),
    "PLATED/run.json": ((PLATE, "either"),),
}
"""Document -> the commands that read it. `SCENE` and `PLATED` stand for the folders of the template's scenes."""
CERTAIN = ("empty", "null", "a number", "a word", "a list", "not UTF-8", "null bytes", "a picture", "HTML")
"""Texts that none of the documents may hold; the others fit some."""
PLAIN_WORDS = ("a tag", "a date that is none")
"""Texts that give a class noun, since every scalar is read as it is written."""
YAML_DOCUMENTS: dict[str, Lines] = {
    f"{SET}/set.yaml": ((("prepare", SKU, *PREPARE), "error"), (CHECK, "error"), (PLACE, "error")),
    "embedded.yaml": ((("config", "check", "--config", "embedded.yaml"), "error"),),
    "flat-lay.yaml": (((*PLACE, "--config", "flat-lay.yaml"), "error"),),
    "nightly.yaml": ((("nightly", "--config", "nightly.yaml", "--dry-run", "--set", "config=embedded"), "error"),),
    "gate.yaml": ((("evaluate", SKU, "--gate", "gate.yaml"), "error"),),
}


def all_cases(template: Path, seed: int) -> list[Case]:
    """Every case.

    Args:
        template: The workspace of `benchmarks.abuse.template`, whose documents are varied.
        seed: Of the values and places that are drawn.
    """
    rng = random.Random(seed)
    scene, plated = (str(next(template.glob(f"scenes/{SKU}/{n}-*")).relative_to(template)) for n in ("on-oak", "desk"))
    found = [
        *json_cases(template, {"SCENE": scene, "PLATED": plated}, rng),
        *yaml_cases(template, rng),
        *setting_cases(rng),
        *adapter_cases(template, rng),
        *foreign_cases(rng),
        *word_cases(scene),
        *photo_cases(),
        *entry_cases(scene),
        *right_cases(scene),
        *plate_cases(template, rng),
    ]
    assert len({case.key for case in found}) == len(found), "each case has a name of its own"
    return found


def json_cases(template: Path, scenes: dict[str, str], rng: random.Random) -> Iterator[Case]:
    """Documents that Packshot wrote, spoiled; `scenes` are the folders that stand for words of the table."""

    def named(text: str) -> str:
        for word, folder in scenes.items():
            text = text.replace(word, folder)
        return text

    for document, lines in JSON_DOCUMENTS.items():
        path = named(document)
        for line, expected in lines:
            arguments = tuple(named(part) for part in line)
            for name, data in spoilers.TEXTS.items():
                sure = name in CERTAIN and not (name == "empty" and path.endswith(".jsonl"))
                yield Case("JSON", f"{document} is {name}", at(path, written(data)), arguments, _as(expected, sure))
            for share in (0.5, 0.9):
                yield Case(
                    "JSON", f"{document} is cut at {share:.0%}", at(path, spoilers.cut(share)), arguments, "either"
                )
            yield from _varied(template / path, path, document, arguments, rng)


def _as(expected: Expected, sure: bool) -> Expected:
    return expected if sure else "either"


def _varied(file: Path, path: str, document: str, arguments: tuple[str, ...], rng: random.Random) -> Iterator[Case]:
    """The document with one value changed."""
    if not file.name.endswith((".json", ".jsonl")):
        return
    text = file.read_text(encoding="utf-8")
    lines = text.splitlines() if file.suffix == ".jsonl" else [text]
    data = json.loads(lines[0])
    if not isinstance(data, dict) or not data:
        return
    for name, changed in spoilers.value_changes(data, rng, 14).items():
        text = "\n".join([json.dumps(changed), *lines[1:]]) + "\n"
        yield Case("JSON values", f"{document}: {name}", at(path, written(text.encode())), arguments, "either")


def yaml_cases(template: Path, rng: random.Random) -> Iterator[Case]:
    """Documents that people write, spoiled."""
    from finetune.core.yaml_files import read_yaml

    for document, lines in YAML_DOCUMENTS.items():
        for arguments, expected in lines:
            for name, data in spoilers.YAML_TEXTS.items():
                sure = name not in PLAIN_WORDS or document != f"{SET}/set.yaml"
                yield Case("YAML", f"{document} is {name}", at(document, written(data)), arguments, _as(expected, sure))
        values = read_yaml(template / document)
        for name, changed in spoilers.value_changes(values, rng, 24).items():
            text = json.dumps(changed).encode()  # JSON is YAML
            yield Case("YAML values", f"{document}: {name}", at(document, written(text)), lines[0][0], "either")


def setting_cases(rng: random.Random) -> Iterator[Case]:
    """`--set` with every section and odd values, for each command that has it."""
    texts = ["[", "@x", "!!int abc", "2001-99-99", "&a [*a]", "{", "'", "*x", "? [a]", "\x00", "[" * 5000, "- x: -"]
    texts += ["a: b: c", "!!python/name:os.system", spoilers.LONG, "\udce9", "{a: 1, a: 2}"]
    for text in texts:
        for key in ("train.steps", "base.model"):
            yield Case(
                "--set",
                f"{key}={text[:20]!r}",
                _nothing,
                (*SHOWN, f"{key}={text}"),
                "either",
            )
    for key in ("", ".", "a", "a.b.c", "train", "train.", ".steps", "train.steps.x", "train..steps", "\udce9", "a b"):
        yield Case("--set", f"key {key!r}", _nothing, (*SHOWN, f"{key}=1"), "error")
    yield Case("--set", "no value", _nothing, (*SHOWN, "train.steps"), "error")
    for key in _keys():
        for name in rng.sample(sorted(spoilers.VALUES), 3):
            text = json.dumps(spoilers.VALUES[name])
            arguments = ("config", "check", "--config", "embedded", "--set", f"{key}={text}")
            if "\\u0000" not in text:
                yield Case("--set", f"{key} is {name}", _nothing, arguments, "either")


def _keys() -> list[str]:
    from finetune.settings import TrainConfig

    return [
        f"{section}.{name}"
        for section, field in TrainConfig.model_fields.items()
        for name in getattr(field.annotation, "model_fields", {})
    ]


def _nothing(root: Path) -> None:
    return None


def word_cases(scene: str) -> Iterator[Case]:
    """Odd words where names and paths are given."""
    places: dict[str, tuple[str, ...]] = {
        "SKU of prepare": ("prepare", "WORD", *PREPARE),
        "SKU of check": ("check", "WORD", *PREPARE),
        "SKU of place": ("place", "WORD", "--prompt", PROMPT),
        "SKU of adapters list": ("adapters", "list", "WORD"),
        "SKU of adapters promote": ("adapters", "promote", "WORD", "1"),
        "version": ("adapters", "show", SKU, "WORD"),
        "version to delete": ("adapters", "delete", SKU, "WORD"),
        "--config": ("config", "show", "--config", "WORD"),
        "--config of place": (*PLACE, "--config", "WORD"),
        "--config of nightly": ("nightly", "--dry-run", "--set", "config=embedded", "--config", "WORD"),
        "--gate": ("evaluate", SKU, "--gate", "WORD"),
        "--base": ("doctor", "--base", "WORD"),
        "--base of place": ("place", SKU, "--prompt", PROMPT, "--adapter", "none", "--base", "WORD"),
        "--adapter": ("place", SKU, "--prompt", PROMPT, "--adapter", "WORD"),
        "--photo": (*PLACE, "--photo", "WORD"),
        "--prompt": ("place", SKU, "--adapter", "none", "--base", "embedded", "--prompt", "WORD"),
        "--device": ("evaluate", SKU, "--device", "WORD"),
        "--from": ("prepare", "--from", "WORD", "new", "--class-noun", "mug", *PREPARE),
        "--report": ("check", SKU, *PREPARE, "--report", "WORD"),
        "--output": ("adapters", "export", SKU, "--format", "kohya", "--output", "WORD"),
        "picture": ("verify", "WORD"),
        "--workspace": ("adapters", "list", SKU, "--workspace", "WORD"),
        "--workspace of check": ("check", SKU, *PREPARE, "--workspace", "WORD"),
        "--gpu": ("plan", "--config", "embedded", "--gpu", "WORD"),
        "init_from": ("train", SKU, *PREPARE, "--set", "adapter.init_from='WORD'"),
        "data.backdrops": ("prepare", SKU, *PREPARE, "--set", "data.backdrops='WORD'"),
        "base.vae": ("train", SKU, *PREPARE, "--set", "base.vae='WORD'"),
        "SKU of cutout": ("cutout", "WORD"),
        "--ground of cutout": (*CUTOUT, "--ground", "WORD"),
        "--size of cutout": (*CUTOUT, "--size", "WORD"),
        "--out of cutout": (*CUTOUT, "--out", "WORD"),
        "data.captioner": ("prepare", SKU, *PREPARE, "--set", "data.captioner='WORD'"),
    }
    for place, line in places.items():
        for name, word in spoilers.WORDS.items():
            arguments = tuple(part.replace("WORD", word) for part in line)
            expected: Expected = "error" if (place, name) == ("--prompt", "not UTF-8") else "either"
            chosen = place == "--out of cutout"  # this folder may be anywhere
            yield Case(
                "names and paths", f"{place} is {name}", spoilers.odd_entries, arguments, expected, True, linked=chosen
            )


def photo_cases() -> Iterator[Case]:
    """Photos, masks, captions and their names."""
    import os

    noise = bytes(random.Random(1).randbytes(4096))
    photo = f"{SET}/photos/side.png"
    commands = (CHECK, ("prepare", SKU, *PREPARE))
    bad_name = os.fsdecode(b"caf\xe9.png")
    captions = {
        **{f"is {n}": written(d) for n, d in spoilers.TEXTS.items()},
        "is 3 GB": entry("3 GB"),
        "is a FIFO": entry("a FIFO"),
    }
    captions |= {"is a folder": entry("a folder"), "is a link out": entry("a link to a file outside")}
    rows = {"no text": b'{"file_name": "side.png"}', "a stranger": b'{"file_name": "x.png", "text": "a"}'}
    rows |= {
        "a path": b'{"file_name": "../../x.png", "text": "a"}',
        "twice": b'{"file_name": "side.png", "text": "a"}\n' * 2,
    }
    for arguments in commands:
        for name, data in {"noise": noise, "empty": b"", "half a PNG": spoilers.TEXTS["a picture"]}.items():
            yield Case("photos", f"a photo of {name}", at(photo, written(data)), arguments, "either")
        for kind in (*spoilers.ENTRIES, "a link to a file outside", "gone"):
            yield Case("photos", f"a photo is {kind}", at(photo, entry(kind)), arguments, "either")
            yield Case("photos", f"a mask is {kind}", at(f"{SET}/masks/side.png", entry(kind)), arguments, "either")
        for name in (bad_name, "x" * 250 + ".png", "a\nb.png", "[x].png", "-x.png", "side.PNG", "side.jpg"):
            change = at(f"{SET}/photos/{name}", written(noise))
            yield Case("photos", f"a photo is called {name[:20]!r}", change, arguments, "either")
        for name, change in captions.items():
            yield Case("captions", f"a caption {name}", at(f"{SET}/photos/side.txt", change), arguments, "either")
            target = at(f"{SET}/photos/metadata.jsonl", change)
            yield Case("captions", f"metadata.jsonl {name}", target, arguments, "either")
        for name, data in rows.items():
            target = at(f"{SET}/photos/metadata.jsonl", written(data))
            yield Case("captions", f"metadata.jsonl has {name}", target, arguments, "error")


FILES = (
    f"{SET}/set.yaml",
    f"{SET}/prepared/prepared.json",
    f"{SET}/prepared/metadata.jsonl",
    f"{SET}/prepared/cutouts/front.png",
    f"{SET}/report.html",
    ".cache/hashes/mug.json",
    ".cache/locks/mug.lock",
    f"{ADAPTERS}/current",
    f"{ADAPTERS}/history.jsonl",
    f"{ADAPTERS}/0002/adapter.safetensors",
    f"{ADAPTERS}/0002/fidelity.json",
    "runs/nightly/.lock",
)
UNVALIDATED = ("--set", "validation.every=0", "--set", "validation.choose=last", "--set", "validation.patience=0")
FOLDERS = (
    "datasets",
    SET,
    f"{SET}/photos",
    f"{SET}/masks",
    f"{SET}/prepared",
    f"{SET}/prepared/cutouts",
    ".cache",
    ".cache/hashes",
    ".cache/checks",
    ".cache/locks",
    "runs",
    "runs/nightly",
    f"runs/{SKU}",
    "adapters",
    ADAPTERS,
    f"{ADAPTERS}/0002",
    "scenes",
    f"scenes/{SKU}",
)
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("prepare", SKU, *PREPARE),
    CHECK,
    PLACE,
    ("train", SKU, *PREPARE, "--set", "train.steps=1", "--set", "train.warmup=0", *UNVALIDATED),
    ("adapters", "list"),
    PROMOTE,
    ("adapters", "delete", SKU, "1"),
    ("cache",),
    PLATE,
    CUTOUT,
    ("nightly", "--dry-run", "--set", "skus=[mug]", "--set", "config=embedded"),
)
"""Commands that meet a spoiled entry; those that would go on with torch end there."""


def entry_cases(scene: str) -> Iterator[Case]:
    """Links, FIFOs, folders and files where others are expected."""
    for number, path in enumerate(FILES):
        for turn, kind in enumerate((*spoilers.ENTRIES, "a link to a file outside")):
            for shift in (0, 4):
                arguments = COMMANDS[(number + turn + shift) % len(COMMANDS)]
                yield Case("entries", f"{path} is {kind}", at(path, entry(kind)), arguments, "either")
    for number, path in enumerate(FOLDERS):
        for turn, kind in enumerate((*spoilers.FOLDER_ENTRIES, "a link out", "gone")):
            linked = kind == "a link out" and "/" not in path  # top-level folders may be links
            for shift in (0, 3):
                arguments = COMMANDS[(number + turn + shift) % len(COMMANDS)]
                change = at(path, entry(kind))
                yield Case("entries", f"{path} is {kind}", change, arguments, "either", linked=linked)


def right_cases(scene: str) -> Iterator[Case]:
    """Files and folders without rights."""
    for path in (".", *FOLDERS, *FILES[:-1], f"{SET}/photos/side.png", scene):
        for mode in (0o000, 0o555) if path in (".", *FOLDERS) else (0o000,):
            for arguments in (*COMMANDS, ("verify", f"{scene}/01.png"), ("evaluate", SKU)):
                if hash_of(f"{path}{mode}{arguments}") % 2:
                    change = at(path, _if_there(spoilers.closed(mode)))
                    yield Case("rights", f"{path} has mode {mode:03o}", change, arguments, "either", True)


def _if_there(change: Change) -> Change:
    return lambda path: change(path) if path.exists() else None


def hash_of(text: str) -> int:
    """A number from a text, the same in every process."""
    import zlib

    return zlib.crc32(text.encode())
