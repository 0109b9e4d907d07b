"""Grounds for cutouts: deterministic, in range, and true to their words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from finetune.core.errors import ImageError
from finetune.examples import backdrops
from finetune.examples.captions import COLOURS, brand_caption, caption, colour_name, own_caption
from finetune.examples.textures import TEXTURES

MAKERS = [backdrops.plain, backdrops.gradient, backdrops.surface, backdrops.bokeh]


@pytest.mark.parametrize("make", MAKERS)
def test_a_backdrop_is_fixed_by_its_generator(make: object) -> None:
    first, second, other = (make(64, np.random.default_rng(seed)) for seed in (5, 5, 6))  # type: ignore[operator]
    assert np.array_equal(first.picture, second.picture)
    assert (first.words, first.light, first.horizon) == (second.words, second.light, second.horizon)
    assert not np.array_equal(first.picture, other.picture)
    assert first.picture.shape == (64, 64, 3)
    assert first.picture.dtype == np.uint8


def test_every_kind_comes_up() -> None:
    words = [backdrops.make_backdrop(64, np.random.default_rng(seed)).words for seed in range(60)]
    for sign in ("surface", "gradient", "bokeh", "wall", "marble", "wood"):
        assert any(sign in text for text in words), sign
    assert len(set(words)) > 25


@pytest.mark.parametrize("name", list(TEXTURES))
def test_textures_are_in_range_and_wrap(name: str) -> None:
    tile = TEXTURES[name](np.random.default_rng(2), 128)
    assert tile.shape == (128, 128, 3)
    assert tile.min() >= 0
    assert tile.max() <= 1
    inner = np.abs(np.diff(tile, axis=0)).mean()
    assert np.abs(tile[0] - tile[-1]).mean() < 3 * inner + 0.02


@pytest.mark.parametrize(
    ("name", "low", "high"), [("white marble", 0.6, 1.0), ("black marble", 0.0, 0.3), ("dark walnut wood", 0.05, 0.35)]
)
def test_textures_look_as_light_as_their_name(name: str, low: float, high: float) -> None:
    levels = [float(np.median(TEXTURES[name](np.random.default_rng(seed), 128))) for seed in range(4)]
    assert low < min(levels)
    assert max(levels) < high


def test_a_plain_backdrop_has_the_colour_it_says() -> None:
    for seed in range(12):
        backdrop = backdrops.plain(48, np.random.default_rng(seed))
        named = [name for name in COLOURS if f" {name} " in backdrop.words]
        said = np.array(COLOURS[max(named, key=len)], dtype=float)
        shown = np.median(backdrop.picture.reshape(-1, 3), axis=0)
        assert np.abs(shown - said).max() < 45, backdrop.words


def test_a_photograph_is_blurred_and_cropped_square(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (90, 140, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "scene.png")
    some = backdrops.Photographs([tmp_path / "scene.png", tmp_path / "gone.png"], 32)
    backdrop = backdrops.photograph(64, np.random.default_rng(1), some.picture(0))
    assert backdrop.picture.shape == (64, 64, 3)
    behind = backdrop.picture[: round(0.8 * backdrop.horizon * 64)]
    assert behind.std(axis=(0, 1)).max() < noise.std() / 3
    assert min(some.picture(0).size) == 54, "no larger than blurring needs"
    one = backdrops.Photographs([tmp_path / "scene.png"], 32)
    seen = [backdrops.make_backdrop(32, np.random.default_rng(s), one).words for s in range(30)]
    assert 3 <= sum("blurred background" in words for words in seen) <= 18
    with pytest.raises(ImageError, match=r"gone\.png"):
        some.picture(1)


def test_a_piece_of_a_ground_keeps_its_horizon() -> None:
    whole = backdrops.surface(96, np.random.default_rng(3))
    for width, height in ((64, 96), (96, 64), (96, 96)):
        piece = backdrops.framed(whole, width, height)
        assert piece.picture.shape == (height, width, 3)
        line = round(piece.horizon * height)
        wall, floor = piece.picture[: line - 6].mean((0, 1)), piece.picture[line + 6 :].mean((0, 1))
        far = np.abs(wall - whole.picture[: round(whole.horizon * 96) - 6].mean((0, 1))).max()
        assert far < 4
        assert np.abs(wall - floor).max() > 15


def test_captions_name_token_noun_and_ground() -> None:
    seen = set()
    for seed in range(20):
        text = caption("prfm01", "perfume bottle", "on a plain beige surface", "soft light", seed)
        assert "prfm01 perfume bottle on a plain beige surface" in text
        assert "soft light" in text
        assert text == caption("prfm01", "perfume bottle", "on a plain beige surface", "soft light", seed)
        seen.add(text)
    assert len(seen) > 3
    assert not any("close-up" in text for text in seen)
    assert any("close-up" in caption("t", "mug", "", "", seed, close_up=True) for seed in range(20))
    for seed in range(20):
        bare = caption("prfm01", "perfume bottle", "", "", seed)
        assert bare.endswith("prfm01 perfume bottle")
        assert not bare.startswith((",", " "))


def test_a_users_own_words_keep_or_get_the_token() -> None:
    assert (
        own_caption("tk1", "mug", "a photo of {token} {class_noun}\n by a window") == "a photo of tk1 mug by a window"
    )
    assert own_caption("tk1", "mug", "steam rising") == "a photo of tk1 mug, steam rising"
    assert brand_caption("noire", "a dark stage") == "a photo in noire style, a dark stage"


@pytest.mark.parametrize("name", list(COLOURS))
def test_colours_are_named_by_the_nearest(name: str) -> None:
    assert colour_name(COLOURS[name]) == name
    nudged = tuple(min(255, c + 3) for c in COLOURS[name])
    assert colour_name((nudged[0], nudged[1], nudged[2])) == name
