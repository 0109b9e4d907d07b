"""Boxes, growing, and the latent masks that training and placing share."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from finetune.core.pictures.masks import (
    Box,
    bounding_box,
    box_mask,
    coverage,
    dilate,
    latent_mask,
    ring,
    to_pixels,
)

MASKS = arrays(np.bool_, (32, 24))


@settings(max_examples=50, deadline=None)
@given(mask=MASKS)
def test_the_bounding_box_is_the_smallest(mask: np.ndarray) -> None:
    box = bounding_box(mask)
    if box is None:
        assert not mask.any()
        return
    assert not (mask & ~box_mask(box, (24, 32))).any()
    inside = mask[box.top : box.bottom, box.left : box.right]
    assert inside[0].any()
    assert inside[-1].any()
    assert inside[:, 0].any()
    assert inside[:, -1].any()
    assert (box.height, box.width) == inside.shape


@settings(max_examples=50, deadline=None)
@given(mask=MASKS, pixels=st.floats(0, 6))
def test_growing_and_shrinking_enclose_the_mask(mask: np.ndarray, pixels: float) -> None:
    grown, shrunk = dilate(mask, pixels), dilate(mask, -pixels)
    assert not (mask & ~grown).any()
    assert not (shrunk & ~mask).any()
    assert not (ring(mask, pixels) & mask).any()
    if mask.any() and not mask.all():  # shrinking a mask is growing what surrounds it, up to the distance itself
        assert not (dilate(mask, -pixels) & dilate(~mask, pixels)).any() or pixels == 0


def test_growth_is_euclidean() -> None:
    dot = np.zeros((21, 21), dtype=bool)
    dot[10, 10] = True
    y, x = np.mgrid[0:21, 0:21]
    assert np.array_equal(dilate(dot, 5), np.hypot(y - 10, x - 10) <= 5)


@settings(max_examples=60, deadline=None)
@given(mask=MASKS, grow=st.integers(0, 2))
def test_no_latent_that_holds_ground_is_kept(mask: np.ndarray, grow: int) -> None:
    latents = latent_mask(mask, factor=8, grow=grow)
    assert latents.shape == (4, 3)
    assert not (mask & ~to_pixels(latents)).any()


@settings(max_examples=40, deadline=None)
@given(latents=arrays(np.bool_, (4, 3)))
def test_latents_to_pixels_and_back_is_the_same_under_any_sampling(latents: np.ndarray) -> None:
    pixels = to_pixels(latents)
    assert np.array_equal(latent_mask(pixels), latents)
    assert np.array_equal(pixels[3::8, 5::8], latents)


def test_a_latent_mask_of_odd_size_is_refused() -> None:
    with pytest.raises(ValueError, match="no multiple of 8"):
        latent_mask(np.zeros((30, 24), dtype=bool))


def test_boxes_grow_inside_the_picture() -> None:
    assert Box(2, 30, 10, 40).grown(5, (12, 100)) == Box(0, 25, 12, 45)


def test_coverage_is_a_share_of_the_picture() -> None:
    left = np.zeros((4, 4), dtype=bool)
    left[:, :3] = True
    assert coverage(left) == 0.75
