"""Plates: options of `place --plate`, own pictures, files of the gallery, its contact sheet, sizes and poses."""

from __future__ import annotations

import io
import json
import random
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.abuse import spoilers
from benchmarks.abuse.runner import Case, Expected
from benchmarks.abuse.spoilers import at, entry, written
from benchmarks.abuse.template import DESK, GALLERY, SKU

SET = f"datasets/{SKU}"
OWN = ("place", SKU, "--plate", DESK)
KNOWN = ("place", SKU, "--plate", "bench")
LISTED = ("plates",)
PICTURE, FACTS = f"{GALLERY}/bench/plate.avif", f"{GALLERY}/bench/plate.json"

NUMBERS = ("", " ", "x", "nan", "inf", "-inf", "-1", "1e999", "1e-300", "9" * 5000, "0x1", "1,2,3,4,5", ",", "½", "1e9")
"""Texts for one number."""
PLACES = (
    *NUMBERS,
    *("0,0", "1,1", "0.5,0.8", "0.5", "0.5,0.5,0.5", "0.5,0.8,0.2,0.4", "0,0,0,0", "0,0,1,1", "0.9,0.9,0.5,0.5"),
    *("100,150", "256,192", "257,192", "100,150,1,1", "100,100,8,8", "-1,-1", "nan,nan", "nan,0,1,1", "inf,inf"),
    *("0.5,100", "1e-9,1e-9", "0.5;0.8", "(0.5,0.8)", "0.5, 0.8", "0,5,0,8", "1e5,1e5,1e5,1e5", "0.1,0.1,1e-9,1e-9"),
)
"""Texts for `--spot` and `--box`."""
LIGHTS = (
    *(
        "",
        ",",
        ",,,",
        "left,right",
        "left,left",
        "low,high",
        "up",
        "lefft",
        "left;low",
        "LEFT,LOW,HARD",
        "left,low,hard,",
    ),
    *(
        "left,low,hard,soft",
        "back-left",
        "back left",
        "90",
        "nan",
        spoilers.LONG,
        "left\n",
        "\udce9",
        "{a: 1}",
        "[",
        "hard",
    ),
)
SHADOWS = (
    *NUMBERS,
    *("0", "1", "2", "=", "cast", "cast=", "=1", "cast=x", "cast=nan", "cast=-1", "cast=2", "softness=inf", "kast=1"),
    *(
        "cast=1,cast=0",
        "cast=1,",
        "cast=1,,",
        "strength=0.5",
        "contact=1,cast=0.5,softness=0.2",
        "cast=[",
        "cast=&a [*a]",
    ),
    *("cast==1", "cast=1=2", "shadow.cast=1", "cast =1", "\udce9=1", "softness=null", "cast={}", "cast=!!int 1"),
)
OPTIONS: dict[str, tuple[str, ...]] = {
    "--spot": PLACES,
    "--box": PLACES,
    "--light": LIGHTS,
    "--shadow": SHADOWS,
    "--reflection": (*NUMBERS, "0", "2", "2.1"),
    "--scale": (*NUMBERS, "0", "1", "1.1", "0.001"),
    "--pose": ("", "auto", "standing", "lying", "hanging", "floating", "sitting", "LYING", spoilers.LONG, "\udce9"),
    "--mode": ("", "blend", "preserve", "insert", "BLEND", "mix"),
}
WITHOUT_EFFECT = (
    *(("--prompt", "on oak"), ("--adapter", "none"), ("--base", "embedded"), ("--device", "cpu"), ("--size", "256")),
    *(("--steps", "1"), ("--candidates", "2"), ("--seed", "1"), ("--guidance", "2"), ("--negative", "x")),
    *(("--anchor", "0.5"), ("--ground", "0.5"), ("--scale-adapter", "1"), ("--mode", "insert")),
    *(("--spot", "0.5,0.8", "--box", "0.1,0.1,0.5,0.5"), ("--set", "size=256"), ("--set", "sampling.steps=1")),
    *(("--set", "blend.grain=1"), ("--set", "prompts.scene=x"), ("--set", "no.such=1"), ("--set", "shadow=x")),
)
ON_PAINTED = (("--spot", "0.5,0.8"), ("--box", "0.1,0.1,0.5,0.5"))
"""Options that a painted scene has no use for."""


def in_gallery() -> None:
    """Have this process look for the gallery in the workspace's own folder, where its files are spoiled."""
    from inference import plate

    plate.GALLERY = Path(GALLERY).absolute()


def plate_cases(template: Path, rng: random.Random) -> Iterator[Case]:
    """Everything that a plate scene reads.

    Args:
        template: The workspace, whose gallery of one plate is varied.
        rng: Draws the values.
    """
    yield from _option_cases()
    yield from _file_cases()
    yield from _gallery_cases(template, rng)
    yield from _sheet_cases()
    yield from _set_cases()


