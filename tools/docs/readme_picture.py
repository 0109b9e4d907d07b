"""Put a packshot and the scene made of it side by side: the README's picture.

python tools/readme_picture.py datasets/perfume01/photos/01-front.jpg scenes/perfume01/RUN/01.png OUT.jpg
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

SIDE, GAP = 760, 20


def side_by_side(packshot: Path, scene: Path) -> Image.Image:
    """Both pictures at the same height, on white."""
    sheet = Image.new("RGB", (2 * SIDE + GAP, SIDE), "white")
    for index, path in enumerate((packshot, scene)):
        with Image.open(path) as opened:
            picture = opened.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        sheet.paste(picture, (index * (SIDE + GAP), 0))
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packshot", type=Path)
    parser.add_argument("scene", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    side_by_side(arguments.packshot, arguments.scene).save(arguments.out, quality=88, subsampling=0, optimize=True)


if __name__ == "__main__":
    main()
