"""The benchmarks of settings: cells of a grid, a cell run for real on the tiny SDXL, curves and what they come to."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from drawn_products import draw_bottle, write_set
from tiny_training import tiny_config

from benchmarks.settings import __main__ as sweep
from benchmarks.settings import init_from
from benchmarks.settings.held_out_loss import DRAWS, held_out, loss_of
from finetune.core.basemodel.load import load_unet
from finetune.core.basemodel.resolve import resolve_base
from finetune.core.config import validate
from finetune.core.errors import ConfigError
from finetune.core.products.catalog import Workspace
from finetune.core.yaml_files import read_yaml
from finetune.prepare import prepare_set
from finetune.training import objective
from finetune.unet import lora

GRIDS = Path(sweep.__file__).parent / "grids"


def test_cells_are_the_recipe_every_combination_and_single_changes() -> None:
    grid = sweep.Grid(
        sku="x",
        product={"train.learning_rate": [1e-3, 2e-3], "adapter.rank": [8, 16]},
        single={"objective.snr_gamma": [0, 5]},
    )
    cells = grid.cells()
    assert cells[0] == ()
    assert cells[1] == ("train.learning_rate=0.001", "adapter.rank=8")
    assert len(cells) == 1 + 4 + 2
    assert cells[-1] == ("objective.snr_gamma=5",)
    shipped = sorted(GRIDS.glob("*.yaml"))
    assert shipped
    for path in shipped:
        assert len(validate(sweep.Grid, read_yaml(path), path.name).cells()) > 2


def test_the_table_names_what_each_cell_changes() -> None:
    scores: dict[str, float | None] = {"palette": 12.345, "palette_reached": 40.0, "own_nearest": None}
    rows = [
        sweep.Row((), "0001", 0.123456, "pass", scores, 1.0),
        sweep.Row(("adapter.rank=8", "train.seed=1"), "0002", 0.2, "fail", scores, 1.0),
    ]
    table = sweep.format_table(rows).splitlines()
    assert table[2] == "| the recipe | 0.12346 | 12.3 | 40.0 | - | - | pass | 0001 |"
    assert table[3].startswith("| rank=8, seed=1 | 0.20000 |")


@pytest.mark.tiny
def test_the_held_out_loss_is_the_products_and_the_same_every_time(tmp_path: Path, tiny_base: Path) -> None:
    write_set(tmp_path, "bottle01", {"front": draw_bottle(), "side": draw_bottle(shift=6)})
    workspace, config = Workspace(tmp_path), tiny_config(tiny_base, "data.variants=3")
    prepared, _ = prepare_set(workspace, "bottle01", data=config.data)
    base = resolve_base(str(tiny_base))
    unet, scheduler = load_unet(base, dtype=torch.float32, device="cpu")
    held = held_out(workspace, prepared, base, config, scheduler)
    first = loss_of(unet, held)
    assert loss_of(unet, held) == first
    from benchmarks.settings.held_out_loss import _batches

    batches = list(_batches(held))
    assert sum(len(batch.timesteps) for batch in batches) == len(held.examples) * DRAWS
    ones = torch.ones(1)
    with torch.no_grad():  # by the objective's own loss by region, sample by sample
        by_sample = []
        for batch in batches:
            noisy = objective.add_noise(batch.latents, batch.noise, held.alphas, batch.timesteps)
            from finetune.training.loop import predict

            guess = predict(unet, batch, noisy, torch.float32)
            by_sample += [
                objective.region_loss(guess[i : i + 1], [batch.noise[i : i + 1]], [batch.product[i : i + 1]], [1], ones)
                for i in range(len(guess))
            ]
    assert first == pytest.approx(float(torch.stack(by_sample).mean()), rel=1e-5)
    lora.add_lora(unet, rank=2, alpha=2, rslora=False, dora=False, targets="attention", seed=0)
    with torch.no_grad():
        for weight in lora.lora_parameters(unet):
            weight.add_(0.1)
    assert loss_of(unet, held) != first


@pytest.mark.tiny
@pytest.mark.e2e
def test_a_cell_is_trained_and_judged(
    tmp_path: Path,
    tiny_base: Path,
    checkout_with_a_small_gate: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(checkout_with_a_small_gate))  # of the commands that a cell runs
    write_set(tmp_path, "bottle01", {"front": draw_bottle(), "side": draw_bottle(shift=6)})
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(tiny_config(tiny_base).model_dump(mode="json")), encoding="utf-8")
    plain = ["train.steps=1", "data.variants=3", "validation.choose=last"]
    grid = tmp_path / "grid.yaml"
    text = {"sku": "bottle01", "config": str(recipe), "set": plain, "single": {"adapter.rank": [2]}}
    grid.write_text(yaml.safe_dump(text), encoding="utf-8")
    sweep.main([str(grid), "--workspace", str(tmp_path), "--cells", "1"])
    (*_, row) = capsys.readouterr().out.splitlines()
    name, loss, *_, verdict, version = (part.strip() for part in row.strip("|").split("|"))
    assert (name, version) == ("the recipe", "0001")
    assert float(loss) > 0
    assert verdict in ("pass", "fail")


def test_steps_are_counted_to_a_loss() -> None:
    curve = [(0, 1.0), (10, 0.8), (20, 0.6), (30, 0.65)]
    assert init_from.steps_to(curve, 0.8) == 10
    assert init_from.steps_to(curve, 0.7) == pytest.approx(15)
    assert init_from.steps_to(curve, 0.9) == 10, "nothing is known between the base and the first validation"
    assert init_from.steps_to(curve, 0.5) == float("inf")
    table = init_from.format_table(curve, [(0, 1.0), (10, 0.55), (20, 0.5), (30, 0.5)])
    assert table.splitlines()[-1] == "| steps to 0.60000, the best from nothing | 20 | 10 |"


def test_a_member_of_the_category_is_no_test(tmp_path: Path) -> None:
    write_set(tmp_path, "vase01", {"front": draw_bottle()}, category="vases")
    (tmp_path / "datasets" / "vases").mkdir()
    (tmp_path / "datasets" / "vases" / "set.yaml").write_text("kind: category\nclass_noun: vase\n")
    with pytest.raises(ConfigError, match="whose adapter has seen it"):
        init_from.main(["--workspace", str(tmp_path), "--category", "vases", "--member", "vase01"])
