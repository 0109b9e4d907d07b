"""Pivotal tuning on the tiny SDXL: only the new rows change, placing reads them, a resumed run is the same."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from crashes import training_dies
from drawn_products import draw_bottle, write_set
from safetensors.torch import load_file, save_file
from tiny_adapters import picture_and_mask
from tiny_training import tiny_config, train

from finetune.core.adapters import token_embeddings
from finetune.core.adapters.file import WEIGHTS, read_header
from finetune.core.adapters.foreign import read_adapter
from finetune.core.basemodel.load import load_pipeline
from finetune.core.basemodel.resolve import resolve_base
from finetune.core.console import quiet_libraries
from finetune.core.errors import AdapterError, AdapterMismatch, ConfigError
from finetune.core.painting.inpainter import Sampling, load_inpainter
from finetune.core.products.catalog import Workspace
from finetune.export import export_adapter
from finetune.settings import TrainConfig
from finetune.train import check_request, find_training_parent
from finetune.training.pivotal_tuning import TokenTraining

pytestmark = pytest.mark.tiny
PIVOTAL = (
    "adapter.token_embeddings=2", "adapter.token_learning_rate=0.01", "memory.check=false", "train.steps=4",
    "validation.every=1", "validation.choose=loss",
)  # fmt: skip


@dataclass
class Run:
    workspace: Workspace
    version: Any
    kept: dict[str, torch.Tensor]
    """Embeddings of its captions as the second half was trained on."""
    captions: tuple[str, ...]
    raw_held_out: Any
    """The held-out examples as they were encoded without tokens, and as they were validated on."""
    held_out: Any


@pytest.fixture(scope="module")
def run(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Four steps, two of them with tokens; previews in both halves."""
    quiet_libraries()
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("pivotal")
    write_set(root, "bottle01", {"front": draw_bottle(), "side": draw_bottle(shift=6)}, token="bttl01")
    seen: list[TokenTraining] = []
    raw: list[Any] = []
    real, patch = TokenTraining.begin, pytest.MonkeyPatch()

    def watched(self: TokenTraining, start: int) -> None:
        seen.append(self)
        raw.append(self.held_out)
        real(self, start)

    patch.setattr(TokenTraining, "begin", watched)
    try:
        config = tiny_config(tiny_base, *PIVOTAL, "preview.every=2", "preview.steps=2")
        version = train(Workspace(root), config).version
    finally:
        patch.undo()
    (tokens,) = seen
    assert tokens.pipeline is None, "the text encoders have left memory"
    captions = tuple(caption.replace("bttl01_0 bttl01_1", "bttl01") for caption in tokens.captions)
    return Run(Workspace(root), version, tokens.kept, captions, raw[0], tokens.held_out)


@pytest.fixture
def version_folder(run: Run, tmp_path: Path) -> Path:
    """A copy of the version, to be spoiled."""
    return Path(shutil.copytree(run.version.folder, tmp_path / "0001"))


def plain_pipeline(base: Path) -> Any:
    return load_pipeline(resolve_base(str(base)), dtype=torch.float32, device="cpu")


def test_the_file_lies_beside_the_adapter_and_the_manifest_names_it(run: Run, tiny_base: Path) -> None:
    entry = read_header(run.version.weights).manifest["token_embeddings"]
    assert (entry["file"], entry["token"], entry["count"]) == ("embeddings.safetensors", "bttl01", 2)
    found = load_file(run.version.folder / "embeddings.safetensors")
    assert {key: tuple(rows.shape) for key, rows in found.items()} == {"clip_l": (2, 32), "clip_g": (2, 32)}
    pipeline = plain_pipeline(tiny_base)
    for key, (tokenizer, encoder) in token_embeddings.ENCODERS.items():
        ids = getattr(pipeline, tokenizer)("perfume bottle", add_special_tokens=False).input_ids[:2]
        began = getattr(pipeline, encoder).get_input_embeddings().weight[ids]
        moved = (found[key] - began).abs()
        assert float(moved.max()) > 1e-3, "they were trained"
        assert float(moved.max()) < 0.05, "from the class noun on, for two steps of 0.01"
    assert len(list(run.workspace.runs.glob("bottle01/*/previews/*.png"))) == 4, "two steps, placed and inserted"


def test_validation_begins_when_the_tokens_are_frozen(run: Run) -> None:
    """Before, every candidate would have tokens of its own; its captions are read with them too."""
    (file,) = run.workspace.runs.glob("bottle01/*/validation.jsonl")
    records = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert [record["step"] for record in records] == [0, 2, 3, 4]
    assert run.version.manifest["chosen_step"] == min(records[1:], key=lambda record: record["loss"])["step"]
    assert run.held_out is not None
    assert torch.equal(run.held_out.embeds[-1], run.raw_held_out.embeds[-1]), "the null"
    assert not torch.equal(run.held_out.embeds[0], run.raw_held_out.embeds[0])


