"""The embedded base's training tools: composites of frames, and a real run that stops, resumes and is exported."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from diffusers import AutoencoderKL, UNet2DConditionModel
from PIL import Image

from finetune.core.basemodel.load import load_pipeline
from finetune.core.basemodel.resolve import EMBEDDED, resolve_base
from tools.embedded_base import autoencoder, denoiser, latents, masking, pacing, workers
from tools.embedded_base.__main__ import main
from tools.embedded_base.batches import Batches, ahead
from tools.embedded_base.composites import with_composites
from tools.embedded_base.export import fresh_text_encoders, load_tokenizers
from tools.embedded_base.held_out import held_out_loss
from tools.embedded_base.judges import PatchCritic, Perception, balanced_gradient, critic_loss
from tools.embedded_base.sharpness import fine_energy
from tools.embedded_base.world import World, load_world, load_worlds

SOFT, SUNNY = "soft daylight", "hard midday sun"


def record(index: int, *, empty: bool = False, surface: str = "sand", light: str = SOFT, **more: Any) -> dict[str, Any]:
    product = None if empty else {"colour": "red", "material": "plastic", "shape": "", "size": "", "parts": ""}
    place = {"surface": surface, "backdrop": "brick wall", "backdrop_type": "brick wall", "backdrop_colour": ""}
    return {
        "index": index,
        "file_name": f"frames/{index}.png",
        "mask": f"masks/{index}.png",
        "caption": f"a photo on {surface}",
        "empty": empty,
        "class_noun": "" if empty else "mug",
        "label_text": "",
        "lighting": light,
        "mask_area": 0.0 if empty else 0.12,
        "product": product,
        **place,
        **more,
    }


def make_world(records: list[dict[str, Any]]) -> World:
    """Red boxes on grounds of one grey each, as many shades as frames."""
    count = len(records)
    frames, masks = np.empty((count, 256, 256, 3), np.uint8), np.zeros((count, 256, 256), np.uint8)
    for i, entry in enumerate(records):
        frames[i] = 100 + 10 * i
        if not entry["empty"]:
            frames[i, 80:180, 90:170], masks[i, 80:180, 90:170] = (200, 30, 30), 255
    return World(records, frames, masks)


def test_a_composite_is_the_product_with_its_shadow_on_an_empty_ground_of_its_light() -> None:
    grounds = [record(1, empty=True, surface="snow"), record(2, empty=True, surface="snow", light=SUNNY)]
    world = make_world([record(0), *grounds])
    joined = with_composites(world, 4.0, seed=3)
    made = range(len(world), len(joined))
    assert len(made) >= 6
    for index in made:
        words, frame, mask = joined.records[index], joined.frames[index], joined.masks[index]
        assert (words["class_noun"], words["surface"], words["lighting"]) == ("mug", "snow", SOFT)
        assert words["caption"] == "a photo of a red mug on snow, brick wall, soft daylight"
        core = mask == 255
        assert 4000 < core.sum() < 11000
        assert np.abs(frame[core].astype(int) - (200, 30, 30)).max() <= 4
        ground = frame[mask == 0]
        assert ground.max() == 110, "the ground is the empty frame's"
        assert ground.min() < 100, "with a shadow on it"
        assert (frame[:60] == 110).all()


def test_what_cannot_be_joined_truthfully_is_left_out() -> None:
    for entry in (
        record(0, light=SUNNY),
        record(0, product={"colour": "", "material": "glass", "shape": "", "size": "", "parts": ""}),
        record(0, mask_area=0.01),
    ):
        world = make_world([entry, record(1, empty=True, light=entry["lighting"])])
        assert with_composites(world, 3.0, seed=0) is world
    mirror = make_world([record(0), record(1, empty=True, surface="black marble")])
    assert with_composites(mirror, 3.0, seed=0) is mirror
    assert with_composites(make_world([record(0), record(1, empty=True)]), 0.0, seed=0).records[-1]["index"] == 1


def test_a_product_may_cover_another_but_never_leaves_part_of_it() -> None:
    world = make_world([record(0), record(1)])
    joined = with_composites(world, 6.0, seed=1)
    assert len(joined) > len(world)
    for index in range(len(world), len(joined)):
        assert (joined.masks[index][world.masks[0] > 0] > 242).all()


@pytest.fixture
def world_on_disk(tmp_path: Path) -> Path:
    folder = tmp_path / "world"
    (folder / "frames").mkdir(parents=True)
    (folder / "masks").mkdir()
    world = make_world([record(i, empty=i in (3, 7)) for i in range(10)])
    for entry, frame, mask in zip(world.records, world.frames, world.masks, strict=True):
        Image.fromarray(frame).save(folder / entry["file_name"])
        Image.fromarray(mask).save(folder / entry["mask"])
    lines = [json.dumps(entry) for entry in world.records]
    (folder / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


def test_indices_that_end_in_8_and_9_are_held_out(world_on_disk: Path) -> None:
    assert [r["index"] for r in load_world(world_on_disk, held_out=True).records] == [8, 9]
    assert [r["index"] for r in load_world(world_on_disk, held_out=False).records] == list(range(8))


def test_several_folders_are_one_world_and_a_line_in_the_making_is_left_out(
    world_on_disk: Path, tmp_path: Path
) -> None:
    second = tmp_path / "second"
    shutil.copytree(world_on_disk, second)
    path = second / "metadata.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([*lines[:3], lines[3][:50]]), encoding="utf-8")
    joined = load_worlds([world_on_disk, second], held_out=False)
    assert [r["index"] for r in joined.records] == [*range(8), 0, 1, 2]
    assert (joined.frames[8:] == joined.frames[:3]).all()


def tiny_autoencoder() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8,) * 4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=4,
    )


class Killed(Exception):
    """What ends a run in the middle of a test."""


def train_small(folder: Path, monkeypatch: pytest.MonkeyPatch, kill_at: int | None = None) -> list[dict[str, Any]]:
    """An autoencoder of a dozen samples, half of them judged by the critic; losses and rate of every step it ran."""
    plan = autoencoder.AutoencoderPlan(
        12, batch=1, crops=((0.5, 32), (1.0, 64)), critic_from=0.5, anchor_until=0.3, save_minutes=0.0
    )
    lines: list[dict[str, Any]] = []
    step = autoencoder.train_step

    def noted(run: autoencoder.AutoencoderRun, *others: Any) -> float:
        if run.step == kill_at:
            raise Killed
        share = step(run, *others)
        rate = run.optimizer.param_groups[0]["lr"]
        lines.append({"step": run.step, "samples": run.samples, "rate": rate, **run.parts})
        return share

    with monkeypatch.context() as patched:
        patched.setattr(autoencoder, "LEAVES", 2)
        patched.setattr(autoencoder, "build_autoencoder", tiny_autoencoder)
        patched.setattr(autoencoder, "train_step", noted)
        world = make_world([record(i, empty=i == 2) for i in range(4)])
        try:
            model = autoencoder.train_autoencoder(world, folder, plan, torch.device("cpu"))
        except Killed:
            model = None
    assert (model is None) == (kill_at is not None)
    return lines


@pytest.mark.tiny
def test_a_run_that_is_killed_goes_on_as_if_it_had_not_been(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train_small(tmp_path / "whole", monkeypatch)
    assert [line["samples"] for line in whole] == [0, 2, 4, 6, 7, 8, 9, 10, 11]
    assert "critic" not in whole[2]
    assert "critic" in whole[3]
    parts = [train_small(tmp_path / "parts", monkeypatch, kill_at=at) for at in (2, 6)]
    parts.append(train_small(tmp_path / "parts", monkeypatch))
    assert [len(part) for part in parts] == [2, 4, 3]
    for straight, resumed in zip(whole, [line for part in parts for line in part], strict=True):
        assert straight == pytest.approx(resumed, rel=1e-4)
    states = [torch.load(tmp_path / name / "autoencoder.pt", weights_only=True) for name in ("whole", "parts")]
    assert [(state["step"], state["samples"]) for state in states] == [(9, 12), (9, 12)]
    for name, weights in states[0]["average"].items():
        torch.testing.assert_close(weights, states[1]["average"][name], rtol=1e-3, atol=1e-5)


def test_time_neither_moves_the_rate_nor_ends_a_run_without_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    now, computed = [1000.0], [20.0]
    monkeypatch.setattr(pacing.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(pacing.time, "process_time", lambda: computed[0])
    clock, limited = pacing.Clock(save_minutes=3.0), pacing.Clock(save_minutes=3.0, end_minutes=9.0)
    assert not clock.save_due()
    now[0] += 40 * 60  # as long as a pause
    assert not clock.save_due(), "nothing was computed since"
    computed[0] += 31
    assert clock.save_due()
    assert not clock.save_due()
    assert clock.share == 0
    assert pacing.cooled(0.5, clock.share) == 0.5
    assert limited.share == 1
    now[0] = 1000.0 + 0.9 * 9 * 60
    assert pacing.cooled(0.5, limited.share) == pytest.approx(0.25)


def test_processes_share_a_group_and_none_waits_for_one_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = tmp_path / "python"
    stand_in.write_text(
        f"""#!{sys.executable}
