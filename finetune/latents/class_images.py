"""Pictures of the class, drawn by the base itself, for classic prior preservation (DreamBooth, arXiv 2208.12242).

Trained beside the product with their own noise, they keep what the base already draws for the class noun. Each is
cached under a key of everything it depends on (base, prompt, seed, sampler, size), so no run or product draws it again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from finetune.core import fingerprint
from finetune.core.basemodel.resolve import ResolvedBase
from finetune.core.device import forget_frames, is_out_of_memory, release_memory
from finetune.core.errors import OutOfMemory
from finetune.core.painting.inpainter import Sampling, load_inpainter
from finetune.core.pictures.images import write_png
from finetune.core.pictures.masks import Box, Mask, box_mask
from finetune.examples.composite import derive_seed
from finetune.latents.cache import Row

FORMAT = 1
PROMPT = "a photo of {class_noun}"
SAMPLING = Sampling()


@dataclass(frozen=True)
class ClassImages:
    """Pictures of the class that the base draws for prior preservation."""

    count: int
    weight: float
    """Weight of their loss; only printed here."""
    size: int
    """Side in pixels."""
    precision: str
    """The base's precision as it draws: `auto`, `fp32`, `bf16` or `fp16`."""


def class_rows(
    folder: Path,
    base: ResolvedBase,
    class_noun: str,
    wanted: ClassImages,
    *,
    device: str,
    progress: Callable[[int, int], None],
) -> list[Row]:
    """The first pictures of a class as rows for the latent cache; missing and damaged ones are drawn first.

    The base paints its whole frame, at its own size, so 4- and 9-channel bases draw alike. As training examples every
    second one has a box for its inpainting mask and the others the full frame; only 9-channel bases use the mask.

    Args:
        folder: where the pictures are kept, as `<key>.png`.
        base: draws them.
        class_noun: goes into the prompt.
        wanted: how many pictures, and their size.
        device: where the base draws.
        progress: called with (done, total) as pictures are drawn.

    Raises:
        OutOfMemory: the device has too little memory for the base, or to draw with it.
    """
    prompt = PROMPT.format(class_noun=class_noun)
    missing = missing_pictures(folder, base, class_noun, wanted.count)
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            _draw(base, prompt, missing, precision=wanted.precision, device=device, progress=progress)
        except (RuntimeError, MemoryError, OutOfMemory) as error:
            if not isinstance(error, OutOfMemory) and not is_out_of_memory(error):
                raise
            forget_frames(error)
            raise OutOfMemory(
                f"the device has too little memory for the base to draw pictures of '{class_noun}'",
                "close other programs (pictures drawn so far are kept), or train without: objective.prior_weight=0",
            ) from error
        finally:
            release_memory(device)
    return [_row(_file(folder, base, prompt, seed), prompt, seed, wanted.size) for seed in range(wanted.count)]


def missing_pictures(folder: Path, base: ResolvedBase, class_noun: str, count: int) -> dict[int, Path]:
    """Seeds and files of the missing or damaged ones among the first `count` pictures of a class."""
    files = {seed: _file(folder, base, PROMPT.format(class_noun=class_noun), seed) for seed in range(count)}
    return {seed: file for seed, file in files.items() if not _is_whole(file)}


def _draw(
    base: ResolvedBase,
    prompt: str,
    files: dict[int, Path],
    *,
    precision: str,
    device: str,
    progress: Callable[[int, int], None],
) -> None:
    """Draw a picture for each seed into its file; the base is freed afterwards."""
    inpainter = load_inpainter(base, None, precision=precision, device=device)
    blank = Image.new("RGB", (base.size, base.size), (128, 128, 128))
    everything = np.ones((base.size, base.size), dtype=bool)
    for done, (seed, file) in enumerate(files.items(), 1):
        drawn = inpainter.paint(blank, everything, prompt, sampling=SAMPLING, seed=seed)
        write_png(drawn, file)
        progress(done, len(files))


def _file(folder: Path, base: ResolvedBase, prompt: str, seed: int) -> Path:
    key = fingerprint.of_value([FORMAT, base.fingerprint, prompt, seed, asdict(SAMPLING), base.size])
    return folder / f"{key}.png"


def _is_whole(file: Path) -> bool:
    try:
        with Image.open(file) as opened:
            opened.load()
    except (OSError, SyntaxError):  # Pillow's word for a broken PNG
        return False
    return True


def _row(file: Path, prompt: str, seed: int, size: int) -> Row:
    with Image.open(file) as opened:
        picture = opened.convert("RGB").resize((size, size), Image.Resampling.LANCZOS)
    return Row(
        picture=np.asarray(picture),
        product=_somewhere(size, seed),
        text=prompt,
        mask_kind="box" if seed % 2 else "full",
        seed=derive_seed("class picture", seed),
        time_ids=(size, size, 0, 0, size, size),
    )


def _somewhere(size: int, seed: int) -> Mask:
    """A box of a third to two thirds of each side, since the product's place in a drawn picture is unknown."""
    rng: Any = np.random.default_rng([seed, 1])
    width, height = (int(size * share) for share in rng.uniform(1 / 3, 2 / 3, 2))
    left, top = int(rng.uniform(0, size - width)), int(rng.uniform(0, size - height))
    return box_mask(Box(left, top, left + width, top + height), (size, size))
