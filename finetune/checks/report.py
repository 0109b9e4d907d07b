"""The page of a check: findings beside thumbnails and cutouts on chequers, black and white.

One self-contained HTML file; the same input gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from finetune.checks.photo_findings import Finding
from finetune.core.pages.render import inline_picture, render
from finetune.core.pictures.contact_sheet import on_three_grounds
from finetune.core.pictures.images import over
from finetune.core.pictures.masks import Box
from finetune.core.storage.durable import write_text
from finetune.matting.matte import Cutout

THUMBNAIL = 240
"""Longest side of the pictures on the page, pixels."""
MARGIN = 10
"""Ground shown around a cutout in pixels, so that its whole outline can be judged."""
CROP_MARGIN, LEAST_CROP = 12, 64
"""Pixels shown around the place of a finding at least, and longer side of such a crop at least."""
DARK, MAGENTA = (52, 52, 54), (255, 0, 255)
"""Grounds on which the faults of a matte are seen, sRGB."""
QUALITY = 88
"""Of the thumbnails' JPEG."""


@dataclass(frozen=True)
class Shown:
    """A photo on the page."""

    name: str
    """File name."""
    figures: str
    """Its pictures as HTML, from `figures`."""


@dataclass(frozen=True)
class Section:
    """A card of the page: a photo, or the set as a whole."""

    title: str
    findings: Sequence[Finding]
    figures: str = ""
    """HTML."""


def write_report(path: Path, sku: str, facts: str, findings: Sequence[Finding], photos: Sequence[Shown]) -> None:
    """Write the page.

    Args:
        path: Of the file.
        sku: For the title.
        facts: One line under the title.
        findings: In the order to show them; those on none of `photos` get a section of their own.
        photos: To show; those with findings come first.
    """
    names = {photo.name for photo in photos}
    of_set = [finding for finding in findings if not finding.photo]
    others = sorted({finding.photo for finding in findings if finding.photo} - names)
    rank = {photo: index for index, photo in reversed(list(enumerate(f.photo for f in findings)))}
    ranked = sorted(photos, key=lambda photo: rank.get(photo.name, len(findings)))

    def about(name: str) -> list[Finding]:
        return [finding for finding in findings if finding.photo == name]

    sections = [Section("The set", of_set)] if of_set else []
    sections += [Section(name, about(name)) for name in others]
    sections += [Section(photo.name, about(photo.name), photo.figures) for photo in ranked]
    lead = f"{facts}; {_counted(findings)}"
    write_text(path, render("check.html", title=f"{sku} · check", lead=lead, sections=sections))


def _counted(findings: Sequence[Finding]) -> str:
    numbers = [(sum(f.severity == name for f in findings), name) for name in ("error", "warning", "note")]
    return ", ".join(f"{number} {name}{'' if number == 1 else 's'}" for number, name in numbers)


def figures(name: str, picture: Image.Image, cutout: Image.Image | None) -> str:
    """Thumbnails of a photo and of its cutout on three grounds, as HTML.

    Args:
        name: The photo's file name.
        picture: The photo, RGB or RGBA.
        cutout: RGBA; None if nothing is cut out.
    """
    width, height = picture.size
    shown = [(_flat(picture), f"photo, {width}x{height}")]
    if cutout is not None:
        fitted = cutout.copy()
        fitted.thumbnail((THUMBNAIL - 2 * MARGIN, THUMBNAIL - 2 * MARGIN), Image.Resampling.LANCZOS)
        size = (fitted.width + 2 * MARGIN, fitted.height + 2 * MARGIN)
        captions = (f"cutout, {cutout.width}x{cutout.height}", "on black", "on white")
        shown += zip(on_three_grounds(fitted, size), captions, strict=True)
    return _thumbnails(name, shown)


def _thumbnails(name: str, shown: Sequence[tuple[Image.Image, str]]) -> str:
    return render(
        "thumbnails.html",
        name=name,
        figures=[
            {
                "source": inline_picture(picture, QUALITY),
                "width": picture.width,
                "height": picture.height,
                "caption": caption,
            }
            for picture, caption in shown
        ],
    )


def enlarged(name: str, picture: Image.Image, cutout: Cutout, findings: Sequence[Finding]) -> str:
    """The place of each finding in the photo, and in the cutout on dark grey and on magenta, as HTML.

    Args:
        name: The photo's file name.
        picture: The photo, RGB or RGBA.
        cutout: Cut out of it.
        findings: Those without a place are left out.
    """
    shown: list[tuple[Image.Image, str]] = []
    left, top = cutout.box[:2]
    for finding in findings:
        if finding.box is not None:
            where = _around(finding.box, picture.size)
            piece = cutout.rgba.crop((where.left - left, where.top - top, where.right - left, where.bottom - top))
            crops = [over(picture.crop(where), "white"), *(over(piece, ground) for ground in (DARK, MAGENTA))]
            captions = (f"{finding.check}, enlarged", "on dark grey", "on magenta")
            shown += zip((_magnified(crop) for crop in crops), captions, strict=True)
    return _thumbnails(name, shown) if shown else ""


def _around(box: Box, size: tuple[int, int]) -> Box:
    """A box with its surroundings, inside a picture of `size`."""
    return box.grown(max(CROP_MARGIN, (LEAST_CROP - max(box.width, box.height)) // 2), size)


def _magnified(crop: Image.Image) -> Image.Image:
    """The crop at the thumbnails' size; single pixels stay visible."""
    scale = THUMBNAIL / max(crop.size)
    size = (max(1, round(crop.width * scale)), max(1, round(crop.height * scale)))
    return crop.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)


def _flat(picture: Image.Image) -> Image.Image:
    small = picture.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    return over(small, "white")
