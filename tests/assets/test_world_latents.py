"""Frames of a world encoded once, and the batches and the held-out loss that are drawn from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rendered_worlds import make_world, record, small_cache

from tools.embedded_base import latents, masking
from tools.embedded_base.batches import Batches, ahead
from tools.embedded_base.export import load_tokenizers

pytestmark = pytest.mark.tiny


def test_a_third_of_the_batches_ask_for_the_place_around_a_rendered_product(tmp_path: Path) -> None:
    made = record(3) | {"composite": True}
    world = make_world([record(0), record(1), record(2, empty=True), made])
    cache = small_cache(world, tmp_path)
    assert [r["index"] for r in cache.records] == [0, 0, 1, 1, 2, 2, 3, 3]  # and mirrored
    rows = latents.draw_rows(cache, np.random.default_rng(0), 3000)
    assert rows.place.mean() == pytest.approx(1 / 3, abs=0.03)
    assert {cache.records[i]["index"] for i in rows.picks[rows.place]} == {0, 1}
    assert {cache.records[i]["index"] for i in rows.picks} == {0, 1, 2, 3}
    ground = rows.mask[torch.from_numpy(rows.place)]
    assert (ground[:, 0, :4] == 1).all()
    assert (ground[:, 0, 6:10, 7:9] == 0).all(), "the product's middle is known"
    assert (ground.flatten(1).mean(1) > 0.7).all()
    full = (rows.mask.flatten(1).mean(1) == 1).float().mean()
    assert float(full) == pytest.approx(masking.SHARES["full"], abs=0.03)


def test_captions_of_a_place_never_name_the_product(tmp_path: Path) -> None:
    cache = small_cache(make_world([record(0), record(1)]), tmp_path)
    said: list[str] = []

    class Listening:
        def __call__(self, texts: list[str], **_: Any) -> Any:
            said.extend(texts)
            return type("Ids", (), {"input_ids": torch.zeros(len(texts), 77, dtype=torch.long)})

    batches = Batches(cache, (Listening(), Listening()))  # type: ignore[arg-type]
    batches.draw(np.random.default_rng(0), 600)
    places = [text for text in said[:600] if text.startswith("an empty scene")]
    assert len(places) == pytest.approx(200, abs=40)
    assert not [text for text in places if "mug" in text or "cup" in text]
    assert len(set(places)) > 100
    assert [text for text in said if "mug" in text]


def test_only_new_frames_are_encoded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []
    encode = latents.encode

    def counting(vae: Any, pictures: torch.Tensor, device: torch.device) -> torch.Tensor:
        counted.append(len(pictures))
        return encode(vae, pictures, device)

    monkeypatch.setattr(latents, "encode", counting)
    first = small_cache(make_world([record(0), record(1)]), tmp_path, variants=2)
    assert counted == [4 * 3, 1]
    again = small_cache(make_world([record(0), record(1), record(2)]), tmp_path, variants=2)
    assert counted == [4 * 3, 1, 2 * 3, 1]
    assert torch.equal(again.pictures[:4], first.pictures)
    assert torch.equal(again.masked[:8], first.masked[:8])
    small_cache(make_world([record(0)]), tmp_path, variants=3)  # another number of masks: nothing fits
    assert counted[4:] == [2 * 4, 1]


def test_batches_drawn_ahead_are_those_of_their_steps(tmp_path: Path) -> None:
    batches = Batches(small_cache(make_world([record(0), record(1)]), tmp_path), load_tokenizers(tmp_path))
    drawn = ahead(batches, 3, iter([np.random.default_rng(step) for step in range(5)]))
    for step in range(3):
        alone = batches.draw(np.random.default_rng(step), 3)
        assert all(torch.equal(value, alone[name]) for name, value in next(drawn).items())
