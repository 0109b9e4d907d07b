"""What a run needs in memory besides its step: drawing, traced and real, and what becomes of what does not fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tiny_setups import tiny_setup
from tiny_training import tiny_config

from finetune import plan
from finetune.core import console
from finetune.core.basemodel.resolve import resolve_base
from finetune.core.commands import main
from finetune.core.errors import OutOfMemory
from finetune.core.painting.cost import DrawingCost
from finetune.core.painting.offload import needs_cpu_offload
from finetune.core.tracing.device_fit import Device
from finetune.memory import fit, phases
from finetune.memory.budget import Budget
from finetune.memory.drawing import trace_drawing

pytestmark = pytest.mark.tiny
DRAWS = ("validation.every=1", "validation.choose=measured")


@pytest.mark.parametrize("changes", [{}, {"rank": 16, "nf4": True}], ids=["plain", "nf4"])
def test_prediction_against_a_real_picture(tiny_base: Path, changes: dict[str, Any]) -> None:
    from benchmarks.memory.__main__ import measured_drawing, predicted_drawing

    base, setup = resolve_base(str(tiny_base)), tiny_setup(tiny_base, **changes)
    assert predicted_drawing(base, setup) == pytest.approx(measured_drawing(base, setup), rel=0.08)


def test_parts_that_take_turns_meet_as_the_hooks_have_it() -> None:
    drawing = DrawingCost(text=100, text_2=80, unet=500, predicting=50, vae=10, encoding=200, decoding=150, pictures=0,
                      libraries=1)  # fmt: skip
    assert drawing.peak(offloaded=False) == 610 + 200 + 1
    assert drawing.peak(offloaded=True) == 500 + 10 + 50 + 1, "the VAE, loaded to encode, stays when the UNet comes"
    assert replace(drawing, unet=100).peak(offloaded=True) == 80 + 10 + 200 + 1, (
        "the second encoder stays until the UNet"
    )


def fit_on(base: Path, device: Device, *overrides: str) -> tuple[phases.Pictures, fit.Fit]:
    config = tiny_config(base, *overrides)
    setup = tiny_setup(base, cuda=device.cuda)
    return plan.pictures_of(config), fit.Fit(setup, Budget(0, 0, 7, 0, 0, 0, device.context), device)


def test_drawing_counts_what_stays_and_takes_turns_where_it_must(tiny_base: Path, tmp_path: Path) -> None:
    folder = resolve_base(str(tiny_base)).config
    drawing = trace_drawing(folder, tiny_setup(tiny_base, cuda=True), 64)
    ample = 2 * drawing.weights + 2**25
    for memory, turns in ((ample, False), (drawing.weights, True)):
        device = Device("card", memory, cuda=True, context=1000)
        pictures, step = fit_on(tiny_base, device, *DRAWS)
        drawn = phases.drawing(step, pictures, folder, tmp_path)
        assert (drawn.offloaded, drawn.total) == (turns, drawing.peak(offloaded=turns) + 7 + 1000)
    pictures, step = fit_on(tiny_base, replace(device, memory=2**40))
    found = phases.trace_phases(step, pictures, folder, tmp_path)
    assert (found.drawing, found.class_pictures) == (None, None)


def test_only_class_pictures_are_refused(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "_EARLIER_WARNINGS", set())
    base = resolve_base(str(tiny_base))
    small = Device("card", 2**20, cuda=True, context=0)
    pictures, step = fit_on(tiny_base, small, *DRAWS)
    phases.Phases(0, None, phases.drawing(step, pictures, base.config, tmp_path)).hold_against(small)
    said = capsys.readouterr().err
    assert said.startswith("Warning: drawing would need 0.0 GiB of the 0.0 GiB of card; training fits; previews")
    assert "--set validation.choose=loss --set preview.every=0" in said
    config = tiny_config(tiny_base, "objective.prior_weight=1")
    drawn = phases.class_drawing(step, base.config, tmp_path)
    with pytest.raises(OutOfMemory, match="class pictures would need") as caught:
        phases.Phases(0, drawn, None).hold_against(small)
    assert "--set objective.prior_weight=0" in caught.value.hint
    ample = fit_on(tiny_base, replace(small, memory=2**40))[1]
    for draw_class in (True, False):
        pictures = plan.pictures_of(config, draw_class=draw_class)
        assert (phases.trace_phases(ample, pictures, base.config, tmp_path).class_pictures is not None) == draw_class


def test_the_command_says_where_the_peak_is(tiny_base: Path, tmp_path: Path) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text(
        f"base: {{model: '{tiny_base}'}}\ndata: {{size: 64}}\nobjective: {{prior_weight: 1}}\n", encoding="utf-8"
    )
    common = ["plan", "--config", str(config), "--workspace", str(tmp_path), "--gpu", "12GB"]
    done = CliRunner().invoke(main, [*common, "--json"])
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert list(facts["phases"]) == ["encoding", "class pictures", "training step", "drawing"]
    assert facts["phases"]["training step"] == facts["total"]
    assert facts["phases"][facts["peak"]] == max(facts["phases"].values())
    done = CliRunner().invoke(main, common)
    assert [line.split("  ")[0] for line in done.stdout.splitlines() if line.endswith("  the peak")] == [facts["peak"]]


@pytest.mark.parametrize(
    ("weights", "cards"),
    [(3.5, {6: True, 8: True, 12: False}), (6.6, {8: True, 12: True}), (6.8, {12: True, 16: False, 24: False})],
)
def test_sdxl_takes_turns_where_it_would_crowd_the_card(weights: float, cards: dict[int, bool]) -> None:
    for memory, offloaded in cards.items():
        assert needs_cpu_offload(int(weights * 2**30), 1024, int((memory - 0.4) * 2**30)) is offloaded


@pytest.mark.tiny
def test_text_encoders_count_as_loaded_not_as_saved(tiny_base: Path, tmp_path: Path) -> None:
    """SDXL's own text encoders were saved with `torch_dtype: float16`, in which transformers would make them."""
    from finetune.core.painting.cost import text_encoders

    wanted = text_encoders(tiny_base, False)
    for key in ("dtype", "torch_dtype"):
        for part in ("text_encoder", "text_encoder_2"):
            config = json.loads((tiny_base / part / "config.json").read_text(encoding="utf-8"))
            config = {k: v for k, v in config.items() if k not in ("dtype", "torch_dtype")} | {key: "float16"}
            (tmp_path / part).mkdir(exist_ok=True)
            (tmp_path / part / "config.json").write_text(json.dumps(config), encoding="utf-8")
        assert text_encoders(tmp_path, False) == wanted
