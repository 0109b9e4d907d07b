"""A small network that reads a picture: which surface, backdrop and light it shows, and where the product is.

Trained on the training frames of a rendered world, in about a quarter of an hour of one CPU core, and validated on its
held-out frames; kept in a file. Used by the rows on prompt obedience, diversity and growth. It is a measuring
instrument: it never sees a generated picture while it trains, and the base is not asked for anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.embedded_base.reader_network import ReaderNetwork
from finetune.core import fingerprint
from finetune.core.console import say
from finetune.core.pictures.images import Array
from finetune.core.pictures.masks import Mask
from tools.embedded_base.world import World

FORMAT = 5
"""Raised when the same frames would give another reader."""
SIDE = 224
"""Pixels a side the network looks at: what its trunk was trained on."""
RATE = 1e-3
ANSWER_EPOCHS = 40
STUDIO = "studio surface"
NO_NAME = -1
QUESTIONS = ("surface", "backdrop", "tone", "light", "colour")
TONES = {"warm sunset light": "warm", "dramatic dark key light": "dark"}
"""Tone of a light; of those not named here `NEUTRAL`."""
NEUTRAL = "neutral"


@dataclass(frozen=True)
class Names:
    """The names the reader tells apart, in the order of its answers."""

    surface: tuple[str, ...]
    backdrop: tuple[str, ...]
    tone: tuple[str, ...]
    light: tuple[str, ...]
    colour: tuple[str, ...]

    def of(self, question: str) -> tuple[str, ...]:
        """The names of one question."""
        names: tuple[str, ...] = getattr(self, question)
        return names

    def counts(self) -> dict[str, int]:
        """How many names each question has."""
        return {question: len(self.of(question)) for question in QUESTIONS}


@dataclass(frozen=True)
class Reading:
    """What the reader sees in n pictures."""

    answers: dict[str, NDArray[np.int64]]
    """By question: (n,) indices into the names."""
    embedding: NDArray[np.float32]
    """(n, 640), of length 1: the layer before the answers."""
    products: NDArray[np.bool_]
    """(n, h, w), of the pictures' own size: where it sees a product."""


def words_of(record: Mapping[str, Any]) -> dict[str, str]:
    """The names that are true of a record, by question; the colour is empty where the backdrop is named without one.

    Merged: the studio surfaces are one name (each is its backdrop's paper, bent), and backdrops are told apart by
    kind; the colour of walls and studios is a question of its own. The tone is the light by its look alone: hard sun,
    soft daylight and studio lamps often differ by nothing that can be seen in a picture.
    """
    surface = str(record["surface"])
    return {
        "surface": STUDIO if surface.endswith(STUDIO) else surface,
        "backdrop": str(record["backdrop_type"]),
        "tone": TONES.get(str(record["lighting"]), NEUTRAL),
        "light": str(record["lighting"]),
        "colour": str(record["backdrop_colour"] or _studio_colour(record)),
    }


def _studio_colour(record: Mapping[str, Any]) -> str:
    return str(record["backdrop"]).split()[0] if record["backdrop_type"] == "studio" else ""


def collect_names(records: Sequence[Mapping[str, Any]]) -> Names:
    """All names that occur, each question's sorted."""
    words = [words_of(r) for r in records]
    return Names(*(tuple(sorted({w[q] for w in words} - {""})) for q in QUESTIONS))


def targets_of(records: Sequence[Mapping[str, Any]], names: Names) -> NDArray[np.int64]:
    """(n, questions) indices into the names, -1 for a colour that is not named."""
    rows = [[_index(names.of(q), words_of(r)[q]) for q in QUESTIONS] for r in records]
    return np.array(rows, dtype=np.int64)


def _index(names: tuple[str, ...], name: str) -> int:
    return names.index(name) if name in names else NO_NAME


def shrink(pictures: Array) -> Array:
    """Pictures (n, h, w, 3) or masks (n, h, w) uint8 to `SIDE` pixels a side."""
    size = (SIDE, SIDE)
    return np.stack([np.asarray(Image.fromarray(p).resize(size, Image.Resampling.BOX)) for p in pictures])


