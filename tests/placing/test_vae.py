"""A VAE in place of the base's own, when placing and evaluating: the adapter's by itself, or one that is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from drawn_products import draw_bottle, write_set
from made_once import prepare_once
from PIL import Image
from published_adapters import published

from finetune.core.basemodel.resolve import resolve_base
from finetune.core.commands import main
from finetune.core.config import validate
from finetune.core.products.catalog import Workspace
from finetune.settings import TrainConfig

pytestmark = pytest.mark.tiny
WEIGHTS = "diffusion_pytorch_model.safetensors"
PLACE = ["place", "bottle01", "--prompt", "on oak", "--set", "size=128", "--steps", "1"]
EVALUATE = ["evaluate", "bottle01", "--set", "pictures.seeds=[1]", "--set", "pictures.steps=1"]
EVALUATE += ["--set", 'pictures.scenes=["on oak"]', "--set", "pictures.measure_side=48"]


@pytest.fixture
def vae(tiny_base: Path, tmp_path: Path) -> Path:
    """Folder of a VAE with weights of its own."""
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "vae-fix"
    folder.mkdir()
    shutil.copyfile(tiny_base / "vae" / "config.json", folder / "config.json")
    state = load_file(tiny_base / "vae" / WEIGHTS)
    save_file({key: tensor * 0.5 for key, tensor in state.items()}, folder / WEIGHTS, {"format": "pt"})
    return folder


@pytest.fixture
def shop(tmp_path: Path) -> Workspace:
    """A workspace with a prepared product."""
    workspace = Workspace(tmp_path / "shop")
    write_set(workspace.root, "bottle01", {"front": draw_bottle()})
    config = validate(TrainConfig, {"data": {"size": 64, "variants": 2}}, "tiny")
    prepare_once(workspace, "bottle01", config.data)
    return workspace


def run(shop: Workspace, *line: str) -> Result:
    return CliRunner().invoke(main, [*line, "--workspace", str(shop.root)])


def scene(done: Result) -> tuple[bytes, dict[str, object]]:
    """The pixels of the picture that a placing made, and the base in its manifest."""
    assert done.exit_code == 0, done.output
    path = Path(done.stdout.strip())
    with Image.open(path) as picture:
        pixels = picture.convert("RGB").tobytes()
    return pixels, json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["base"]


def refusal(done: Result) -> tuple[str, str]:
    """(error, hint) of a command that was refused."""
    assert done.exit_code == 1, done.output
    error, hint = (line for line in done.stderr.splitlines() if line.startswith(("Error: ", "hint: ")))
    return error, hint


def test_the_adapters_vae_draws_unasked_and_from_where_it_lies_now(
    shop: Workspace, vae: Path, tiny_base: Path, tmp_path: Path
) -> None:
    published(shop, resolve_base(str(tiny_base), vae=str(vae)))
    picture, base = scene(run(shop, *PLACE))
    assert base["vae"] == str(vae)
    judged = run(shop, *EVALUATE)
    assert judged.exit_code in (0, 3), judged.output
    report = next(shop.adapters.rglob("fidelity.json"))
    assert json.loads(report.read_text(encoding="utf-8"))["base"]["vae"] == str(vae)

    moved = tmp_path / "elsewhere"
    vae.rename(moved)
    for line in (PLACE, EVALUATE):
        error, hint = refusal(run(shop, *line))
        assert error == f"Error: the adapter was trained with the VAE at '{vae}', and there is none now"
        assert hint.endswith("--vae FOLDER|FILE")
        again = run(shop, *line, "--vae", str(moved))
        assert again.exit_code in (0, 3), again.output
        assert "up to date" in again.stderr, "the same VAE at another place draws the same"
    shutil.rmtree(shop.scenes)
    assert scene(run(shop, *PLACE, "--vae", str(moved))) == (picture, base | {"vae": str(moved)})


def test_a_vae_for_the_base_alone(shop: Workspace, vae: Path, tiny_base: Path) -> None:
    alone = [*PLACE, "--adapter", "none", "--base", str(tiny_base)]
    own, summary = scene(run(shop, *alone))
    other, named = scene(run(shop, *alone, "--vae", str(vae)))
    assert own != other
    assert "vae" not in summary
    assert named["vae"] == str(vae)


def test_another_vae_than_the_adapters_is_refused_by_that_reason(
    shop: Workspace, vae: Path, tiny_base: Path, tmp_path: Path
) -> None:
    version, _ = published(shop, resolve_base(str(tiny_base)))
    for line in (PLACE, EVALUATE):
        error, hint = refusal(run(shop, *line, "--vae", str(vae)))
        assert f"on base '{tiny_base}' with its own VAE" in error
        assert f"with VAE '{vae}'" in error.partition("not on ")[2]
        assert "without a separate VAE" in hint
    shutil.rmtree(version.folder)
    published(shop, resolve_base(str(tiny_base), vae=str(vae)))
    error, hint = refusal(run(shop, *PLACE, "--vae", str(tiny_base)))
    assert f"on base '{tiny_base}' with VAE '{vae}'" in error
    assert hint.startswith(f"hint: use --base {tiny_base} --vae {vae}")


def test_what_has_no_effect_or_is_not_there(shop: Workspace, vae: Path, tiny_base: Path) -> None:
    error, hint = refusal(run(shop, "place", "bottle01", "--plate", "marble-vanity", "--vae", str(vae)))
    assert error == "Error: --vae has no effect with --plate: nothing is painted"
    line = [*PLACE, "--adapter", "none", "--base", str(tiny_base), "--vae", "nowhere"]
    error, hint = refusal(run(shop, *line))
    assert error == "Error: there is no VAE at 'nowhere'"
    assert hint.startswith("hint: give the folder of an SDXL VAE")
