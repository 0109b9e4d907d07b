"""A second product in a scene: found, rejected while it is painted, painted with another seed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from drawn_products import draw_bottle, write_set
from PIL import Image

from finetune.core.basemodel.resolve import resolve_base
from finetune.core.commands import main
from finetune.core.painting.early_look import EarlyLook, Stopped, expected_end
from finetune.core.painting.inpainter import Sampling, load_inpainter
from finetune.core.painting.pictures import Painted
from finetune.core.products.catalog import Workspace
from finetune.core.segmentation.second_objects import second_objects
from finetune.prepare import prepare_set
from finetune.settings import DataSection
from inference import attempts
from inference.attempts import SEED_STRIDE, paint_alone

PLACED = np.zeros((64, 64), np.float32)
PLACED[20:50, 24:40] = 1


def found_at(*windows: tuple[int, int, int, int]) -> np.ndarray:
    """A map of 64 x 64 that is sure of the placed product and of other windows (top, left, bottom, right)."""
    sure = PLACED.copy()
    for top, left, bottom, right in windows:
        sure[top:bottom, left:right] = 0.9
    return sure


def test_the_product_alone_is_no_second_object() -> None:
    assert second_objects(PLACED, PLACED) == []
    assert second_objects(np.zeros((64, 64), np.float32), PLACED) == []


def test_a_piece_beside_it_and_one_on_top_of_it_are_found_largest_first() -> None:
    beside, above = second_objects(found_at((30, 50, 44, 62), (10, 26, 20, 38)), PLACED)
    assert beside.share == pytest.approx(14 * 12 / (30 * 16))
    assert not beside.touches
    assert above.touches
    assert beside.box == pytest.approx((50 / 64, 30 / 64, 62 / 64, 44 / 64))


def test_a_soft_outline_and_specks_do_not_count() -> None:
    assert second_objects(found_at((19, 23, 51, 41)), PLACED) == []
    assert second_objects(found_at((2, 2, 5, 5)), PLACED) == []


def test_two_states_of_the_sampler_tell_where_it_is_heading() -> None:
    end, noise = torch.randn(1, 4, 8, 8), torch.randn(1, 4, 8, 8)
    states = [end + sigma * noise for sigma in (2.0, 1.2)]
    assert torch.allclose(expected_end(*states, 2.0, 1.2), end, atol=1e-5)


@pytest.mark.tiny
@pytest.mark.parametrize("strength", [1.0, 0.6])
def test_a_look_shows_the_picture_that_is_being_painted(tiny_base: Path, strength: float) -> None:
    inpainter = load_inpainter(resolve_base(str(tiny_base)), None, device="cpu")
    grey = Image.new("RGB", (inpainter.size, inpainter.size), (120, 130, 110))
    mask = np.ones((inpainter.size, inpainter.size), bool)
    seen: list[Image.Image] = []
    inpainter.look = EarlyLook(lambda preview: not seen.append(preview))
    sampling = Sampling(steps=10, strength=strength)
    whole = inpainter.paint(grey, mask, "on oak", sampling=sampling, seed=3)
    assert len(seen) == 1
    inpainter.look = None
    assert inpainter.paint(grey, mask, "on oak", sampling=sampling, seed=3).tobytes() == whole.tobytes()
    inpainter.look = EarlyLook(lambda preview: False)
    with pytest.raises(Stopped) as stopped:
        inpainter.paint(grey, mask, "on oak", sampling=sampling, seed=3)
    assert stopped.value.steps < sampling.steps_run
    assert stopped.value.preview.tobytes() == seen[0].tobytes()


class Painter:
    """Stands for the base: each seed shows what it is told to, at the look and in the end."""

    def __init__(self, second: dict[int, float]) -> None:
        """`second`: area of the second product by seed, of the placed one's."""
        self.second, self.look, self.painted = second, None, []

    def paint(self, seed: int) -> Painted:
        self.painted.append(seed)
        picture = Image.new("L", (64, 64), round(255 * self.second.get(seed, 0)))
        if self.look is not None and not self.look.judge(picture):
            raise Stopped(picture, 7)
        return Painted(picture, 0.5, 0)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A segmenter that reads the area of the second product off the picture's grey."""

    def find(picture: Image.Image) -> np.ndarray:
        share = np.asarray(picture)[0, 0] / 255
        rows = round(share * 30)
        return found_at((20, 46, 20 + rows, 62)) if rows else PLACED

    monkeypatch.setattr(attempts, "find_products", find)


