"""The workspace every case starts from: one SKU, prepared and checked, three adapters, two scenes, a run.

    python -m benchmarks.abuse.template DIR

The adapters are of the embedded base, with weights as they are before training: what is judged is how files are read.
"""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from finetune.core.products.catalog import Workspace
from inference import plate

SKU, BRAND = "mug", "look"
PREPARE = ("--config", "embedded", "--set", "data.variants=1")
"""Settings of the prepared set; the same as in every case, so that it is up to date."""
PROMPT = "on oak"
DESK, GALLERY = "plates/desk.png", "gallery"
"""A plate of one's own, and a folder that is used as the gallery where its files are spoiled: one plate, `bench`."""


def draw(path: Path, shift: int = 0) -> None:
    """A mug on white."""
    picture = Image.new("RGB", (640, 640), "white")
    pen = ImageDraw.Draw(picture)
    pen.ellipse((400 + shift, 220, 520 + shift, 420), outline=(180, 60, 40), width=28)
    pen.rounded_rectangle((180 + shift, 160, 440 + shift, 500), 30, fill=(190, 70, 50))
    pen.rectangle((230 + shift, 260, 390 + shift, 380), fill=(240, 235, 220))
    picture.resize((160, 160), Image.Resampling.LANCZOS).save(path)


def write_sets(root: Path) -> None:
    """The product set and a brand set."""
    for sku, text in ((SKU, "class_noun: mug\n"), (BRAND, "class_noun: still life\nkind: brand\n")):
        (root / "datasets" / sku / "photos").mkdir(parents=True)
        (root / "datasets" / sku / "set.yaml").write_text(text, encoding="utf-8")
        draw(root / "datasets" / sku / "photos" / "front.png")
    draw(root / "datasets" / SKU / "photos" / "side.png", shift=20)


def write_adapters(place: Workspace) -> None:
    """Three versions; the second was published, then the third."""
    import torch

    from finetune.adapters.publish import TrainedWeights, adapter_manifest, write_version
    from finetune.cli.options import resolve_config
    from finetune.core.adapters import versions
    from finetune.core.adapters.reports import REPORT_FORMAT, FidelityReport, ScoreLine
    from finetune.core.basemodel.load import load_unet
    from finetune.core.config import dump_yaml, with_recorded_names
    from finetune.core.products.prepared import require_prepared
    from finetune.runs.folder import name_run, open_run
    from finetune.train import check_request
    from finetune.unet.lora import add_lora, lora_state

    config = resolve_config(None, ("data.variants=1",), announce=False)
    base = check_request(config)
    unet = load_unet(base, dtype=torch.float32, device="cpu")[0]
    lora, size = add_lora(unet, rank=2, alpha=2, rslora=False, dora=False, targets="attention", seed=0)
    prepared = require_prepared(place.datasets / SKU / "prepared", SKU)
    recorded = with_recorded_names(config.model_dump(mode="json"))
    weights = TrainedWeights(size.modules, size.parameters, chosen_step=1, processes=1)
    story = {"run": "20260102-030405-abcdef", "seconds": 1.0, "steps_per_second": 1.0}
    for number in (1, 2, 3):
        identity = f"{number:016d}"
        manifest = adapter_manifest(prepared, base, recorded, fingerprint=identity, weights=weights)
        version = write_version(place, SKU, lora_state(unet), lora, manifest, story)
        if number > 1:
            versions.promote(place, SKU, version.number, reason="by hand", when="2026-01-02T03:04:05+00:00")
    line = ScoreLine(name="palette", value=3.0, unit="dE00", better="lower", bar=8.0, verdict="pass")
    report = FidelityReport(format=REPORT_FORMAT, fingerprint="f", verdict="pass", scores=(line,))
    for number in ("0001", "0002"):
        (place.adapters / SKU / number / "fidelity.json").write_text(report.model_dump_json(), encoding="utf-8")
    began = datetime(2026, 1, 2, 3, 4, 5)
    open_run(place.runs / SKU, "0" * 16, dump_yaml(config), name_run(began, "0" * 16))


def write_plates(root: Path) -> None:
    """Small plates: the cases are about their files."""
    rng = np.random.default_rng(1)
    noise = Image.fromarray(rng.integers(90, 160, (192, 256, 3), dtype=np.uint8))
    (root / DESK).parent.mkdir()
    noise.save(root / DESK)
    bench, shipped = root / GALLERY / "bench", plate.GALLERY / "marble-vanity"
    bench.mkdir(parents=True)
    facts = json.loads((shipped / plate.FACTS).read_text(encoding="utf-8"))
    facts |= {"name": "bench", "width": 256, "height": 192}
    (bench / plate.FACTS).write_text(json.dumps(facts), encoding="utf-8")
    noise.save(bench / plate.PICTURE)


def packshot(root: Path, *arguments: str) -> None:
    """Run a command in the workspace."""
    line = [sys.executable, "-P", "-m", "finetune.core.commands", *arguments, "--workspace", str(root)]
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL)


def make(root: Path) -> None:
    """Make the workspace."""
    root.mkdir(parents=True)
    write_sets(root)
    packshot(root, "prepare", SKU, *PREPARE)
    packshot(root, "check", SKU, *PREPARE)
    write_adapters(Workspace(root))
    painted = ("--adapter", "none", "--base", "embedded", "--size", "256", "--steps", "1")
    packshot(root, "place", SKU, "--prompt", PROMPT, *painted)
    write_plates(root)
    packshot(root, "place", SKU, "--plate", str(root / DESK))
    for name in ("train/embedded.yaml", "scenes/flat-lay.yaml", "nightly.yaml", "gate.yaml"):
        source = Path(__file__).resolve().parents[2] / "configs" / name
        (root / source.name).write_bytes(source.read_bytes())


if __name__ == "__main__":
    make(Path(sys.argv[1]))
