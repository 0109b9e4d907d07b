"""The recipe of a picture, step by step: the bytes that placing, evaluation and previews put together from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from finetune.core.compositing.finish import add_grain, clear_fringe
from finetune.core.compositing.glass import composite_glass
from finetune.core.compositing.grounding import Grounding, ground_product
from finetune.core.compositing.placement import (
    Placed,
    around_product,
    box_around,
    placement_box,
    put_on_canvas,
    whole_frame,
)
from finetune.core.fidelity.insert_pictures import InsertRenderer, requests_for
from finetune.core.painting.inpainter import Inpainter, Sampling
from finetune.core.painting.pictures import (
    Finish,
    InsertBox,
    empty_scene,
    insert_picture,
    preserve_picture,
)
from finetune.core.painting.prompts import PromptSection
from finetune.core.pictures.images import composite
from finetune.core.pictures.masks import Mask
from finetune.validation.previews import Previewer, PreviewProduct

BASE, DELIVERED, SEED = 64, 160, 5
SAMPLING = Sampling(steps=2)


class NoiseInpainter(Inpainter):
    """Paints noise that depends on all it is given, and on whether the adapter is on."""

    def __init__(self) -> None:
        unet = SimpleNamespace(dtype="none")
        pipeline: Any = SimpleNamespace(unet=unet, _execution_device=SimpleNamespace(type="cpu"))
        super().__init__(SimpleNamespace(size=BASE, fingerprint="base"), pipeline)  # type: ignore[arg-type]
        self.painted: list[tuple[float, str]] = []

    def reconstruct(self, picture: Image.Image) -> Image.Image:
        return picture.resize((BASE // 2, BASE // 2)).resize((BASE, BASE))

    def paint(self, picture: Image.Image, mask: Mask, prompt: str, *, sampling: Sampling, seed: int) -> Image.Image:
        self.painted.append((self.scale, prompt))
        content = np.frombuffer(picture.tobytes() + mask.tobytes() + prompt.encode(), dtype=np.uint8)
        rng = np.random.default_rng([seed, sampling.steps, int(self.scale * 100), int(content.astype(np.int64).sum())])
        noise = rng.integers(0, 256, (BASE, BASE, 3), dtype=np.uint8)
        return Image.fromarray(np.where(mask[..., None], noise, np.asarray(picture)))


@pytest.fixture
def inpainter() -> NoiseInpainter:
    return NoiseInpainter()


@pytest.fixture
def cutout() -> Image.Image:
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (90, 50, 4), dtype=np.uint8)
    pixels[..., 3] = 255
    pixels[:3, :, 3] = 90
    return Image.fromarray(pixels)


@pytest.fixture
def glass() -> Image.Image:
    pixels = np.full((90, 50, 4), 200, dtype=np.uint8)
    pixels[..., 3] = 0
    pixels[30:60, 10:40, 3] = 180
    return Image.fromarray(pixels)


def placed(cutout: Image.Image, glass: Image.Image | None, size: int = DELIVERED) -> Placed:
    return put_on_canvas(cutout, placement_box(cutout.size, size), size, glass)


def test_preserve_is_paint_clear_shade_grain_composite(
    inpainter: NoiseInpainter, cutout: Image.Image, glass: Image.Image
) -> None:
    product = placed(cutout, glass)
    job = around_product(product, BASE, grow=1, rng=np.random.default_rng([SEED, 0]))
    scene = inpainter.paint(job.picture, job.mask, "on oak", sampling=SAMPLING, seed=SEED)
    large = np.asarray(scene.resize((DELIVERED, DELIVERED), Image.Resampling.LANCZOS))
    large = clear_fringe(large, product.solid, 3.0 * DELIVERED / BASE)
    shaded = ground_product(large, product, Grounding())
    grained = add_grain(shaded, 1.5, np.random.default_rng([SEED, 1]))
    expected = composite_glass(product.rgb, product.matte, grained, product.glass)
    found = preserve_picture(
        inpainter, product, "on oak", sampling=SAMPLING, seed=SEED, grow=1, finish=Finish(3.0, 1.5, Grounding())
    )
    assert np.array_equal(np.asarray(found.picture), expected)
    assert (found.coverage, found.grow) == (job.coverage, job.grow)
    assert np.array_equal(np.asarray(found.picture)[product.core], product.rgb[product.core])
    plain = preserve_picture(inpainter, product, "on oak", sampling=SAMPLING, seed=SEED, grow=1)
    bare = composite_glass(product.rgb, product.matte, np.asarray(scene.resize((DELIVERED,) * 2, 1)), product.glass)
    assert np.array_equal(np.asarray(plain.picture), bare), "without a finish nothing is done to the scene"


def test_insert_is_an_empty_scene_by_the_base_alone_and_a_box_by_the_adapter(
    inpainter: NoiseInpainter, cutout: Image.Image
) -> None:
    inpainter.set_adapter_scale(0.7)
    box = placement_box(cutout.size, DELIVERED)
    scene = empty_scene(inpainter, "empty oak", sampling=SAMPLING, seed=SEED)
    found = insert_picture(inpainter, scene, InsertBox(box, DELIVERED, 0.1), "a mug", sampling=SAMPLING, seed=SEED)
    assert inpainter.painted == [(0.0, "empty oak"), (0.7, "a mug")]
    inpainter.set_adapter_scale(0.0)
    blank = whole_frame(BASE, np.random.default_rng([SEED, 0]))
    ground = inpainter.paint(blank.picture, blank.mask, "empty oak", sampling=SAMPLING, seed=SEED)
    assert np.array_equal(np.asarray(scene), np.asarray(ground))
    inpainter.set_adapter_scale(0.7)
    job = box_around(ground, box, DELIVERED, margin=0.1)
    drawn = inpainter.paint(job.picture, job.mask, "a mug", sampling=SAMPLING, seed=SEED)
    expected = drawn.resize((DELIVERED, DELIVERED), Image.Resampling.LANCZOS)
    assert np.array_equal(np.asarray(found.picture), np.asarray(expected))


def test_evaluation_and_previews_draw_what_placing_draws(
    inpainter: NoiseInpainter, cutout: Image.Image, glass: Image.Image, tmp_path: Path
) -> None:
    prompts = PromptSection().resolve(token="t1", class_noun="mug", prompt="on oak")
    where = InsertBox(placement_box(cutout.size, BASE), BASE)
    scene = empty_scene(inpainter, prompts["scene"], sampling=SAMPLING, seed=SEED)
    with_adapter = insert_picture(inpainter, scene, where, prompts["insert"], sampling=SAMPLING, seed=SEED).picture
    with inpainter.without_adapter():
        alone = insert_picture(inpainter, scene, where, prompts["insert"], sampling=SAMPLING, seed=SEED).picture
    preserved = preserve_picture(
        inpainter, placed(cutout, glass, BASE), prompts["place"], sampling=SAMPLING, seed=SEED
    ).picture

    renderer = InsertRenderer(inpainter, where, cutout, sampling=SAMPLING, cache=tmp_path / "cache")
    (pair,) = renderer.render(requests_for([("on oak", SEED)], token="t1", class_noun="mug"), tell=lambda line: None)
    assert pair.with_adapter.tobytes() == with_adapter.tobytes()
    assert pair.without.tobytes() == alone.tobytes() != with_adapter.tobytes()
    assert pair.empty.tobytes() == scene.tobytes()
    whole = placed(cutout, None, BASE)
    pasted = composite(whole.rgb, whole.matte, np.asarray(scene))
    assert pair.ceiling.tobytes() == inpainter.reconstruct(Image.fromarray(pasted)).tobytes()

    @contextmanager
    def opened() -> Iterator[Inpainter]:
        yield inpainter

    logged: dict[str, Image.Image] = {}
    Previewer(
        opened,
        tmp_path / "previews",
        PreviewProduct("t1", "mug", cutout, glass),
        scenes=["on oak"],
        steps=SAMPLING.steps,
        seed=SEED,
        log=lambda drawn, step: logged.update(drawn),
    ).draw(7)
    assert logged["0-place"].tobytes() == preserved.tobytes()
    assert logged["0-insert"].tobytes() == with_adapter.tobytes()
    assert sorted(p.name for p in (tmp_path / "previews").iterdir()) == ["000007-0-insert.png", "000007-0-place.png"]


def test_the_adapter_is_as_strong_as_before_even_after_an_error(inpainter: NoiseInpainter) -> None:
    inpainter.set_adapter_scale(0.4)

    def fail() -> None:
        with inpainter.without_adapter():
            assert inpainter.scale == 0
            with inpainter.without_adapter():
                assert inpainter.scale == 0
            assert inpainter.scale == 0
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        fail()
    assert inpainter.scale == 0.4