def test_placing_reads_the_captions_as_training_did_and_other_rows_are_untouched(run: Run, tiny_base: Path) -> None:
    inpainter = load_inpainter(resolve_base(str(tiny_base)), run.version.adapter, device="cpu")
    pipeline, plain = inpainter.pipeline, plain_pipeline(tiny_base)
    for name in ("text_encoder", "text_encoder_2"):
        before = getattr(plain, name).get_input_embeddings().weight
        after = getattr(pipeline, name).get_input_embeddings().weight
        assert len(after) == len(before) + 2
        assert torch.equal(after[: len(before)], before)
    assert len(run.captions) == len(run.kept["embeds"]) - 1
    with torch.no_grad():
        for caption, embeds, pooled in zip(run.captions, run.kept["embeds"], run.kept["pooled"], strict=False):
            assert "bttl01" in caption
            prompt = inpainter.tokens.expand(caption)
            found, _, found_pooled, _ = pipeline.encode_prompt(prompt, do_classifier_free_guidance=False)
            assert torch.equal(found[0], embeds)
            assert torch.equal(found_pooled[0], pooled)
            other = plain.encode_prompt(caption, do_classifier_free_guidance=False)[0]
            assert float((other[0] - embeds).abs().max()) > 1e-3
        for prompt in ("a mug on sand", "bttl01 on sand"):  # not expanded, it is what it was
            pairs = zip(pipeline.encode_prompt(prompt), plain.encode_prompt(prompt), strict=True)
            assert all(torch.equal(one, two) for one, two in pairs)
    assert inpainter.prompt_tokens("bttl01") == 2 + 2
    assert inpainter.prompt_tokens("Bttl01, bttl012") == 2 + 2 + 1 + len("bttl012"), "whole words, whatever their case"


def test_only_prompts_with_the_trigger_word_are_drawn_otherwise(run: Run, tiny_base: Path, tmp_path: Path) -> None:
    base = resolve_base(str(tiny_base))
    picture, mask = picture_and_mask()
    sampling = Sampling(steps=2, guidance=2.0)

    def drawn(inpainter: Any, prompt: str) -> np.ndarray:
        return np.asarray(inpainter.paint(picture, mask, prompt, sampling=sampling, seed=3))

    inpainter = load_inpainter(base, run.version.adapter, device="cpu")
    named = drawn(inpainter, "bttl01 perfume bottle")
    inpainter.tokens.on = False
    assert (drawn(inpainter, "bttl01 perfume bottle") != named).any()
    inpainter.set_adapter_scale(0.0)
    alone = load_inpainter(base, None, device="cpu")
    # an adapter that is switched off may round otherwise than none: 2 of 12,288 values differed by 1
    off = drawn(inpainter, "bttl01 perfume bottle").astype(int) - drawn(alone, "bttl01 perfume bottle")
    assert abs(off).max() <= 1
    assert (off != 0).mean() < 1e-3
    assert inpainter.prompt_tokens("bttl01") == 2 + len("bttl01")
    inpainter.set_adapter_scale(1.0)
    np.testing.assert_array_equal(drawn(inpainter, "bttl01 perfume bottle"), named)


def test_without_its_file_or_with_anothers_it_is_refused(version_folder: Path, tiny_base: Path) -> None:
    base = resolve_base(str(tiny_base))
    file = version_folder / "embeddings.safetensors"
    rows = load_file(file)
    rows["clip_l"][0, 0] += 1
    save_file(rows, file)
    with pytest.raises(AdapterError, match=r"does not belong to adapter\.safetensors"):
        load_inpainter(base, read_adapter(version_folder / WEIGHTS), device="cpu")
    file.write_bytes(b"nothing")
    with pytest.raises(AdapterError, match=r"embeddings\.safetensors .* is damaged"):
        load_inpainter(base, read_adapter(version_folder / WEIGHTS), device="cpu")
    file.unlink()
    with pytest.raises(AdapterError, match="token embeddings are missing") as caught:
        load_inpainter(base, read_adapter(version_folder / WEIGHTS), device="cpu")
    assert "copy it with the adapter" in caught.value.hint


@pytest.mark.parametrize("steps", [1, 3])
def test_resumed_in_either_half_it_is_the_same_to_the_bit(
    run: Run, tiny_base: Path, tmp_path: Path, steps: int
) -> None:
    for name in ("datasets", ".cache"):
        shutil.copytree(run.workspace.root / name, tmp_path / name)
    workspace = Workspace(tmp_path)
    config = tiny_config(tiny_base, *PIVOTAL, "train.checkpoint_every=1")
    with training_dies(after=steps):
        train(workspace, config)
    (state,) = workspace.runs.glob("bottle01/*/state")
    assert max(p.name for p in state.iterdir()) == f"step-{steps:06d}"
    version = train(workspace, config).version
    for name in ("embeddings.safetensors", WEIGHTS):
        found, wanted = load_file(version.folder / name), load_file(run.version.folder / name)
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_the_end_of_the_prompt_is_found_where_the_configuration_is_wrong(tiny_base: Path) -> None:
    """SDXL's own configuration names token 2 as the end: transformers then takes the highest number, a new token's."""
    pipeline = plain_pipeline(tiny_base)
    encoder = pipeline.text_encoder_2
    assert encoder.text_model.eos_token_id == 1
    wanted = _pooled_with_tokens(pipeline)
    pipeline = plain_pipeline(tiny_base)
    pipeline.text_encoder_2.text_model.eos_token_id = token_embeddings.OLD_END
    assert torch.equal(_pooled_with_tokens(pipeline), wanted)


