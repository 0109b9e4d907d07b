"""Prodigy: its settings, what is refused, and a resumed run that is the same to the bit."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from tiny_training import killed_and_resumed, losses, tiny_config, train

from finetune.core.errors import ConfigError
from finetune.core.products.catalog import Workspace
from finetune.settings import TrainConfig
from finetune.train import check_request
from finetune.training import optimizers

pytestmark = pytest.mark.tiny
PRODIGY = ("train.optimizer=prodigy", "train.learning_rate=1", "memory.check=false")


def test_its_settings_and_its_own_rate(capsys: pytest.CaptureFixture) -> None:
    import torch

    pytest.importorskip("prodigyopt")
    weight = torch.nn.Parameter(torch.ones(8))
    options = {"learning_rate": 1.0, "weight_decay": 0.01, "min_8bit_size": 1}
    optimizer = optimizers.make_optimizer("prodigy", [weight], betas=None, **options)
    (group,) = optimizer.param_groups
    assert group["betas"] == (0.9, 0.99)
    assert (group["use_bias_correction"], group["safeguard_warmup"], group["decouple"]) == (True, True, True)
    assert group["weight_decay"] == 0.01
    assert capsys.readouterr().out == "", "stdout is data"
    schedule = optimizers.make_schedule("constant", optimizer, warmup=0, steps=100)
    first = optimizers.learning_rate(optimizer, schedule)
    for _ in range(100):
        weight.grad = weight.detach().clone()
        optimizer.step()
    assert first == pytest.approx(1e-6)
    assert optimizers.learning_rate(optimizer, schedule) > 100 * first, "it finds its step size"
    assert float(weight.detach().abs().max()) < 0.9
    given = optimizers.make_optimizer("prodigy", [weight], betas=(0.8, 0.9), **options)
    assert given.param_groups[0]["betas"] == (0.8, 0.9)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("train.optimizer=prodigy",), "set it to 1"),
        (("train.optimizer=prodigy", "train.learning_rate=11"), "less than or equal to 10"),
        (("train.learning_rate=1.5",), "is only for prodigy"),
    ],
)
def test_a_rate_of_another_optimizer_is_refused(overrides: tuple[str, ...], said: str) -> None:
    from finetune.core.config import apply_overrides, validate

    with pytest.raises(ConfigError) as caught:
        validate(TrainConfig, apply_overrides({}, overrides), "test")
    assert said in f"{caught.value.message} {caught.value.hint}"


def test_without_its_package_nothing_loads(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "prodigyopt" else real(name))
    with pytest.raises(ConfigError, match="prodigyopt is not installed") as caught:
        check_request(tiny_config(tiny_base, *PRODIGY))
    assert "packshot[optimizers]" in caught.value.hint


def test_a_resumed_run_is_the_same_to_the_bit(workspace: Workspace, tiny_base: Path, tmp_path: Path) -> None:
    pytest.importorskip("prodigyopt")
    config = tiny_config(tiny_base, *PRODIGY, "train.checkpoint_every=1")
    straight = train(workspace, config).version.weights.read_bytes()
    lines = losses(workspace)
    (run,) = workspace.runs.glob("bottle01/*")
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert all(0 < line["learning_rate"] < 1 for line in metrics), "Prodigy's own estimate, not the factor 1"
    assert killed_and_resumed(workspace, config, tmp_path) == straight
    assert losses(workspace) == lines
