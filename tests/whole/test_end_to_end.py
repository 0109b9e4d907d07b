"""The main job through the real commands on the embedded base: photos in, adapter, scene, score, night.

Short settings (few examples, few steps): this proves the chain, not the adapter's quality.
"""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from drawn_products import draw_bottle, write_set
from PIL import Image
from started_commands import At, start

from finetune import nightly
from finetune.core.commands import main

ROOT = Path(__file__).resolve().parents[2]
SHORT = ("--set", "data.variants=3", "--set", "train.steps=2", "--set", "train.warmup=1", "--set", "train.batch=1")

pytestmark = pytest.mark.e2e


def packshot(workspace: Path, *arguments: str, code: int = 0) -> Result:
    """A command, run to its end in this process; the night starts its own as users do."""
    done = CliRunner().invoke(main, [*arguments, "--workspace", str(workspace)], env={"NO_COLOR": "1"})
    assert done.exit_code == code, done.output
    assert done.exception is None or isinstance(done.exception, SystemExit), done.output
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the sample set carton01 (one packshot), trained with short settings by a process of its own."""
    workspace = tmp_path_factory.mktemp("studio")
    shutil.copytree(ROOT / "datasets" / "carton01", workspace / "datasets" / "carton01", ignore=_no_prepared)
    line = ["train", "carton01", "--config", "embedded", *SHORT, "--workspace", str(workspace)]
    run = start(workspace / "said.txt", *line, NO_COLOR="1")
    assert run.wait() == 0, run.said()
    assert "Traceback" not in run.said()
    (workspace / "said.txt").unlink()
    return workspace


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as opened:
        return np.array(opened.convert("RGB"))


def _no_prepared(folder: str, names: list[str]) -> list[str]:
    return [n for n in names if n == "prepared"]


def test_train_again_does_nothing(studio: Path) -> None:
    done = packshot(studio, "train", "carton01", "--config", "embedded", *SHORT, "--json")
    facts = json.loads(done.stdout)
    assert (facts["made"], facts["version"]) == (False, "0001")
    assert "up to date" in done.stderr


def test_training_reads_the_prepared_set_as_an_imagefolder(studio: Path, tmp_path: Path) -> None:
    from datasets import load_dataset

    folder = studio / "datasets" / "carton01" / "prepared"
    data = load_dataset("imagefolder", data_dir=str(folder), split="train", cache_dir=str(tmp_path))
    assert len(data) == 3
    assert {"image", "mask", "matte", "text", "variant", "split", "mask_kind", "seed"} <= set(data.column_names)
    assert data[0]["image"].size == data[0]["mask"].size == (256, 256)
    assert (folder / "contact_sheet.png").is_file()


def test_a_scene_holds_the_products_own_pixels(studio: Path) -> None:
    ask = ("place", "carton01", "--prompt", "on white marble, soft daylight", "--steps", "3", "--json")
    done = packshot(studio, *ask)
    (entry,) = json.loads(done.stdout)["pictures"]
    picture = Path(entry["path"])
    assert pixels_of(picture).shape == (1024, 1024, 3)
    assert packshot(studio, "verify", str(picture)).stdout
    before = picture.stat().st_mtime_ns
    assert json.loads(packshot(studio, *ask).stdout)["made"] is False
    assert picture.stat().st_mtime_ns == before
    pixels = pixels_of(picture)
    pixels[512:600, 480:540] ^= 1
    Image.fromarray(pixels).save(picture)
    assert "Error: " in packshot(studio, "verify", str(picture), code=1).stderr


def test_insert_mode_draws_and_says_so(studio: Path) -> None:
    done = packshot(
        studio,
        "place",
        "carton01",
        "--prompt",
        "on sand",
        "--mode",
        "insert",
        "--steps",
        "2",
        "--size",
        "256",
        "--json",
    )
    (entry,) = json.loads(done.stdout)["pictures"]
    assert entry["manifest"]["mode"] == "insert"
    assert pixels_of(Path(entry["path"])).shape == (256, 256, 3)


def test_adapters_commands(studio: Path) -> None:
    (row,) = json.loads(packshot(studio, "adapters", "list", "--json").stdout)
    assert (row["sku"], row["version"], row["published"]) == ("carton01", "0001", False)
    assert "ok: carton01 0001" in packshot(studio, "adapters", "verify", "carton01").stdout
    manifest = json.loads(packshot(studio, "adapters", "show", "carton01").stdout)
    assert manifest["sku"] == "carton01"
    assert manifest["config"]["train"]["steps"] == 2


def test_an_adapter_of_another_base_is_refused(studio: Path, tiny_base: Path) -> None:
    done = packshot(
        studio, "place", "carton01", "--prompt", "on sand", "--base", str(tiny_base), "--size", "256", code=1
    )
    assert done.stderr.count("Error: ") == 1
    assert "hint: " in done.stderr


def test_a_night_with_the_real_commands(
    studio: Path, checkout_with_a_small_gate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two steps teach nothing, so the gate refuses: the version stays unpublished and the next night does nothing."""
    monkeypatch.setenv("PYTHONPATH", str(checkout_with_a_small_gate))  # of the processes that the night starts
    monkeypatch.setattr(nightly, "gate_path", lambda: checkout_with_a_small_gate / "configs" / "gate.yaml")
    workspace = tmp_path / "night"
    shutil.copytree(studio, workspace, ignore=shutil.ignore_patterns("scenes"))
    config = workspace / "night.yaml"
    settings = [item for item in SHORT if item != "--set"]
    config.write_text(f"config: embedded\nset: {json.dumps(settings)}\n", encoding="utf-8")
    plan = json.loads(packshot(workspace, "nightly", "--config", str(config), "--dry-run", "--json").stdout)
    assert [(p["sku"], p["action"]) for p in plan] == [("carton01", "evaluate")]
    done = packshot(workspace, "nightly", "--config", str(config), "--json", code=3)
    (result,) = json.loads(done.stdout)["results"]
    assert result["outcome"] == "gate not met", result
    assert not (workspace / "adapters" / "carton01" / "current").exists()
    report = json.loads((workspace / "adapters" / "carton01" / "0001" / "fidelity.json").read_text(encoding="utf-8"))
    assert report["verdict"] == "fail"
    assert len(report["pictures"]) == 2, "the night's process has read the checkout's gate"
    again = packshot(workspace, "nightly", "--config", str(config), "--json")
    assert json.loads(again.stdout)["results"][0]["outcome"] == "up to date"


def test_a_killed_training_goes_on(tiny_base: Path, tmp_path: Path) -> None:
    """SIGKILL in the middle of a run; the same command again resumes from the newest checkpoint."""
    write_set(tmp_path, "bottle01", {"front": draw_bottle()})
    settings = ("base.model=" + str(tiny_base), "data.size=64", "data.variants=2", "train.warmup=0", "train.steps=4")
    options = [part for item in (*settings, "train.checkpoint_every=2") for part in ("--set", item)]
    line = ["train", "bottle01", "--config", "embedded", *options]
    middle = At("open", r"metrics\.jsonl", number=3)
    victim = start(tmp_path / "said.txt", *line, "--workspace", str(tmp_path), kill=middle)
    assert victim.wait() == -signal.SIGKILL, victim.said()
    assert not list(tmp_path.glob("adapters/bottle01/0*"))
    done = packshot(tmp_path, *line, "--json")
    assert "resuming from step 2" in done.stderr
    assert json.loads(done.stdout)["version"] == "0001"
