"""`adapter.init_from`: a SKU's adapter starts from another's weights, or is refused before anything loads."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from drawn_products import draw_bottle, write_set
from made_once import prepare_once
from safetensors.torch import load_file, save_file
from tiny_training import tiny_config

from finetune.adapters.init_from import Shape, find_parent
from finetune.core.adapters import versions
from finetune.core.adapters.file import PREFIX
from finetune.core.basemodel.resolve import resolve_base
from finetune.core.errors import AdapterError, AdapterMismatch, ConfigError
from finetune.core.products.catalog import Workspace
from finetune.core.products.prepared import PreparedSet
from finetune.nightly import NightlyConfig, plan_night
from finetune.runs import folder as rundir
from finetune.settings import TrainConfig
from finetune.train import TrainResult, check_request, find_training_parent, train_adapter
from finetune.training import session as training_session
from finetune.unet import lora

pytestmark = pytest.mark.tiny
NOW = datetime(2026, 1, 2, 3, 4, 5)
RECIPE = ("train.steps=1", "data.variants=3", "train.batch=1")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> tuple[Workspace, TrainConfig]:
    """Two vases of the category `vases`, whose adapter is trained; and a mug of none."""
    root = tmp_path_factory.mktemp("shelf")
    for sku, colour in (("vase01", (40, 90, 160)), ("vase02", (40, 140, 60)), ("mug01", (90, 90, 90))):
        category = {"category": "vases"} if sku != "mug01" else {}
        write_set(root, sku, {"front": draw_bottle(120, colour)}, class_noun="vase", **category)
    (root / "datasets" / "vases").mkdir()
    (root / "datasets" / "vases" / "set.yaml").write_text("kind: category\nclass_noun: vase\n")
    workspace, config = Workspace(root), tiny_config(tiny_base, *RECIPE)
    assert train(workspace, "vases", config)[1].made
    return workspace, config


def train(workspace: Workspace, sku: str, config: TrainConfig) -> tuple[PreparedSet, TrainResult]:
    prepared = prepare_once(workspace, sku, config.data)
    return prepared, train_adapter(workspace, prepared, config, base=check_request(config), now=NOW)


def starting_from(config: TrainConfig, where: str, **adapter: Any) -> TrainConfig:
    return config.model_copy(update={"adapter": config.adapter.model_copy(update={"init_from": where} | adapter)})


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    return {key.removeprefix(PREFIX): tensor for key, tensor in load_file(path).items()}


def test_training_starts_from_exactly_the_categorys_weights(
    shelf: tuple[Workspace, TrainConfig], tmp_path: Path
) -> None:
    workspace, plain = shelf
    config = starting_from(plain, "category")
    base = check_request(config)
    prepared = prepare_once(workspace, "vase01", config.data)
    parent = find_training_parent(workspace, "vase01", config, base)
    assert parent is not None
    run = rundir.open_run(tmp_path, "x", "", "run")
    session = training_session.open_session(workspace, prepared, config, base, run, parent=parent)
    session.accelerator.end_training()
    begun, category = lora.lora_state(session.trainee.bare_unet), weights_of(parent.adapter.path)
    assert begun.keys() == category.keys()
    assert all(torch.equal(begun[key].cpu(), category[key]) for key in category)
    assert any(tensor.abs().max() > 0 for key, tensor in category.items() if "lora_B" in key), "it had learned"


def test_the_manifest_and_the_fingerprint_name_the_parent(shelf: tuple[Workspace, TrainConfig]) -> None:
    workspace, plain = shelf
    _, scratch = train(workspace, "vase01", plain)
    _, begun = train(workspace, "vase01", starting_from(plain, "category"))
    (category,) = versions.list_versions(workspace, "vases")
    named = begun.version.manifest["init_from"]
    assert (named["name"], named["version"]) == ("vases", "0001")
    assert scratch.version.manifest["init_from"] is None
    assert "adapter of `vases`, version 0001" in (begun.version.folder / "README.md").read_text(encoding="utf-8")
    assert begun.version.weights.read_bytes() != scratch.version.weights.read_bytes()
    for same in (
        "vases",
        str(category.weights),
        str(category.folder),
        "adapters/vases/0001",
    ):  # the content counts, not how it is named
        assert not train(workspace, "vase01", starting_from(plain, same))[1].made
    other = train(workspace, "vase01", starting_from(plain, str(scratch.version.weights)))[1]
    assert other.made
    assert other.version.manifest["init_from"]["name"] == "vase01"


@pytest.mark.parametrize(
    ("changed", "both"),
    [
        ({"rank": 8}, ("rank 4, alpha 4,", "rank 8, alpha 8,")),
        ({"alpha": 2.0}, ("rank 4, alpha 4,", "rank 4, alpha 2,")),
        ({"dora": True}, ("alpha 4, on", "alpha 4 DoRA, on")),
        ({"targets": "attention+feedforward"}, ("on to_k", "on ff.net")),
    ],
)
def test_an_adapter_of_another_shape_is_refused_with_both_named(
    shelf: tuple[Workspace, TrainConfig], changed: dict[str, Any], both: tuple[str, str]
) -> None:
    workspace, plain = shelf
    config = starting_from(plain, "category", **changed)
    with pytest.raises(AdapterMismatch) as caught:
        find_training_parent(workspace, "vase01", config, check_request(config))
    assert all(part in caught.value.message for part in both)


def test_adapters_of_another_base_or_program_are_refused(
    shelf: tuple[Workspace, TrainConfig], tiny_base_4: Path, tmp_path: Path
) -> None:
    workspace, plain = shelf
    (category,) = versions.list_versions(workspace, "vases")
    wanted = Shape(rank=4, alpha=4.0, rslora=False, dora=False, targets=tuple(sorted(lora.ATTENTION)))
    with pytest.raises(AdapterMismatch, match=r"9 channels.*not on 'base' \(4 channels"):
        find_parent(workspace, "vase01", "vases", resolve_base(str(tiny_base_4)), wanted)
    other = tmp_path / "kohya.safetensors"
    save_file({f"lora_unet_x_to_q.lora_{end}.weight": torch.zeros(4, 4) for end in ("down", "up")}, other)
    with pytest.raises(AdapterMismatch, match="another program's LoRA"):
        find_parent(workspace, "vase01", str(other), check_request(plain), wanted)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(category.weights.read_bytes()[:-10])
    with pytest.raises(AdapterError, match="damaged"):
        find_parent(workspace, "vase01", str(broken), check_request(plain), wanted)


def test_an_adapter_without_tokens_suits_one_with_them(shelf: tuple[Workspace, TrainConfig]) -> None:
    workspace, plain = shelf
    (category,) = versions.list_versions(workspace, "vases")
    begun = train(workspace, "vase02", starting_from(plain, "category", token_embeddings=2))[1].version
    assert (begun.manifest["init_from"]["name"], begun.manifest["token_embeddings"]["count"]) == ("vases", 2)
    ended, started = weights_of(begun.weights), weights_of(category.weights)
    # Adam's first step moves no weight by more than the rate, weight decay apart
    assert all(float((ended[key] - started[key]).abs().max()) <= 1.1 * plain.train.learning_rate for key in started)


@pytest.mark.parametrize(
    ("sku", "where", "said"),
    [
        ("mug01", "category", "'mug01' names no category"),
        ("vase01", "vase01", "never be up to date"),
        ("vase01", "vasess", "neither a set nor an adapter file"),
        ("vase01", "no/such/file.safetensors", "neither a set nor an adapter file"),
    ],
)
def test_what_names_no_adapter_is_said(shelf: tuple[Workspace, TrainConfig], sku: str, where: str, said: str) -> None:
    workspace, plain = shelf
    config = starting_from(plain, where)
    with pytest.raises(ConfigError, match=said) as caught:
        find_training_parent(workspace, sku, config, check_request(config))
    assert caught.value.hint


def test_a_set_without_an_adapter_says_how_to_make_one(shelf: tuple[Workspace, TrainConfig]) -> None:
    workspace, plain = shelf
    config = starting_from(plain, "mug01")
    base = check_request(config)
    with pytest.raises(AdapterError, match="'mug01' has no adapter yet") as caught:
        find_training_parent(workspace, "vase01", config, base)
    assert caught.value.hint.startswith("run: packshot train mug01")


def test_a_night_retrains_members_of_a_new_category_adapter_only_where_asked_to(
    tmp_path: Path, tiny_base: Path
) -> None:
    for sku in ("vase01", "vase02"):
        write_set(tmp_path, sku, {"front": draw_bottle(120)}, class_noun="vase", category="vases")
    (tmp_path / "datasets" / "vases").mkdir()
    (tmp_path / "datasets" / "vases" / "set.yaml").write_text("kind: category\nclass_noun: vase\n")
    workspace = Workspace(tmp_path)
    plain = tiny_config(tiny_base, *RECIPE)
    train(workspace, "vases", plain)
    member = starting_from(plain, "category")
    train(workspace, "vase01", member)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(json.dumps(member.model_dump(mode="json")), encoding="utf-8")
    stays = NightlyConfig(config=str(recipe), skus=("vase01",))
    follows = stays.model_copy(update={"follow_init_from": True})
    assert [p.action for p in plan_night(workspace, follows)] == ["evaluate"], "nothing has changed"
    train(workspace, "vases", tiny_config(tiny_base, *RECIPE, "train.seed=1"))
    (kept,) = plan_night(workspace, stays)
    assert (kept.action, kept.version) == ("evaluate", "0001")
    (stale,) = plan_night(workspace, follows)
    assert (stale.action, stale.why) == ("train", "its parent adapter changed to 'vases' 0002")
    draw_bottle(120, (9, 9, 9)).save(workspace.datasets / "vase01" / "photos" / "front.png")
    assert [p.why for p in plan_night(workspace, stays)] == ["since version 0001: photos/front.png changed"]
