"""Does the base paint what the prompt names, and not always the same? The rows `obedience` and `diversity`.

Prompts name a product, a surface, a backdrop and a light that at least two held-out frames show together, so that
the pictures of a prompt can be held beside renders of the same words. Pure but for `measure_prompts`.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.embedded_base.painting import PaintingRoom
from benchmarks.embedded_base.scene_reader import NO_NAME, QUESTIONS, STUDIO, Names, SceneReader, targets_of, words_of
from benchmarks.embedded_base.table import Line
from finetune.core.pictures.contact_sheet import contact_sheet
from tools.embedded_base.world import World

BARS = {"surface": 70.0, "backdrop": 70.0, "tone": 70.0, "light": 70.0}
LABELS = {"tone": "tone of the light", "colour": "colour of wall or studio"}
SPREAD = ("surface", "backdrop", "light")
"""Prompts are spread over the names of these."""
VALID = 90.0
"""What the reader itself has to reach on held-out renders, in percent."""
DIVERSITY_BAR = 0.5
THUMBNAIL = 16


@dataclass(frozen=True)
class Scene:
    """A prompt, and the held-out frames that show its words."""

    prompt: str
    record: Mapping[str, Any]
    """One of the frames' records: its words are the prompt's."""
    frames: tuple[int, ...]
    """Indices into the held-out frames, two or more."""


def combination(record: Mapping[str, Any]) -> tuple[str, str, str]:
    """The words two frames have to share to be of one prompt: surface, backdrop with its colour, light."""
    return str(record["surface"]), str(record["backdrop"]), str(record["lighting"])


def prompt_of(record: Mapping[str, Any]) -> str:
    """A prompt in the caption's words; a studio surface is its backdrop's own paper and has no words."""
    backdrop = str(record["backdrop"])
    backdrop = backdrop if backdrop.endswith("lights") else _with_article(backdrop)
    light, noun = record["lighting"], _with_article(record["class_noun"] or "perfume bottle")
    if str(record["surface"]).endswith(STUDIO):
        return f"a photo of {noun} on {backdrop}, {light}"
    return f"a photo of {noun} on {record['surface']} in front of {backdrop}, {light}"


def _with_article(words: str) -> str:
    return ("an " if words[0] in "aeiou" else "a ") + words


def choose_scenes(records: Sequence[Mapping[str, Any]], count: int) -> list[Scene]:
    """At most `count` scenes, those first whose names came up least so far.

    Deterministic: no chance is involved, ties go to the combination that comes first in the alphabet.
    """
    groups: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for index, record in enumerate(records):
        groups[combination(record)].append(index)
    open_groups = sorted((key, members) for key, members in groups.items() if len(members) > 1)
    seen: Counter[tuple[str, str]] = Counter()
    nouns: Counter[str] = Counter()
    chosen: list[Scene] = []
    while open_groups and len(chosen) < count:
        names = {key: [(q, words_of(records[m[0]])[q]) for q in SPREAD] for key, m in open_groups}
        best = min(open_groups, key=lambda group: (sum(seen[n] for n in names[group[0]]), group[0]))
        open_groups.remove(best)
        seen.update(names[best[0]])
        shown = min((records[m] for m in best[1]), key=lambda r: (r["empty"], nouns[r["class_noun"]]))
        nouns[shown["class_noun"]] += 1
        chosen.append(Scene(prompt_of(shown), shown, tuple(best[1])))
    return chosen


def mean_pairwise(vectors: NDArray[np.floating[Any]]) -> float:
    """Mean Euclidean distance over all pairs of (n, d) vectors; NaN for fewer than two."""
    pairs = list(itertools.combinations(range(len(vectors)), 2))
    return float(np.mean([np.linalg.norm(vectors[a] - vectors[b]) for a, b in pairs])) if pairs else float("nan")


def relative_diversity(made: Sequence[NDArray[Any]], real: Sequence[NDArray[Any]]) -> tuple[float, float, float]:
    """Spread of the pictures of a prompt over that of the renders of its words, and both spreads.

    Args:
        made, real: one array (n, d) a prompt, in the same order. Each spread is the mean over prompts of
            `mean_pairwise`, so that a prompt with many renders does not weigh more.
    """
    spreads = [float(np.mean([mean_pairwise(vectors) for vectors in group])) for group in (made, real)]
    return spreads[0] / spreads[1], spreads[0], spreads[1]


def thumbnails(pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(n, h, w, 3) uint8 to (n, 768) CIELAB values of 16 x 16 thumbnails: a distance that was never trained."""
    from skimage.color import rgb2lab

    size = (THUMBNAIL, THUMBNAIL)
    small = np.stack([np.asarray(Image.fromarray(p).resize(size, Image.Resampling.BOX)) for p in pictures])
    return np.asarray(rgb2lab(small).reshape(len(pictures), -1))


