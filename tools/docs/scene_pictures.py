"""Makes the pictures of docs/scenes.md: one strip for every option, of a sample product on plates of the gallery.

python -m tools.docs.scene_pictures          # writes docs/pictures/scenes-*.jpg; about a minute
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from tools.docs.readme_picture import side_by_side

ROOT = Path(__file__).resolve().parents[2]
PACKSHOT = str(Path(sys.executable).with_name("packshot"))
SKU, HEIGHT, GAP = "perfume01", 300, 8
STRIPS: dict[str, tuple[tuple[str, ...], ...]] = {
    "place": (
        ("marble-vanity",),
        ("marble-vanity", "--scale", "0.5"),
        ("marble-vanity", "--spot", "0.3,0.9"),
        ("marble-vanity", "--box", "0.55,0.3,0.3,0.6"),
    ),
    "light": (
        ("concrete-plinth", "--scale", "0.24", "--light", "left,low,hard"),
        ("concrete-plinth", "--scale", "0.24", "--light", "right,mid,hard"),
        ("concrete-plinth", "--scale", "0.24", "--light", "back-left,mid,hard"),
        ("concrete-plinth", "--scale", "0.24", "--light", "right,mid,soft"),
        ("concrete-plinth", "--scale", "0.24", "--light", "front,high,overcast"),
    ),
    "shadow": (
        ("concrete-plinth", "--scale", "0.24", "--shadow", "0"),
        ("concrete-plinth", "--scale", "0.24", "--shadow", "contact=1,cast=0"),
        ("concrete-plinth", "--scale", "0.24", "--shadow", "contact=0,cast=1"),
        ("concrete-plinth", "--scale", "0.24", "--shadow", "1"),
    ),
    "reflection": tuple(
        ("black-acrylic", "--scale", "0.3", "--reflection", strength) for strength in ("0", "0.5", "1", "2")
    ),
    "pose": (
        ("concrete-plinth", "--scale", "0.24", "--pose", "standing"),
        ("concrete-plinth", "--scale", "0.24", "--pose", "floating"),
        ("linen-from-above", "--scale", "0.4"),
        ("pastel-cyclorama", "--scale", "0.3", "--spot", "0.5,0.5", "--pose", "hanging"),
    ),
    "blend": (
        ("beach-sand", "--scale", "0.5"),
        ("beach-sand", "--scale", "0.5", "--mode", "blend", "--blend-budget", "6"),
        ("beach-sand", "--scale", "0.5", "--mode", "blend", "--blend-budget", "12"),
    ),
}


def placed(workspace: Path, options: tuple[str, ...]) -> Image.Image:
    """The scene that `packshot place --plate` makes."""
    command = [PACKSHOT, "place", SKU, "--workspace", str(workspace), "--plate", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    with Image.open(done.stdout.strip().splitlines()[-1]) as picture:
        whole = picture.convert("RGB")
    if whole.width >= whole.height or "hanging" in options:
        return whole
    return whole.crop((0, round(0.46 * whole.height), whole.width, round(0.96 * whole.height)))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder)
        shutil.copytree(ROOT / "datasets" / SKU, workspace / "datasets" / SKU)
        for name, scenes in STRIPS.items():
            made = side_by_side([placed(workspace, options) for options in scenes], HEIGHT, GAP)
            made.save(ROOT / "docs" / "pictures" / f"scenes-{name}.jpg", quality=82, optimize=True)
    sheet = ROOT / "docs" / "pictures" / "scenes-plates.jpg"
    subprocess.run([PACKSHOT, "plates", "--sheet", str(sheet.with_suffix(".png"))], check=True)
    with Image.open(sheet.with_suffix(".png")) as picture:
        picture.convert("RGB").resize((picture.width * 2 // 3, picture.height * 2 // 3), Image.Resampling.LANCZOS).save(
            sheet, quality=80, optimize=True
        )
    sheet.with_suffix(".png").unlink()


if __name__ == "__main__":
    main()
