"""Put a packshot and the scenes made of it side by side, at one height: the README's picture.

python -m tools.docs.readme_picture OUT.jpg datasets/perfume01/photos/01-front.jpg PLATE_SCENE.png PAINTED_SCENE.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

HEIGHT, GAP = 620, 16


def side_by_side(pictures: list[Path]) -> Image.Image:
    """The pictures at the same height, on white."""
    opened = []
    for path in pictures:
        with Image.open(path) as file:
            width = round(file.width * HEIGHT / file.height)
            opened.append(file.convert("RGB").resize((width, HEIGHT), Image.Resampling.LANCZOS))
    sheet = Image.new("RGB", (sum(p.width for p in opened) + GAP * (len(opened) - 1), HEIGHT), "white")
    left = 0
    for picture in opened:
        sheet.paste(picture, (left, 0))
        left += picture.width + GAP
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("pictures", type=Path, nargs="+")
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    side_by_side(arguments.pictures).save(arguments.out, quality=86, subsampling=0, optimize=True)


if __name__ == "__main__":
    main()