def obedience_lines(
    answers: Mapping[str, NDArray[np.int64]],
    targets: NDArray[np.int64],
    names: Names,
    reader_accuracy: Mapping[str, float],
) -> list[Line]:
    """A line a question: share of pictures in which the reader sees the name, beside chance and its own accuracy."""
    lines = []
    for column, question in enumerate(QUESTIONS):
        wanted = targets[:, column]
        asked = wanted != NO_NAME
        if question == "surface":  # the studio's paper is not named in a prompt
            asked = asked & np.array([names.surface[i] != STUDIO for i in wanted])
        count = int(asked.sum())
        value = 100 * float((answers[question][asked] == wanted[asked]).mean()) if count else None
        known, own = len(names.of(question)), 100 * reader_accuracy[question]
        unsure = "" if own >= VALID else f" (UNDER {VALID:.0f}: no verdict)"
        beside = f"chance {100 / known:.0f} % (1 in {known}); reader on held-out renders {own:.1f} %{unsure}"
        label = f"{LABELS.get(question, question)} recognised"
        beside, bar = f"{count} pictures; {beside}", BARS.get(question)
        lines.append(Line("obedience", label, value, "%", bar, beside=beside, trusted=own >= VALID))
    return lines


def measure_prompts(
    room: PaintingRoom,
    reader: SceneReader,
    held_out: World,
    reader_accuracy: Mapping[str, float],
    *,
    prompts: int,
    seeds: int,
    sheets: Path,
) -> list[Line]:
    """Paint, read, compare; writes a sheet of the first seeds and one of all seeds of four prompts."""
    scenes = choose_scenes(held_out.records, prompts)
    painted = [room.from_text(scene.prompt, range(seeds)) for scene in scenes]
    arrays = [np.stack([np.asarray(p) for p in pictures]) for pictures in painted]
    readings = [reader.read(a) for a in arrays]
    answers = {q: np.concatenate([r.answers[q] for r in readings]) for q in QUESTIONS}
    targets = targets_of([scene.record for scene in scenes], reader.names).repeat(seeds, axis=0)
    lines = obedience_lines(answers, targets, reader.names, reader_accuracy)
    real = [held_out.frames[list(scene.frames)] for scene in scenes]
    by_reader = relative_diversity([r.embedding for r in readings], [reader.read(a).embedding for a in real])
    by_colour = relative_diversity([thumbnails(a) for a in arrays], [thumbnails(a) for a in real])
    pairs = sum(len(s.frames) * (len(s.frames) - 1) // 2 for s in scenes)
    words = (
        f"{len(scenes)} prompts x {seeds} seeds against {pairs} pairs of renders of the same surface, backdrop, light"
    )
    for what, (ratio, made, true), bar in (
        ("in the reader's layer before its answers (640 numbers, length 1)", by_reader, DIVERSITY_BAR),
        (f"in CIELAB thumbnails of {THUMBNAIL} px", by_colour, None),
    ):
        beside = f"{made:.3g} / {true:.3g}; {words}"
        lines.append(Line("diversity", what, ratio if seeds > 1 else None, "", bar, beside=beside))
    _write_sheets(scenes, painted, sheets)
    return lines


def _write_sheets(scenes: Sequence[Scene], painted: Sequence[Sequence[Image.Image]], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    firsts, captions = [p[0] for p in painted], [s.prompt for s in scenes]
    contact_sheet(firsts, captions, columns=6, cell=192).save(folder / "obedience.png")
    some = list(zip(scenes, painted, strict=True))[:4]
    cells = [picture for _, pictures in some for picture in pictures]
    names = [scene.prompt for scene, pictures in some for _ in pictures]
    contact_sheet(cells, names, columns=len(painted[0]), cell=160).save(folder / "diversity.png")
