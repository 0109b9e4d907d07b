"""`python -m tools.product_world`: renders product scenes, packshots or empty plates, draws a contact sheet."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from PIL import Image

from . import plate_list, records, studio_list
from .sheet import contact_sheet

PICTURE_SETTINGS = {"quality": 75, "subsampling": "4:4:4"}
"""5 to 7 KB a frame of 256 px at about 41 dB; whole colour costs 3 % of the bytes and gains 1 dB over 4:2:0."""
MASK_SETTINGS = {"lossless": True, "quality": 100, "method": 6}
"""Exact; about 1 KB."""


def save(image: Image.Image, path: Path, **settings: Any) -> None:
    """Writes a picture under a temporary name first, so that no half picture has the right one."""
    part = path.with_suffix(f".part{path.suffix}")
    image.save(part, **settings)
    part.replace(path)


def keep(folder: Path, plan: records.Plan, made: Any) -> None:
    """Writes picture, mask and line, the line last: a frame with a line is whole."""
    line = records.record(plan, made.measured)
    save(Image.fromarray(made.picture), folder / line["file_name"], **PICTURE_SETTINGS)
    save(Image.fromarray(made.mask), folder / line["mask"], **MASK_SETTINGS)
    records.append_line(folder, line)


def render_frames(options: argparse.Namespace) -> int:
    """Renders what is missing of a range; returns the number of frames that failed."""
    from . import photograph  # needs Blender's module, which nothing else here does

    folder: Path = options.out
    for name in ("frames", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    done = records.finished(folder)
    wanted = [i for i in range(options.start, options.start + options.count) if i not in done]
    failed, seconds = 0, 0.0
    for number, index in enumerate(wanted, 1):
        plan = records.plan_frame(options.seed, index)
        made = photograph.photograph(plan, options.size, options.samples, options.threads)
        seconds += made.measured.seconds
        fault = photograph.fault(made.picture, made.measured, product=plan.design is not None)
        if fault:
            failed += 1
            print(f"frame {index} left out: {fault} ({plan.caption})", file=sys.stderr)
            continue
        keep(folder, plan, made)
        if number % 20 == 0 or number == len(wanted):
            print(f"{number} of {len(wanted)} frames, {seconds / number:.1f} s a frame", file=sys.stderr, flush=True)
    return failed


def draw_sheet(options: argparse.Namespace) -> int:
    """Writes the contact sheet."""
    contact_sheet(options.out, options.count, options.columns, options.side, options.seed).save(options.file)
    return 0


def shoot_packshots(options: argparse.Namespace) -> int:
    """Makes what is missing of the packshots."""
    from . import studio_shoot  # needs Blender's module, which nothing else here does

    settings = studio_shoot.Options(options.size, options.samples, options.threads)
    for product in options.products:
        made, seconds = studio_shoot.shoot(product, options.out / product.sku, options.views, settings)
        print(f"{product.sku}: {made} files, {seconds:.0f} s", file=sys.stderr, flush=True)
    return 0


def shoot_plates(options: argparse.Namespace) -> int:
    """Makes the plates that are not there yet."""
    from . import plate_shoot  # needs Blender's module, which nothing else here does

    settings = plate_shoot.Options(options.size, options.samples, options.threads)
    for plate in options.names:
        folder = options.out / plate.name
        if (folder / plate_shoot.FACTS).exists():
            continue
        print(f"{plate.name}: {plate_shoot.shoot(plate, folder, settings):.0f} s", file=sys.stderr, flush=True)
    return 0


def read_plates(words: str) -> list[plate_list.Plate]:
    """The plates an option names."""
    try:
        return plate_list.chosen(words)
    except ValueError as fault:
        raise argparse.ArgumentTypeError(str(fault)) from fault


def read_products(words: str) -> list[studio_list.Product]:
    """The products an option names."""
    try:
        return studio_list.chosen(words)
    except ValueError as fault:
        raise argparse.ArgumentTypeError(str(fault)) from fault


def read_command_line(words: list[str] | None = None) -> argparse.Namespace:
    """The command and its options."""
    parser = argparse.ArgumentParser(prog="python -m tools.product_world", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    frames = commands.add_parser("frames", help="render a range of frames; finished ones are skipped")
    frames.add_argument("--out", type=Path, required=True, help="folder of the world")
    frames.add_argument("--start", type=int, default=0, help="first index (0)")
    frames.add_argument("--count", type=int, default=100, help="how many indices (100)")
    frames.add_argument("--size", type=int, default=256, help="pixels a side (256)")
    frames.add_argument("--seed", type=int, default=7, help="of the world; same seed and index, same frame (7)")
    frames.add_argument("--samples", type=int, default=9, help="rays a pixel; the denoiser does the rest (9)")
    frames.add_argument("--threads", type=int, default=0, help="of the renderer; 0 means all")
    frames.set_defaults(run=render_frames)
    packshots = commands.add_parser("packshots", help="photograph products on white paper; finished files are skipped")
    packshots.add_argument("--out", type=Path, required=True, help="folder of the packshots, one folder a product")
    packshots.add_argument("--products", type=read_products, default="", help="names with commas between (all)")
    packshots.add_argument("--views", type=int, nargs="+", choices=range(4), default=range(4), help="which views (all)")
    packshots.add_argument("--size", type=int, default=768, help="pixels a side (768)")
    packshots.add_argument("--samples", type=int, default=20, help="rays a pixel of the pictures (20)")
    packshots.add_argument("--threads", type=int, default=0, help="of the renderer; 0 means all")
    packshots.set_defaults(run=shoot_packshots)
    plates = commands.add_parser("plates", help="render empty scenes for products; finished ones are skipped")
    plates.add_argument("--out", type=Path, required=True, help="folder of the plates, one folder a plate")
    plates.add_argument("--names", type=read_plates, default="", help="names with commas between (all)")
    plates.add_argument("--size", type=int, default=1536, help="pixels of the longer side (1536)")
    plates.add_argument("--samples", type=int, default=16, help="rays a pixel; the denoiser does the rest (16)")
    plates.add_argument("--threads", type=int, default=0, help="of the renderer; 0 means all")
    plates.set_defaults(run=shoot_plates)
    sheet = commands.add_parser("sheet", help="draw random frames with captions and outlines of their masks")
    sheet.add_argument("--out", type=Path, required=True, help="folder of the world")
    sheet.add_argument("file", type=Path, metavar="FILE", help="picture to write")
    sheet.add_argument("--count", type=int, default=20, help="how many frames (20)")
    sheet.add_argument("--columns", type=int, default=5, help="frames a row (5)")
    sheet.add_argument("--side", type=int, default=256, help="pixels a frame (256)")
    sheet.add_argument("--seed", type=int, default=1, help="of the choice (1)")
    sheet.set_defaults(run=draw_sheet)
    return parser.parse_args(words)


def main() -> int:
    """Runs the command; returns 1 where frames are missing."""
    options = read_command_line()
    return 1 if options.run(options) else 0


if __name__ == "__main__":
    raise SystemExit(main())