def _nothing(root: Path) -> None:
    return None


def _option_cases() -> Iterator[Case]:
    """Options with odd values, alone and with others."""
    for option, texts in OPTIONS.items():
        for text in texts:
            yield Case("plate options", f"{option} is {text[:30]!r}", _nothing, (*OWN, f"{option}={text}"), "either")
    for option in ("--spot", "--box", "--scale"):
        for text in OPTIONS[option][::2]:
            arguments = (*KNOWN, f"{option}={text}")
            name = f"{option} is {text[:30]!r} in the gallery"
            yield Case("plate options", name, _nothing, arguments, "either", inside=in_gallery)
    for text in (*NUMBERS, "0", "30", "31"):
        arguments = (*OWN, "--mode", "blend", f"--blend-budget={text}")
        yield Case("plate options", f"--blend-budget is {text[:30]!r}", _nothing, arguments, "either")
    for more in WITHOUT_EFFECT:
        yield Case("plate options", f"{' '.join(more)} has no effect", _nothing, (*OWN, *more), "error")
    for more in ON_PAINTED:
        painted = ("place", SKU, "--prompt", "on oak", "--adapter", "none", "--base", "embedded", *more)
        yield Case("plate options", f"{more[0]} without a plate", _nothing, painted, "error")
    for name, word in spoilers.WORDS.items():
        for option in ("--photo", "--config"):
            arguments = (*OWN, option, word)
            yield Case("plate options", f"{option} is {name}", spoilers.odd_entries, arguments, "error", True)


def _encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format=kind, **options)
    return stream.getvalue()


def _claims(width: int, height: int) -> bytes:
    """A PNG whose header promises a size that no data follows."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk


def _pictures() -> dict[str, tuple[bytes, Expected]]:
    """Files in a plate's place, and how a command has to end."""
    rng = np.random.default_rng(1)
    scene = Image.fromarray(rng.integers(60, 200, (192, 256, 3), dtype=np.uint8))
    deep = Image.fromarray(rng.integers(0, 65535, (192, 256), dtype=np.uint16))
    clear = scene.convert("RGBA")
    clear.putalpha(0)
    turned = Image.Exif()
    turned[0x0112] = 6
    flat = {f"all {name}": Image.new("RGB", (256, 192), name) for name in ("black", "white", "red")}
    sizes = {
        f"{w}x{h}": Image.new("RGB", (w, h), "grey") for w, h in ((1, 1), (31, 31), (32, 32), (33, 900), (9000, 40))
    }
    fine = {name: _encoded(picture, "PNG") for name, picture in flat.items()}
    fine |= {"16 bits deep": _encoded(deep, "PNG"), "clear": _encoded(clear, "PNG")}
    fine |= {f"of mode {mode}": _encoded(scene.convert(mode), "PNG") for mode in ("L", "P", "1")}
    fine |= {"CMYK": _encoded(scene.convert("CMYK"), "JPEG"), "turned by EXIF": _encoded(scene, "JPEG", exif=turned)}
    odd = {name: _encoded(picture, "PNG") for name, picture in sizes.items()}
    odd |= {"an animation": _encoded(scene, "GIF", save_all=True, append_images=[scene.rotate(90)])}
    odd |= {"an ICC profile of noise": _encoded(scene, "PNG", icc_profile=rng.bytes(500))}
    whole = _encoded(scene, "PNG")
    bad = {f"cut at {share:.0%}": whole[: int(len(whole) * share)] for share in (0.01, 0.3, 0.99)}
    bad |= {f"a header of {side}x{side} pixels": _claims(side, side) for side in (0, 8000, 100_000)} | spoilers.TEXTS
    groups: tuple[tuple[Expected, dict[str, bytes]], ...] = (("fine", fine), ("either", odd), ("error", bad))
    return {name: (data, expected) for expected, files in groups for name, data in files.items()}


def _file_cases() -> Iterator[Case]:
    """Own photographs, and words where their names are given."""
    for name, (data, expected) in _pictures().items():
        yield Case("plate pictures", f"the plate is {name}", at(DESK, written(data)), OWN, expected)
    for kind in (*spoilers.ENTRIES, "gone"):
        yield Case("plate pictures", f"the plate is {kind}", at(DESK, entry(kind)), OWN, "error")
    yield Case("plate pictures", "the plate is a link out", at(DESK, entry("a link to a file outside")), OWN, "error")
    yield Case("plate pictures", "the plate may not be read", at(DESK, spoilers.closed(0)), OWN, "error", True)
    for name in ("x" * 240 + ".png", "a\nb.png", "[x].png", "-x.png", "caf\udce9.png", "...png", "\U0001f943.png"):
        arguments = ("place", SKU, f"--plate=./{name}")
        yield Case("plate pictures", f"the plate is called {name[:20]!r}", _called(name), arguments, "either")
    for name, word in spoilers.WORDS.items():
        arguments = ("place", SKU, "--plate", word)
        yield Case("plate pictures", f"--plate is {name}", spoilers.odd_entries, arguments, "error", True)
    for word in (
        "marble-vanety",
        "Marble-Vanity",
        "marble-vanity/",
        "marble vanity",
        "plates/marble-vanity",
        "bench\n",
    ):
        yield Case("plate pictures", f"--plate is {word!r}", _nothing, ("place", SKU, "--plate", word), "error")


