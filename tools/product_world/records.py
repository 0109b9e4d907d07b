"""A frame's plan and its line in metadata.jsonl; which frames a folder already has.

The fields are those that `tools/embedded_base` reads, and some more for evaluation.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import bottles, names, packs
from .captions import caption
from .design import Design
from .draws import Draws
from .scenes import Scene, draw_scene

EMPTY_SHARE = 0.1
KINDS = {
    "perfume": bottles.perfume,
    "jar": packs.jar,
    "pump": bottles.pump,
    "can": packs.can,
    "bottle": bottles.poured,
    "mug": packs.mug,
    "box": packs.box,
    "candle": packs.candle,
    "lipstick": packs.lipstick,
    "spray": bottles.spray,
    "tin": packs.tin,
    "sports": bottles.sports,
}


@dataclass(frozen=True)
class Plan:
    """All that is decided before a frame is rendered; the same for the same seed and index."""

    seed: int
    index: int
    scene: Scene
    design: Design | None
    caption: str

    @property
    def draws(self) -> Draws:
        """For what only the picture shows: the grain of the wood, the place of the sun."""
        return Draws(f"{self.seed}:{self.index}:picture")


@dataclass(frozen=True)
class Measured:
    """What only the render tells. Box: left, top, right, bottom in pixels; size: width, depth, height in dm."""

    box: tuple[int, int, int, int] | None
    area: float
    exposure: float
    size: tuple[float, float, float]
    real_height: float
    seconds: float


def plan_frame(seed: int, index: int) -> Plan:
    """Draws a frame."""
    draws = Draws(f"{seed}:{index}")
    scene = draw_scene(draws.part("scene"))
    design = None
    if not draws.chance("empty", EMPTY_SHARE):
        family = draws.weighted("family", names.FAMILIES)
        design = KINDS[family](draws.part("product"))
    return Plan(seed, index, scene, design, caption(scene, design, draws.part("caption")))


def product_record(design: Design, measured: Measured) -> dict[str, Any]:
    """The record's `product`: words and measures."""
    label = design.label
    words = {
        "noun": design.noun,
        "material": design.material,
        "colour": design.colour,
        "shape": design.shape,
        "size": design.size,
        "parts": design.parts,
        "family": design.family,
        "real_height_cm": round(10 * measured.real_height, 1),
        "label_text": label.text if label else "",
    }
    if label:
        words |= {"brand": label.brand, "label_kind": label.kind, "label_colour": label.colour}
        words |= {"ink_colour": label.ink, "accent_colour": label.accent}
    if design.case:
        words["case"] = design.case
    if design.glass:
        words |= {"glass": design.glass, "lit": design.lit}
    width, depth, height = (round(side, 3) for side in measured.size)
    return words | {"W": width, "D": depth, "H": height}


def record(plan: Plan, measured: Measured) -> dict[str, Any]:
    """The line of a rendered frame."""
    scene, design = plan.scene, plan.design
    label = design.label if design else None
    colours = {design.colour} if design else set()
    if label:
        colours |= {label.colour, label.accent}
    return {
        "file_name": f"frames/{plan.index:06d}.avif",
        "mask": f"masks/{plan.index:06d}.webp",
        "caption": plan.caption,
        "class_noun": design.noun if design else "",
        "empty": design is None,
        "family": design.family if design else "",
        "colour": design.colour if design else "",
        "colours": sorted(colours),
        "material": design.material if design else "",
        "label_text": label.text if label else "",
        "surface": scene.surface_words,
        "backdrop": scene.backdrop_words,
        "backdrop_type": scene.backdrop,
        "backdrop_colour": scene.colour,
        "lighting": scene.light,
        "camera": asdict(scene.shot),
        "turn": scene.turn,
        "bbox": list(measured.box) if measured.box else None,
        "mask_area": round(measured.area, 4),
        "exposure": round(measured.exposure, 3),
        "product": product_record(design, measured) if design else None,
        "seed": plan.seed,
        "index": plan.index,
        "seconds": round(measured.seconds, 2),
    }


def usable(folder: Path, text: str) -> dict[str, Any] | None:
    """The record of a line, if the line is whole and its files are there."""
    try:
        line: dict[str, Any] = json.loads(text)
    except json.JSONDecodeError:
        return None
    return line if all((folder / str(line[key])).exists() for key in ("file_name", "mask")) else None


def read_lines(folder: Path) -> list[dict[str, Any]]:
    """The records whose lines are whole and whose files are there, once each."""
    path = folder / "metadata.jsonl"
    lines: dict[int, dict[str, Any]] = {}
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        line = usable(folder, text)
        if line is not None:
            lines.setdefault(int(line["index"]), line)
    return list(lines.values())


def finished(folder: Path) -> set[int]:
    """The indices whose line, picture and mask are there.

    Lines that a stop cut short, that lost a file or that came twice are taken out of the file,
    so that no reader meets them.
    """
    path = folder / "metadata.jsonl"
    if not path.exists():
        return set()
    texts = path.read_text(encoding="utf-8").splitlines()
    kept: dict[int, str] = {}
    for text in texts:
        line = usable(folder, text)
        if line is not None:
            kept.setdefault(int(line["index"]), text)
    if len(kept) < len(texts):
        mended = path.with_suffix(".part")
        mended.write_text("".join(f"{text}\n" for text in kept.values()), encoding="utf-8")
        mended.replace(path)
    return set(kept)


def append_line(folder: Path, line: dict[str, Any]) -> None:
    """Adds a record in one write: two processes with other ranges may fill the same folder."""
    with (folder / "metadata.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