def _pooled_with_tokens(pipeline: Any) -> torch.Tensor:
    rows = {key: torch.ones(2, 32) for key in token_embeddings.ENCODERS}
    token_embeddings.add_tokens(pipeline, "bttl01", rows)
    with torch.no_grad():
        return pipeline.encode_prompt("bttl01_0 bttl01_1 on sand", do_classifier_free_guidance=False)[2]


def test_tokens_that_cannot_be_added_are_refused(tiny_base: Path) -> None:
    pipeline = plain_pipeline(tiny_base)
    with pytest.raises(AdapterMismatch, match="are 8 wide, those of the base 32"):
        token_embeddings.add_tokens(pipeline, "bttl01", {"clip_l": torch.ones(1, 8), "clip_g": torch.ones(1, 8)})
    with pytest.raises(ConfigError, match="prodigy has a single learning rate"):
        tiny_config(tiny_base, *PIVOTAL, "train.optimizer=prodigy", "train.learning_rate=1")


def test_another_adapter_starts_from_the_tokens_too(
    run: Run, workspace: Workspace, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = load_file(run.version.folder / "embeddings.safetensors")
    began: list[dict[str, torch.Tensor]] = []
    real = TokenTraining.begin

    def watched(self: TokenTraining, start: int) -> None:
        began.append(self.tensors())
        real(self, start)

    monkeypatch.setattr(TokenTraining, "begin", watched)
    found = train(workspace, starting_from(tiny_config(tiny_base, *PIVOTAL, "train.steps=2"), run.version.folder))
    assert len(began) == 1
    assert all(torch.equal(began[0][key], parent[key]) for key in token_embeddings.ENCODERS)
    ended = load_file(found.version.folder / "embeddings.safetensors")
    assert all(0 < float((ended[key] - parent[key]).abs().max()) < 0.05 for key in ended), "trained on from there"
    assert found.version.manifest["init_from"]["name"] == "bottle01"


@pytest.mark.parametrize(("count", "said"), [(0, "none"), (3, "3")])
def test_tokens_of_another_number_are_a_misfit(run: Run, tiny_base: Path, count: int, said: str) -> None:
    config = tiny_config(tiny_base, *PIVOTAL, f"adapter.token_embeddings={count}")
    with pytest.raises(AdapterMismatch, match=f"has 2 tokens of its own .* asks for {said}$") as caught:
        parent_of(run, starting_from(config, run.version.folder))
    assert caught.value.hint.startswith("set adapter.token_embeddings=2")


def test_a_parent_whose_tokens_are_lost_is_refused_before_anything_loads(
    run: Run, version_folder: Path, tiny_base: Path
) -> None:
    config = starting_from(tiny_config(tiny_base, *PIVOTAL), version_folder)
    assert parent_of(run, config)
    (version_folder / "embeddings.safetensors").unlink()
    with pytest.raises(AdapterError, match="token embeddings are missing"):
        parent_of(run, config)


def starting_from(config: TrainConfig, folder: Path) -> TrainConfig:
    return config.model_copy(update={"adapter": config.adapter.model_copy(update={"init_from": str(folder)})})


def parent_of(run: Run, config: TrainConfig) -> object:
    return find_training_parent(run.workspace, "bottle01", config, check_request(config))


def test_several_processes_are_refused_before_anything_loads(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(ConfigError, match="token_embeddings trains in one process"):
        check_request(tiny_config(tiny_base, *PIVOTAL))


@pytest.mark.parametrize("layout", ["kohya", "diffusers"])
def test_exported_they_come_along_as_a_file_other_programs_read(
    layout: str, run: Run, tiny_base: Path, tmp_path: Path
) -> None:
    done = export_adapter(run.version, layout, tmp_path / "out.safetensors", device="cpu")
    assert done.embeddings == tmp_path / "out-bttl01-tokens.safetensors"
    found, own = load_file(done.embeddings), load_file(run.version.folder / "embeddings.safetensors")
    assert set(found) == {"clip_l", "clip_g"}
    assert all(torch.equal(found[key], own[key]) for key in own)
    base = resolve_base(str(tiny_base))
    inpainter = load_inpainter(base, read_adapter(done.path), device="cpu")
    assert inpainter.prompt_tokens("bttl01") == 2 + 2, "placing with the exported file reads them"
    done.embeddings.unlink()
    with pytest.raises(AdapterError, match=r"no out-bttl01-tokens\.safetensors beside out\.safetensors"):
        load_inpainter(base, read_adapter(done.path), device="cpu")
