"""What is shipped: the wheel's content, the pins, the sample sets' and the embedded base's size and licences."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SAMPLES = ("perfume01", "perfume02", "mug01", "carton01", "noire")


def tracked(*folders: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z", *folders], capture_output=True, text=True, cwd=ROOT, check=True)
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.slow
def test_the_wheel_claims_no_name_of_others(tmp_path: Path) -> None:
    source = tmp_path / "source"  # a copy: building leaves a folder behind, whose old files would be packed next time
    for path in tracked():
        target = source / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(source)]
    subprocess.run(command, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        top_level = next(n for n in names if n.endswith("top_level.txt"))
        assert archive.read(top_level).decode().split() == ["finetune", "inference"]
    assert {n.split("/")[0] for n in names} == {"finetune", "inference", wheel.name.split("-py3")[0] + ".dist-info"}
    for needed in (
        "finetune/presets/train/embedded.yaml",
        "finetune/presets/gate.yaml",
        "finetune/embedded/model_index.json",
        "finetune/embedded/unet/diffusion_pytorch_model.safetensors",
        "finetune/core/basemodel/sdxl/inpaint/unet/config.json",
        "finetune/core/pages/templates/style.css",
        "finetune/py.typed",
        "inference/plates/terrazzo/plate.avif",
        "inference/plates/terrazzo/plate.json",
    ):
        assert needed in names


def test_one_console_script_and_all_named_packages() -> None:
    assert PROJECT["scripts"] == {"packshot": "finetune.core.commands:main"}
    asked = {"torch", "diffusers", "peft", "accelerate", "bitsandbytes", "datasets", "transformers", "pillow", "click"}
    runtime = {re.split(r"[><=\[]", d)[0].lower() for d in PROJECT["dependencies"]}
    assert asked <= runtime
    assert any(d.startswith("pytest") for d in PROJECT["optional-dependencies"]["dev"])


def test_every_dependency_is_pinned() -> None:
    pins = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    )
    assert pins["torch"] == "2.13.0"
    named = [*PROJECT["dependencies"], *(d for extra in PROJECT["optional-dependencies"].values() for d in extra)]
    assert len(named) > 30
    for dependency in named:
        name = re.sub(r"[-_.]+", "-", re.split(r"[><=\[]", dependency)[0]).lower()
        assert name in pins, dependency


def test_licences_are_there() -> None:
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert (ROOT / "finetune" / "embedded" / "LICENSE").is_file()
    assert "CC0" in (ROOT / "datasets" / "LICENSE").read_text(encoding="utf-8")


def test_sample_sets_are_small_and_complete() -> None:
    files = tracked("datasets")
    assert sum(f.stat().st_size for f in files) < 6_000_000
    counts = {s: len([f for f in files if f.parent == ROOT / "datasets" / s / "photos"]) for s in SAMPLES}
    assert counts["carton01"] == 1, "the single-packshot case"
    assert all(4 <= n <= 8 for s, n in counts.items() if s != "carton01"), counts


def test_the_embedded_base_is_small_and_safe() -> None:
    folder = ROOT / "finetune" / "embedded"
    files = [f for f in folder.rglob("*") if f.is_file()]
    assert sum(f.stat().st_size for f in files) <= 24 * 2**20
    assert not [f for f in files if f.suffix in (".bin", ".pt", ".ckpt", ".pkl", ".pth")]


def test_nothing_committed_names_a_machine() -> None:
    texts = [f for f in tracked() if f.suffix in (".py", ".md", ".yaml", ".yml", ".toml", ".txt", ".json", "")]
    assert len(texts) > 60
    machine = re.compile(r"(?<![\w.])/(?:work|home|root|tmp)/\w|file://|pypi\.org|files\.pythonhosted")
    for path in texts:
        if path.stat().st_size < 500_000 and path != Path(__file__):
            found = machine.search(path.read_text(encoding="utf-8", errors="replace"))
            assert not found, f"{path.relative_to(ROOT)}: {found[0] if found else ''}"