def varied(pictures: Tensor, masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Cropped, mirrored, softened and noisy pictures (n, 3, s, s) in -1..1, and their masks (n, s, s) in 0..1.

    Tint changes by 3 % only: tint is what names the light. Softening and noise stand for the autoencoder.
    """
    count = len(pictures)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(shape, generator=generator) * (high - low) + low

    scale = uniform(0.72, 1.04, count)
    reach = (1 - scale).clamp(min=0)
    mirrored = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
    shifts = uniform(-1, 1, count, 2) * reach[:, None]
    affine = torch.zeros(count, 2, 3)
    affine[:, 0, 0], affine[:, 1, 1] = scale * mirrored, scale * uniform(0.92, 1.08, count)
    affine[:, :, 2] = shifts
    grid = functional.affine_grid(affine, [count, 3, SIDE, SIDE], align_corners=False)
    both = torch.cat([pictures, masks[:, None]], 1)
    moved = functional.grid_sample(both, grid, padding_mode="reflection", align_corners=False)
    rgb, cover = moved[:, :3], moved[:, 3]
    if torch.rand(1, generator=generator).item() < 0.6:
        side = int(uniform(0.4 * SIDE, SIDE, 1).item())
        small = functional.interpolate(rgb, size=(side, side), mode="area")
        rgb = functional.interpolate(small, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    gain = uniform(0.9, 1.1, count, 1, 1, 1) * uniform(0.97, 1.03, count, 3, 1, 1)
    rgb = (rgb + 1) * gain - 1 + uniform(0, 0.06, count, 1, 1, 1) * torch.randn(rgb.shape, generator=generator)
    return rgb.clamp(-1, 1), cover


def _view(number: int, pictures: Tensor, masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    if number > 1:
        return varied(pictures, masks, generator)
    return (pictures, masks) if number == 0 else (pictures.flip(3), masks.flip(2))


def _answer_loss(logits: Mapping[str, Tensor], targets: Tensor) -> Tensor:
    return sum(
        (
            functional.cross_entropy(logits[q], targets[:, i], ignore_index=NO_NAME, label_smoothing=0.05)
            for i, q in enumerate(QUESTIONS)
        ),
        start=torch.zeros(()),
    )


def _product_loss(product: Tensor, masks: Tensor) -> Tensor:
    """Cross-entropy and Dice loss (arXiv 1606.04797) of the product mask."""
    share = torch.sigmoid(product)
    overlap = (share * masks).sum((1, 2)) + 50
    dice = 1 - (2 * overlap / (share.sum((1, 2)) + masks.sum((1, 2)) + 100)).mean()
    return functional.binary_cross_entropy_with_logits(product, masks) * 2 + dice


def to_signed(pictures: Array) -> Tensor:
    """(n, h, w, 3) uint8 to (n, 3, h, w) float in -1..1."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float().div(127.5).sub(1)


def _batches(count: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    order = torch.randperm(count, generator=generator)
    return iter(torch.split(order[: count // size * size], size))


class SceneReader:
    """The trained network with its names."""

    def __init__(self, network: ReaderNetwork, names: Names) -> None:
        self.network, self.names = network.eval(), names

    @torch.no_grad()
    def read(self, pictures: Array) -> Reading:
        """Read pictures (n, h, w, 3) uint8: the mean over each and its mirror image."""
        size = (pictures.shape[1], pictures.shape[2])
        outputs = [self._read(shrink(pictures[i : i + 64]), size) for i in range(0, len(pictures), 64)]
        answers = {q: np.concatenate([o[0][q] for o in outputs]) for q in QUESTIONS}
        return Reading(answers, np.concatenate([o[1] for o in outputs]), np.concatenate([o[2] for o in outputs]))

    def _read(
        self, small: Array, size: tuple[int, int]
    ) -> tuple[dict[str, NDArray[np.int64]], NDArray[np.float32], NDArray[np.bool_]]:
        signed = to_signed(small)
        means, levels = self.network.look(signed)
        mirror_means, mirror_levels = self.network.look(signed.flip(3))
        (logits, embedding), (mirror_logits, mirror_embedding) = map(self.network.answer, (means, mirror_means))
        answers = {q: (logits[q].softmax(1) + mirror_logits[q].softmax(1)).argmax(1).numpy() for q in QUESTIONS}
        unit = functional.normalize(embedding + mirror_embedding, dim=1).numpy()
        both = (self.network.find(levels) + self.network.find(mirror_levels).flip(2))[:, None]
        large = functional.interpolate(both, size=size, mode="bilinear", align_corners=False)
        return answers, unit, (large[:, 0] > 0).numpy()


def train_reader(world: World, *, views: int = 8, batch: int = 32, seed: int = 0) -> SceneReader:
    """Train a reader on the frames of a world (its training part).

    Every frame is seen in `views` ways: as it is, mirrored, then varied. What the trunk sees is kept; the mask is
    learned on the way, the answers afterwards, in `ANSWER_EPOCHS` rounds over all that was kept.
    """
    names = collect_names(world.records)
    torch.manual_seed(seed)
    network = ReaderNetwork(names.counts(), pretrained=True).train()
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    pictures, masks = to_signed(shrink(world.frames)), torch.from_numpy(shrink(world.masks)).float() / 255
    finders = [*network.sides.parameters(), *network.joints.parameters(), *network.product.parameters()]
    optimizer, schedule = optimizer_of(finders, views * len(pictures) // batch, decay=0.05)
    generator = torch.Generator().manual_seed(seed)
    kept: list[Tensor] = []
    order: list[Tensor] = []
    for view in range(views):
        for chosen in _batches(len(world), batch, generator):
            seen, covers = _view(view, pictures[chosen], masks[chosen], generator)
            means, levels = network.look(seen.contiguous(memory_format=torch.channels_last))
            kept.append(means)
            order.append(chosen)
            loss = _product_loss(network.find(levels), covers)
            take_step(loss, optimizer, schedule)
        say(f"  scene reader: view {view + 1} of {views}, mask loss {loss.item():.3f}")
    targets = torch.from_numpy(targets_of(world.records, names))[torch.cat(order)]
    _train_answers(network, torch.cat(kept), targets, generator)
    return SceneReader(network, names)


def _train_answers(network: ReaderNetwork, means: Tensor, targets: Tensor, generator: torch.Generator) -> None:
    """Train what answers, on means (n, width) and targets (n, questions)."""
    weights = [*network.hidden.parameters(), *network.answers.parameters()]
    batch = min(128, len(means))
    optimizer, schedule = optimizer_of(weights, ANSWER_EPOCHS * (len(means) // batch), decay=1.0)
    for _ in range(ANSWER_EPOCHS):
        for chosen in _batches(len(means), batch, generator):
            logits, _ = network.answer(means[chosen])
            loss = _answer_loss(logits, targets[chosen])
            take_step(loss, optimizer, schedule)
    say(f"  scene reader: answers learned, loss {loss.item():.3f}")


def optimizer_of(
    weights: list[nn.Parameter], steps: int, *, decay: float
) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.OneCycleLR]:
    """AdamW with a one-cycle learning rate over `steps` steps."""
    optimizer = torch.optim.AdamW(weights, lr=RATE, weight_decay=decay)
    return optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps + 1, pct_start=0.15)


def take_step(loss: Tensor, optimizer: torch.optim.AdamW, schedule: torch.optim.lr_scheduler.OneCycleLR) -> None:
    """One step of the optimizer and its schedule."""
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    schedule.step()


def load_or_train(world: World, folder: Path, *, views: int = 8, batch: int = 32, seed: int = 0) -> SceneReader:
    """The reader of these frames: from its file in `folder`, or trained now and kept."""
    key = fingerprint.of_value([FORMAT, [r["index"] for r in world.records], views, batch, seed])
    path = folder / f"scene-reader-{key}.pt"
    names = collect_names(world.records)
    if path.is_file():
        network = ReaderNetwork(names.counts(), pretrained=False)
        network.load_state_dict(torch.load(path, weights_only=True))
        return SceneReader(network, names)
    say(f"training the scene reader on {len(world)} frames, {views} views each")
    reader = train_reader(world, views=views, batch=batch, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(reader.network.state_dict(), path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)
    return reader


def accuracy(reading: Reading, targets: NDArray[np.int64], question: str) -> float:
    """Share of right answers, 0..1, where there is something to answer; NaN where there is not."""
    wanted = targets[:, QUESTIONS.index(question)]
    asked = wanted != NO_NAME
    return float((reading.answers[question][asked] == wanted[asked]).mean()) if asked.any() else float("nan")


def mean_iou(found: NDArray[np.bool_], true: Mask) -> float:
    """Mean intersection over union of masks (n, h, w) over the pictures that hold a product; NaN for none."""
    with_product = true.any((1, 2))
    both = (found & true).sum((1, 2))[with_product]
    either = (found | true).sum((1, 2))[with_product]
    return float((both / either).mean()) if len(both) else float("nan")
