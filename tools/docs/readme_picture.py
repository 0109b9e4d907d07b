"""Put a packshot and the scenes made of it side by side, at one height: the README's picture.

python -m tools.docs.readme_picture OUT.jpg datasets/perfume01/photos/01-front.jpg PLATE_SCENE.png PAINTED_SCENE.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

HEIGHT, GAP = 620, 16


def side_by_side(pictures: list[Image.Image], height: int, gap: int) -> Image.Image:
    """Pictures (RGB) in a row at one height in pixels, `gap` pixels of white between them."""
    scaled = [p.resize((round(p.width * height / p.height), height), Image.Resampling.LANCZOS) for p in pictures]
    row = Image.new("RGB", (sum(p.width for p in scaled) + gap * (len(scaled) - 1), height), "white")
    left = 0
    for picture in scaled:
        row.paste(picture, (left, 0))
        left += picture.width + gap
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("pictures", type=Path, nargs="+")
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    pictures = [Image.open(path).convert("RGB") for path in arguments.pictures]
    side_by_side(pictures, HEIGHT, GAP).save(arguments.out, quality=86, subsampling=0, optimize=True)


if __name__ == "__main__":
    main()