import os, pathlib, sys, time
number = os.environ["RANK"]
facts = [number, os.environ["WORLD_SIZE"], os.environ["OMP_NUM_THREADS"], str(os.getpgrp()), *sys.argv[1:]]
(pathlib.Path({str(tmp_path)!r}) / ("seen" + number)).write_text(" ".join(facts))
if sys.argv[-1] == "failing":
    if number == "1":
        sys.exit(3)
    time.sleep(600)
""",
        encoding="utf-8",
    )
    stand_in.chmod(0o755)
    monkeypatch.setattr(workers.sys, "executable", str(stand_in))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert workers.launch(2, ["denoiser"]) == 0
    for number in range(2):
        seen = (tmp_path / f"seen{number}").read_text(encoding="utf-8")
        assert seen == f"{number} 2 1 {os.getpgrp()} -m tools.embedded_base denoiser"
    before = time.monotonic()
    assert workers.launch(2, ["failing"]) == 1
    assert time.monotonic() - before < 300, "the one that slept was ended"


def test_the_critic_is_right_of_what_it_learned_and_never_drowns_the_truth() -> None:
    torch.manual_seed(0)
    critic = PatchCritic()
    true, made = torch.rand(2, 3, 64, 64) * 2 - 1, torch.zeros(2, 3, 64, 64)
    optimizer = torch.optim.AdamW(critic.parameters(), lr=3e-3)
    first = critic_loss(critic, true, made).item()
    for _ in range(30):
        optimizer.zero_grad()
        critic_loss(critic, true, made).backward()
        optimizer.step()
    assert critic_loss(critic, true, made).item() < 0.5 * first
    seen = made.clone().requires_grad_()
    (plain,) = torch.autograd.grad((seen - true).abs().mean(), seen)
    for weight in (0.0, 0.4):
        gradient = balanced_gradient((seen - true).abs().mean(), -1000 * critic(seen).mean(), seen, weight)
        assert float((gradient - plain).norm()) == pytest.approx(weight * float(plain.norm()), rel=1e-3)


def test_features_and_fine_energy_see_blur_that_pixels_hardly_do() -> None:
    rng = np.random.default_rng(0)
    sharp = np.repeat(rng.integers(60, 190, (2, 32, 32, 3)), 2, 1).repeat(2, 2).astype(np.uint8)
    soft = np.stack([np.asarray(Image.fromarray(p).resize((24, 24)).resize((64, 64))) for p in sharp])
    darker = (sharp * 0.93).astype(np.uint8)
    perception = Perception()
    signed = [torch.from_numpy(p.copy()).permute(0, 3, 1, 2) / 127.5 - 1 for p in (sharp, soft, darker)]
    blurred, dimmed = (float(perception(picture, signed[0])) for picture in signed[1:])
    assert blurred > 3 * dimmed
    assert float(perception(signed[0], signed[0])) == pytest.approx(0, abs=1e-6)
    assert fine_energy(sharp, sharp) == pytest.approx(1)
    assert fine_energy(soft, sharp) < 0.6
    assert fine_energy(darker, sharp) == pytest.approx(0.93**2, abs=0.02)
    flat = np.full_like(sharp, 90)
    both = np.concatenate([sharp, flat])
    assert fine_energy(both, both) == pytest.approx(1), "flat pictures do not count"
    assert np.isnan(fine_energy(sharp, flat))


def small_cache(world: World, folder: Path, size: int = 128, variants: int = 3) -> latents.LatentCache:
    torch.manual_seed(0)
    indices = range(len(world))
    return latents.build_cache(
        tiny_autoencoder(), world, indices, size, variants, torch.device("cpu"), folder / "latents.pt"
    )


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


def test_a_place_mask_covers_whole_cells_or_follows_the_outline() -> None:
    product = np.zeros((256, 256), bool)
    product[83:177, 91:171] = True
    masks = [masking.make_mask(np.random.default_rng(seed), "place", product, 16) for seed in range(40)]
    cells = [mask.reshape(16, 16, 16, 16).swapaxes(1, 2).reshape(256, 256) for mask in masks]
    whole = [bool((cell.min(1) == cell.max(1)).all()) for cell in cells]
    assert 10 < sum(whole) < 30
    for mask, is_whole in zip(masks, whole, strict=True):
        assert (mask[~masking.grow(product, 2)]).all()
        if is_whole:
            assert (mask[~product]).all(), "no ground is known beside the product"


def test_growing_is_that_of_the_whole_frame() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        mask = np.zeros((64, 64), bool)
        mask[tuple(rng.integers(0, 64, (2, 6)))] = True
        for radius in (1.0, 5.0, 7.5):
            rows, columns = np.nonzero(mask)
            y, x = np.mgrid[:64, :64]
            near = (np.hypot(y[..., None] - rows, x[..., None] - columns) <= radius).any(-1)
            assert np.array_equal(masking.grow(mask, radius), near)


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


def tiny_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=9,
        out_channels=4,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        attention_head_dim=2,
        cross_attention_dim=256,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=32,
        projection_class_embeddings_input_dim=160 + 6 * 32,
        norm_num_groups=4,
    )


def denoise_small(
    folder: Path, monkeypatch: pytest.MonkeyPatch, kill_at: int | None = None, **settings: float
) -> list[dict[str, Any]]:
    """A denoiser of sixteen samples at two sizes; loss and rate of every step it ran."""
    sizes = {"early_size": 64, "late_size": 128, "early_batch": 2, "late_batch": 4}
    plan = denoiser.DenoiserPlan(16, save_minutes=0.0, **sizes, **settings)  # type: ignore[arg-type]
    lines: list[dict[str, Any]] = []
    measure, paced = denoiser.loss_of, denoiser.set_rate

    def noted(model: denoiser.Denoiser, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, float]]:
        loss, parts = measure(model, batch)
        lines.append({"size": 8 * batch["noisy"].shape[-1], "batch": len(batch["noisy"]), **parts})
        return loss, parts

    def paced_or_killed(optimizer: torch.optim.Optimizer, rate: float) -> None:
        if kill_at is not None and len(lines) > kill_at:
            lines.pop()
            raise Killed
        lines[-1]["rate"] = rate
        paced(optimizer, rate)

    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    with monkeypatch.context() as patched:
        patched.setattr(denoiser, "build_unet", tiny_unet)
        patched.setattr(denoiser, "loss_of", noted)
        patched.setattr(denoiser, "set_rate", paced_or_killed)
        world = make_world([record(i, empty=i == 2) for i in range(4)])
        vae, device = tiny_autoencoder(), torch.device("cpu")
        if kill_at is None:
            denoiser.train_denoiser(world, vae, folder, None, plan, device)
        else:
            with pytest.raises(Killed):
                denoiser.train_denoiser(world, vae, folder, None, plan, device)
    return lines


@pytest.mark.tiny
def test_the_denoiser_goes_on_with_the_loss_and_the_rate_it_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = denoise_small(tmp_path / "whole", monkeypatch)
    assert [(line["size"], line["batch"]) for line in whole] == [(64, 2)] * 4 + [(128, 4)] * 2
    assert len({line["rate"] for line in whole}) == 6
    parts = [denoise_small(tmp_path / "parts", monkeypatch, kill_at=at) for at in (3, 2)]
    parts.append(denoise_small(tmp_path / "parts", monkeypatch))
    assert [len(part) for part in parts] == [3, 2, 1]
    for straight, resumed in zip(whole, [line for part in parts for line in part], strict=True):
        assert straight == pytest.approx(resumed, rel=1e-4)
    states = [torch.load(tmp_path / name / "denoiser.pt", weights_only=True) for name in ("whole", "parts")]
    assert [(state["step"], state["samples"]) for state in states] == [(6, 16), (6, 16)]


def test_a_start_with_a_limit_cools_down_saves_and_is_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (only,) = denoise_small(tmp_path, monkeypatch, end_minutes=1e-6)  # over before its first step
    assert only["rate"] == 0
    state = torch.load(tmp_path / "denoiser.pt", weights_only=True)
    assert (state["step"], state["samples"]) == (1, 2)
    rest = denoise_small(tmp_path, monkeypatch)
    assert [line["batch"] for line in rest] == [2, 2, 2, 4, 4]
    assert all(line["rate"] > 0 for line in rest)


@pytest.mark.tiny
def test_the_held_out_loss_is_of_the_model_alone(tmp_path: Path) -> None:
    world = make_world([record(8), record(9), record(18)])
    torch.manual_seed(0)
    vae = tiny_autoencoder()
    model = denoiser.Denoiser(tiny_unet(), *fresh_text_encoders(tmp_path))
    sizes = {"size": 64, "frames": 3, "draws": 16}
    found = [held_out_loss(model, vae, world, tmp_path, torch.device("cpu"), **sizes) for _ in range(2)]
    assert found[0] == found[1]
    assert found[0] > 0.05
    with torch.no_grad():
        model.unet.conv_out.bias += 0.5
    assert held_out_loss(model, vae, world, tmp_path, torch.device("cpu"), **sizes) > found[0]


@pytest.mark.tiny
def test_batches_drawn_ahead_are_those_of_their_steps(tmp_path: Path) -> None:
    batches = Batches(small_cache(make_world([record(0), record(1)]), tmp_path), load_tokenizers(tmp_path))
    drawn = ahead(batches, 3, iter([np.random.default_rng(step) for step in range(5)]))
    for step in range(3):
        alone = batches.draw(np.random.default_rng(step), 3)
        assert all(torch.equal(value, alone[name]) for name, value in next(drawn).items())


@pytest.mark.slow
def test_the_denoiser_trains_stops_resumes_and_is_exported(world_on_disk: Path, tmp_path: Path) -> None:
    base, work = tmp_path / "base", tmp_path / "work"
    shutil.copytree(resolve_base(EMBEDDED).path, base)
    before = 0
    for samples in ("8", "16"):
        line = ["denoiser", "--world", str(world_on_disk), "--work", str(work), "--base", str(base), "--from-base"]
        line += ["--device", "cpu", "--samples", samples, "--early-batch", "2", "--late-batch", "2"]
        line += ["--mask-variants", "1", "--late-mask-variants", "1", "--composites", "0.5"]
        result = CliRunner().invoke(main, line, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        state = torch.load(work / "denoiser.pt", weights_only=True)
        assert state["step"] > before
        assert state["samples"] == int(samples)
        before = state["step"]
    shipped = load_pipeline(resolve_base(EMBEDDED), dtype=torch.float32, device="cpu").unet.state_dict()
    result = CliRunner().invoke(main, ["export", "--work", str(work), "--base", str(base)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    trained = load_pipeline(resolve_base(str(base)), dtype=torch.float32, device="cpu").unet.state_dict()
    assert trained.keys() == shipped.keys()
    assert any((trained[name] != shipped[name]).any() for name in shipped)
    assert all(torch.isfinite(weight).all() for weight in trained.values())