def _called(name: str) -> spoilers.Change:
    def change(root: Path) -> None:
        (root / name).write_bytes((root / DESK).read_bytes())

    return change


def _gallery_cases(template: Path, rng: random.Random) -> Iterator[Case]:
    """Files of the gallery, as a broken installation has them."""
    facts = json.loads((template / FACTS).read_text(encoding="utf-8"))
    for arguments in (KNOWN, LISTED):
        for name, data in spoilers.TEXTS.items():
            for path in (FACTS, PICTURE):
                title = f"the gallery's {Path(path).name} is {name}"
                yield Case("gallery", title, at(path, written(data)), arguments, inside=in_gallery)
        for kind in (*spoilers.ENTRIES, "gone"):
            for path in (FACTS, PICTURE):
                expected: Expected = "either" if (path, arguments) == (FACTS, LISTED) else "error"
                title = f"the gallery's {Path(path).name} is {kind}"
                yield Case("gallery", title, at(path, entry(kind)), arguments, expected, inside=in_gallery)
        for path in (GALLERY, f"{GALLERY}/bench"):
            for kind in (*spoilers.FOLDER_ENTRIES, "gone"):
                title = f"the gallery's {path} is {kind}"
                yield Case("gallery", title, at(path, entry(kind)), arguments, "either", inside=in_gallery)
        for name, changed in spoilers.value_changes(facts, rng, 60).items():
            change = at(FACTS, written(json.dumps(changed).encode()))
            yield Case("gallery", f"plate.json: {name}", change, arguments, "either", inside=in_gallery)
        for share in (0.1, 0.5, 0.9):
            title = f"the gallery's plate is cut at {share:.0%}"
            yield Case("gallery", title, at(PICTURE, spoilers.cut(share)), arguments, "error", inside=in_gallery)


def _sheet_cases() -> Iterator[Case]:
    """Where `plates --sheet` may write."""
    for name, word in spoilers.WORDS.items():
        arguments = ("plates", "--sheet", word)
        yield Case("sheets", f"--sheet is {name}", spoilers.odd_entries, arguments, "either", True, inside=in_gallery)
    for kind in ("a folder", "a FIFO", "a link to itself", "a broken link", "a link to a device"):
        arguments = ("plates", "--sheet", "sheet.png")
        yield Case(
            "sheets", f"the sheet is {kind}", at("sheet.png", entry(kind)), arguments, "either", inside=in_gallery
        )
    linked = at("sheet.png", entry("a link to a file outside"))
    yield Case(
        "sheets", "the sheet is a link out", linked, ("plates", "--sheet", "sheet.png"), "either", inside=in_gallery
    )
    for path in (
        f"{SET}/photos/front.png",
        DESK,
        f"{SET}/set.yaml",
        "datasets",
        "new/folder/sheet.png",
        f"{DESK}/x.png",
    ):
        arguments = ("plates", "--sheet", path)
        yield Case("sheets", f"--sheet is {path}", _nothing, arguments, "either", inside=in_gallery)


def _set_cases() -> Iterator[Case]:
    """What set.yaml says of the product's size and pose."""
    heights = (
        "0",
        "-1",
        "nan",
        "inf",
        "1e-9",
        "0.1",
        "5",
        "200",
        "9999",
        "10001",
        "x",
        "[]",
        "{}",
        "~",
        "1e999",
        "true",
    )
    poses = ("floating", "lying", "hanging", "sitting", "''", "[]", "~", "1", "Lying")
    for key, values in (("height_mm", heights), ("pose", poses)):
        for value in values:
            text = f"class_noun: mug\n{key}: {value}\n".encode()
            name = f"{key} is {value}"
            yield Case("plate sets", name, at(f"{SET}/set.yaml", written(text)), KNOWN, "either", inside=in_gallery)
    for noun in ("sunglasses", "wall clock", "t-shirt", "wristwatch", "xx", "日本語", "a" * 60):
        text = f"class_noun: {noun}\n".encode()
        for arguments in (KNOWN, OWN):
            change = at(f"{SET}/set.yaml", written(text))
            yield Case("plate sets", f"class_noun is {noun}", change, arguments, "either", inside=in_gallery)
