"""Evaluation on the embedded base by the shipped bars: another product's adapter is refused, and one of zeros."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from made_once import share_entries
from PIL import Image
from scored_adapters import values_in, write_adapter

from finetune.core.commands import main
from finetune.core.products.catalog import Workspace

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
SCENE = ("--set", "pictures.scenes=[on a plain light grey surface]", "--set", "pictures.seeds=[11, 12]")
QUICK = (*SCENE, "--set", "pictures.steps=6")
EXAMPLES = ("--set", "data.variants=3")
TAUGHT = (
    *EXAMPLES, "--set", "train.steps=2", "--set", "train.warmup=0", "--set", "train.batch=1",
    "--set", "memory.check=false", "--set", "validation.every=0", "--set", "validation.choose=last",
)  # fmt: skip
"""Short: what is drawn is nobody's product yet."""


def packshot(root: Path, *arguments: str, code: int) -> dict[str, Any]:
    """Run a command; what `--json` printed."""
    done = CliRunner().invoke(main, [*arguments, "--workspace", str(root), "--json"], env={"NO_COLOR": "1"})
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def perfumery(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Both sample perfumes, and an adapter of perfume02 on the embedded base."""
    workspace = Workspace(tmp_path_factory.mktemp("perfumery"))
    share_entries(workspace.root)
    for sku in ("perfume01", "perfume02"):
        shutil.copytree(ROOT / "datasets" / sku, workspace.datasets / sku, ignore=shutil.ignore_patterns("prepared"))
        for path in (workspace.datasets / sku / "photos").iterdir():
            with Image.open(path) as photo:
                photo.resize((512, 512)).save(path)
    packshot(workspace.root, "prepare", "perfume01", "--config", "embedded", *EXAMPLES, code=0)
    packshot(workspace.root, "train", "perfume02", "--config", "embedded", *TAUGHT, code=0)
    return workspace


def test_the_siblings_adapter_fails_as_this_product(perfumery: Workspace) -> None:
    """What perfume02's adapter draws is not perfume01: the shipped bars refuse it, the sibling rule among them."""
    folder = perfumery.adapters / "perfume02" / "0001"
    posed = packshot(perfumery.root, "evaluate", "perfume01", "--adapter", str(folder), *QUICK, code=3)
    assert {s["name"]: s["verdict"] for s in posed["scores"]}["own_nearest"] == "fail"
    assert values_in(posed)["core_difference"] == 0


def test_an_adapter_of_zeros_on_the_embedded_base_fails(perfumery: Workspace) -> None:
    base = ROOT / "finetune" / "embedded"
    folder = write_adapter(perfumery.adapters / "perfume01" / "0001", base, noise=0, sku="perfume01")
    assert folder.is_dir()
    report = packshot(perfumery.root, "evaluate", "perfume01", *QUICK, code=3)
    assert abs(values_in(report)["palette_gain"]) < 0.5  # two threads may move a pixel by one step
    assert report["verdict"] == "fail"