@pytest.mark.usefixtures("seen")
def test_another_seed_is_tried_and_what_was_rejected_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    painter, steps = Painter({5: 0.5}), []
    made = paint_alone(painter, PLACED, painter.paint, seed=5, retries=3, more=steps.append)  # type: ignore[arg-type]
    assert made.seed == 5 + SEED_STRIDE
    assert [(each.seed, round(each.share, 1)) for each in made.rejected] == [(5, 0.5)]
    assert made.second == ()
    assert steps == [7]
    assert "seed 5 is rejected: it paints a second product (50% of the product's area)" in capsys.readouterr().err
    assert made.facts == {"rejected": [{"seed": 5, "share": 0.5}], "left": []}


@pytest.mark.usefixtures("seen")
def test_if_all_seeds_show_one_the_smallest_is_taken_with_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    painter = Painter({5: 0.5, 5 + SEED_STRIDE: 0.3, 5 + 2 * SEED_STRIDE: 0.9})
    made = paint_alone(painter, PLACED, painter.paint, seed=5, retries=2, more=lambda steps: None)  # type: ignore[arg-type]
    assert made.seed == 5 + SEED_STRIDE
    assert [each.seed for each in made.rejected] == [5, 5 + 2 * SEED_STRIDE]
    assert made.second[0].share == pytest.approx(0.3)
    assert "each of 3 seeds paints something like a second product" in capsys.readouterr().err


@pytest.mark.usefixtures("seen")
def test_without_retries_the_first_picture_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    painter = Painter({5: 0.5})
    made = paint_alone(painter, PLACED, painter.paint, seed=5, retries=0, more=lambda steps: None)  # type: ignore[arg-type]
    assert (made.seed, made.rejected, painter.painted) == (5, (), [5])
    assert made.second[0].share == pytest.approx(0.5)
    assert capsys.readouterr().err == ""


@pytest.mark.tiny
def test_place_records_what_it_rejected(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, no_adapter: Callable[..., list[str]]
) -> None:
    write_set(tmp_path, "bottle01", {"front": draw_bottle()})
    prepare_set(Workspace(tmp_path), "bottle01", data=DataSection(size=64, variants=1))
    looks: list[int] = []

    def find(picture: Image.Image) -> np.ndarray:
        looks.append(1)
        everywhere = np.ones((64, 64), np.float32)
        return everywhere if len(looks) <= 2 else np.zeros_like(everywhere)

    monkeypatch.setattr(attempts, "find_products", find)
    result = CliRunner().invoke(main, no_adapter(tmp_path, tiny_base))
    assert result.exit_code == 0, result.output
    (folder,) = (tmp_path / "scenes" / "bottle01").iterdir()
    manifest = json.loads((folder / "01.json").read_text(encoding="utf-8"))
    assert manifest["seed"] == SEED_STRIDE
    assert [each["seed"] for each in manifest["second_objects"]["rejected"]] == [0]
    assert (folder / "01.rejected-0.png").is_file()
    assert "01.rejected-0.png" in (folder / "index.html").read_text(encoding="utf-8")


@pytest.fixture
def no_adapter() -> Callable[..., list[str]]:
    """The command line of a placing with the base alone."""

    def line(workspace: Path, base: Path) -> list[str]:
        what = ["place", "bottle01", "--prompt", "on oak", "--adapter", "none", "--base", str(base)]
        return [*what, "--set", "size=128", "--set", "sampling.steps=4", "--workspace", str(workspace)]

    return line
