"""`packshot place` with another trainer's LoRA: taken, recorded in the manifest, or refused before a base loads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from drawn_products import draw_bottle, write_set
from foreign_files import LIGHTNING, VARIED, kohya, trained, write
from tiny_adapters import write_trained

from finetune.core.adapters import versions
from finetune.core.basemodel.resolve import ResolvedBase
from finetune.core.commands import main
from finetune.core.errors import AdapterError
from finetune.core.products.catalog import Workspace
from finetune.prepare import prepare_set
from finetune.settings import DataSection

pytestmark = pytest.mark.tiny


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with a prepared product and no adapter."""
    root = tmp_path_factory.mktemp("shop")
    write_set(root, "bottle01", {"front": draw_bottle()})
    prepare_set(Workspace(root), "bottle01", data=DataSection(size=64, variants=2))
    return Workspace(root)


def place(shop: Workspace, *arguments: str) -> Result:
    line = ["place", "bottle01", "--prompt", "on oak", "--size", "128", "--steps", "2", *arguments]
    return CliRunner().invoke(main, [*line, "--workspace", str(shop.root)])


def test_place_takes_it_and_its_manifest_says_what_was_used(
    shop: Workspace, tiny_base: Path, base: ResolvedBase, tmp_path: Path
) -> None:
    import torch

    text = {
        f"lora_te{n}_text_model_encoder_layers_0_mlp_fc1.lora_{end}.weight": torch.zeros(4, 4)
        for n in (1, 2)
        for end in ("down", "up")
    }
    tensors = kohya(trained(base, LIGHTNING, **VARIED)) | text
    path = write(tmp_path / "some_style.safetensors", tensors, ss_output_name="some_style", ss_seed="1")
    result = place(shop, "--adapter", str(path), "--base", str(tiny_base))
    assert result.exit_code == 0, result.output
    assert "adapter some_style.safetensors (a file in kohya's layout" in result.stderr
    assert (
        "Warning: Packshot ignores 2 text encoder layers in some_style.safetensors: it adapts the UNet alone"
        in result.stderr
    )
    (picture,) = result.stdout.split()
    used = json.loads(Path(picture).with_suffix(".json").read_text(encoding="utf-8"))["adapter"]
    assert used["version"] == "some_style.safetensors"
    assert used["foreign"]["ranks"] == [2, 3, 4]
    assert used["foreign"]["layers"] == len(trained(base, LIGHTNING).layers())
    assert used["foreign"]["text_encoder_layers_left_out"] == 2
    assert used["foreign"]["metadata"] == {"ss_output_name": "some_style"}
    alone = place(shop, "--adapter", "none", "--base", str(tiny_base))
    assert Path(alone.stdout.strip()).read_bytes() != Path(picture).read_bytes()


def test_place_refuses_a_misfit_and_a_packshot_file_of_another_base(
    shop: Workspace, tiny_base: Path, tiny_base_4: Path, base: ResolvedBase, tmp_path: Path
) -> None:
    path = write(tmp_path / "theirs.safetensors", kohya(trained(base)))
    result = place(shop, "--adapter", str(path))  # on the embedded base, which is larger
    assert result.exit_code == 1
    assert "lora_unet_" in result.stderr
    assert "hint: give the base it was made for: --base REF" in result.stderr
    own, _, _ = write_trained(tmp_path / "own", base)
    result = place(shop, "--adapter", str(own), "--base", str(tiny_base_4))
    assert result.exit_code == 1
    assert "was trained on base" in result.stderr
    assert place(shop, "--adapter", str(own)).exit_code == 0  # its header names the base


def test_another_trainers_file_is_no_version(shop: Workspace, base: ResolvedBase, tmp_path: Path) -> None:
    path = write(tmp_path / "theirs.safetensors", kohya(trained(base)))
    with pytest.raises(AdapterError, match="no version of 'bottle01'"):
        versions.promote(shop, "bottle01", str(path), reason="by hand", when="2026-01-02")
    assert versions.read_current(shop, "bottle01") is None
    result = CliRunner().invoke(main, ["adapters", "verify", "bottle01", str(path), "--workspace", str(shop.root)])
    assert result.exit_code == 1
    assert "another trainer's file" in result.stderr
