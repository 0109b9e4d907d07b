"""Random orders of `packshot adapters export`, each run for real: without --force nothing that is there changes.

A few versions of a tiny base, two of them with tokens of their own, are exported in one process to names that often
meet: each other's, those of token files, those of unrelated files and folders. Before and after each export every file
is looked at.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from finetune.core.commands import main
from finetune.core.products.catalog import Workspace

ORDERS, LENGTH = 200, 5
"""Orders in all, and exports of each."""
SKU, WORD = "mug", "mgg01"
NAMES = (
    "mine.safetensors",
    f"mine-{WORD}-tokens.safetensors",
    "sub/mine.safetensors",
    "link.safetensors",
    "folder.safetensors",
    "new",
)
"""Names for --output, besides none; some are taken from the start."""
FORCED = 0.2
"""Share of exports with --force."""


@dataclass
class Order:
    """What one order did."""

    ended: Counter[str] = field(default_factory=Counter)
    """`written`, `refused`, `replaced` (written with --force over something)."""
    faults: list[str] = field(default_factory=list)


def orders(work: Path, *, count: int, seed: int) -> tuple[str, bool]:
    """Run all orders; what one did is kept and not asked again.

    Args:
        work: Of the benchmark; the base and its versions are made in it.
        count: How many orders.
        seed: Of the orders.

    Returns:
        A Markdown table, and whether anything was replaced or ended as it must not.
    """
    shop, kept = _shop(work / "exports"), work / f"exports-{seed}.json"
    rows: list[dict[str, Any]] = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else []
    for number in range(len(rows), count):
        done = run_order(shop, SKU, WORD, work / "order", random.Random(f"{seed} {number}"), LENGTH)
        rows.append({"ended": dict(done.ended), "faults": [f"order {number}: {fault}" for fault in done.faults]})
        kept.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    ended = sum((Counter[str](row["ended"]) for row in rows), Counter[str]())
    faults = [fault for row in rows for fault in row["faults"]]
    lines = ["| orders | exports | written | of these over a file, with --force | refused | faults |"]
    lines.append("|" + "---|" * 6)
    exports = ended["written"] + ended["refused"]
    counts = (len(rows), exports, ended["written"], ended["replaced"], ended["refused"], len(faults))
    return "\n".join([*lines, f"| {' | '.join(map(str, counts))} |", *faults]), bool(faults)


def run_order(shop: Workspace, sku: str, word: str, folder: Path, rng: random.Random, length: int) -> Order:
    """One order of exports, in a new folder that is removed afterwards.

    Args:
        shop: A workspace with versions 1 to 3.
        sku: Their product.
        word: The trigger word of those with tokens.
        folder: Where the files go; it becomes the current folder meanwhile.
        rng: Draws the exports.
        length: How many.
    """
    shutil.rmtree(folder, ignore_errors=True)
    _taken(folder, sku, word)
    order, here = Order(), Path.cwd()
    os.chdir(folder)
    try:
        for _ in range(length):
            _export(shop, sku, rng, order)
    finally:
        os.chdir(here)
        shutil.rmtree(folder)
    return order


def _taken(folder: Path, sku: str, word: str) -> None:
    """Files of others, where exports would like to write."""
    (folder / "sub").mkdir(parents=True)
    (folder / "folder.safetensors").mkdir()
    for name in (f"{sku}-0001.safetensors", f"mine-{word}-tokens.safetensors", "kept.txt"):
        (folder / name).write_text("another's", encoding="utf-8")
    (folder / "link.safetensors").symlink_to("kept.txt")


def _export(shop: Workspace, sku: str, rng: random.Random, order: Order) -> None:
    version, layout, force = rng.choice("123"), rng.choice(["kohya", "diffusers"]), rng.random() < FORCED
    line = ["adapters", "export", sku, "--version", version, "--format", layout, "--device", "cpu"]
    line += ["--output", rng.choice(NAMES)] if rng.random() < 0.6 else []
    line += ["--dtype", rng.choice(["fp16", "fp32"])] if rng.random() < 0.3 else []
    line += ["--force"] if force else []
    before = _listing()
    done = CliRunner().invoke(main, [*line, "--workspace", str(shop.root)])
    after = _listing()
    order.ended["refused" if done.exit_code else "written"] += 1
    changed = sorted(name for name in before if after.get(name) != before[name])
    order.ended["replaced"] += bool(changed)
    faults = _faults(changed, sorted(after.keys() - before.keys()), done.exit_code, force=force)
    faults += [] if done.exit_code or Path(done.stdout.splitlines()[-1]).is_file() else ["nothing was written"]
    faults += [] if "Traceback" not in done.output and done.exit_code in (0, 1, 2) else [f"exit {done.exit_code}"]
    order.faults += [f"{fault}: {' '.join(line)}" for fault in faults]


def _faults(changed: list[str], new: list[str], code: int, *, force: bool) -> list[str]:
    """What an export must not have done to the files around it."""
    faults = [f"{name} was replaced" for name in changed if not force]
    faults += [f"{name}, which is not of the export, was changed" for name in changed if name in ("kept.txt", "folder")]
    return faults + [f"{name} is left over" for name in new if ".part" in name or code]


def _listing() -> dict[str, str]:
    """Every entry below the current folder, with what it holds."""
    found = {}
    for path in Path().rglob("*"):
        if path.is_symlink():
            found[str(path)] = f"link to {path.readlink()}"
        else:
            found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "a folder"
    return found


def _shop(root: Path) -> Workspace:
    """A workspace with three versions: two with tokens of their own, which differ, and one without."""
    import torch

    from benchmarks.training_speed.bases import make_tiny
    from finetune.adapters.publish import TrainedWeights, adapter_manifest, write_version
    from finetune.core.adapters.token_embeddings import ENCODERS, ENTRY, manifest_entry
    from finetune.core.basemodel.load import load_unet
    from finetune.core.basemodel.resolve import resolve_base
    from finetune.core.config import validate, with_recorded_names
    from finetune.core.products.prepared import PreparedSet
    from finetune.settings import TrainConfig
    from finetune.unet.lora import add_lora, lora_parameters, lora_state

    shop = Workspace(root)
    if (shop.adapters / SKU / "0003").exists():
        return shop
    base = resolve_base(str(_smaller(make_tiny(root / "base"))))
    unet = load_unet(base, dtype=torch.float32, device="cpu")[0]
    lora, size = add_lora(unet, rank=2, alpha=2, rslora=False, dora=False, targets="attention", seed=0)
    torch.manual_seed(2)
    with torch.no_grad():
        for weight in lora_parameters(unet):
            weight.add_(0.1 * torch.randn_like(weight))
    names = {
        "sku": SKU,
        "kind": "sku",
        "class_noun": "mug",
        "token": WORD,
        "fingerprint": "0" * 16,
        "content": "0" * 16,
    }
    prepared = PreparedSet(folder=root, size=64, examples=2, photos=(), settings={}, **names)
    recorded = with_recorded_names(validate(TrainConfig, {}, "benchmark").model_dump(mode="json"))
    weights = TrainedWeights(size.modules, size.parameters, chosen_step=1, processes=1)
    manifest = adapter_manifest(prepared, base, recorded, fingerprint="f" * 16, weights=weights)
    story = {"run": "20260102-030405-abcdef", "seconds": 1.0, "steps_per_second": 1.0}
    wide = [2, int(unet.config["cross_attention_dim"])]
    for sign in (1, -1, 0):
        tokens = {key: sign * torch.linspace(-0.5, 0.5, wide[1]).repeat(2, 1) for key in ENCODERS} if sign else None
        own = manifest | ({ENTRY: manifest_entry(WORD, tokens)} if tokens else {})
        write_version(shop, SKU, lora_state(unet), lora, own, story, tokens)
    return shop


def _smaller(base: Path) -> Path:
    """The base with fewer channels and smaller pictures: an export is checked by predicting three times."""
    import torch
    from diffusers import UNet2DConditionModel

    config = UNet2DConditionModel.load_config(str(base / "unet"))
    torch.manual_seed(0)
    changes = {"block_out_channels": (32, 64, 64), "attention_head_dim": (2, 4, 4), "sample_size": 8}
    UNet2DConditionModel.from_config(config, **changes).save_pretrained(base / "unet")
    return base
