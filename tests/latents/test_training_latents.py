"""What the UNet is trained on is what it sees when placing: masks, masked pictures and the null, by diffusers' code."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cached_examples import example
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from PIL import Image
from single_files import config_only, write_pair

from finetune.core.basemodel.load import load_pipeline
from finetune.core.basemodel.resolve import ResolvedBase, resolve_base, resolve_single_file
from finetune.core.pictures import masks
from finetune.examples.composite import inpainting_mask
from finetune.latents.cache import Row, RowSet, build_caches

pytestmark = pytest.mark.tiny
ROW = example(3)
ALL, NONE = np.ones((64, 64), dtype=bool), np.zeros((64, 64), dtype=bool)
ROWS = [
    *(replace(ROW, mask_kind=kind, seed=seed) for seed, kind in enumerate(("background", "product", "box", "full"))),
    *(replace(ROW, mask_kind="background", product=product) for product in (ALL, NONE)),
]


def pipelines_view(pipeline: Any, row: Row) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mask, masked-picture latents and picture latents as diffusers' inpainting pipeline prepares them for placing."""
    mask = inpainting_mask(row.product, row.mask_kind, np.random.default_rng(row.seed))
    painted = Image.fromarray(masks.to_pixels(masks.latent_mask(mask)).astype(np.uint8) * 255)
    picture = pipeline.image_processor.preprocess(Image.fromarray(row.picture), height=64, width=64)
    mask_image = pipeline.mask_processor.preprocess(painted, height=64, width=64)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        latent_mask, masked = pipeline.prepare_mask_latents(
            mask_image, (picture * (mask_image < 0.5)).contiguous(), 1, 64, 64, torch.float32, "cpu", generator, False
        )
        whole = pipeline._encode_vae_image(picture, generator)
    return latent_mask[0], masked[0], whole[0]


def test_latents_and_masks_are_those_of_the_inpainting_pipeline(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = resolve_base(str(tiny_base))
    (found,) = build_caches(tmp_path, base, [RowSet(ROWS, 8)], device="cpu", progress=lambda *_: None)
    pipeline = load_pipeline(base, dtype=torch.float32, device="cpu", without=("unet", "text_encoder"))
    # the pipeline draws from the posterior; what is kept is its mean
    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mean)
    kinds = set()
    for index, row in enumerate(ROWS):
        mask, masked, whole = pipelines_view(pipeline, row)
        assert torch.equal(found.mask[index], mask), row.mask_kind
        torch.testing.assert_close(found.masked[index], masked, atol=1e-5, rtol=0)
        torch.testing.assert_close(found.latents[index], whole, atol=1e-5, rtol=0)
        assert mask.any(), "something is left to paint"
        kinds.add(float(mask.mean()))
    assert len(kinds) == 3
    assert [float(found.mask[index].mean()) for index in (3, 4, 5)] == [1, 1, 1]
    assert (float(found.product[4].mean()), float(found.ring[4].max())) == (1, 0)
    assert (float(found.product[5].max()), float(found.ring[5].max())) == (0, 0)


def null_of(base: ResolvedBase, folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    row = replace(ROW, text="a photo of a thing")
    (found,) = build_caches(folder, base, [RowSet([row], 8)], device="cpu", progress=lambda *_: None)
    return found.embeds[-1], found.pooled[-1]


@pytest.mark.parametrize("zeros", [True, False])
def test_the_null_is_the_bases_own_in_a_folder_as_in_a_single_file(
    zeros: bool, tiny_base: Path, tmp_path: Path
) -> None:
    folder, file = write_pair(tiny_base, tmp_path)
    index = folder / "model_index.json"
    settings = json.loads(index.read_text(encoding="utf-8")) | {"force_zeros_for_empty_prompt": zeros}
    index.write_text(json.dumps(settings), encoding="utf-8")
    config = config_only(folder, tmp_path / "config")
    bases = (resolve_base(str(folder)), resolve_single_file(str(file), file, config))
    for number, base in enumerate(bases):
        null, pooled = null_of(base, tmp_path / f"cache{number}")
        pipeline = load_pipeline(base, dtype=torch.float32, device="cpu", without=("unet", "vae"))
        assert pipeline.config.force_zeros_for_empty_prompt is zeros
        # what placing with an empty negative prompt is guided away from
        _, expected, _, expected_pooled = pipeline.encode_prompt("a mug", do_classifier_free_guidance=True)
        assert torch.equal(null, expected[0])
        assert torch.equal(pooled, expected_pooled[0])
        assert bool(null.abs().max() == 0) is zeros
        assert bool(pooled.abs().max() == 0) is zeros
