"""The page of a check: findings beside thumbnails and cutouts on chequers, black and white. Called by `finetune.check`.

One HTML file that needs nothing beside it; the same input gives the same bytes. Measures nothing.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from finetune.checks.photo_findings import Finding
from finetune.core.pictures.contact_sheet import checkerboard
from finetune.core.storage.durable import write_text

THUMBNAIL = 240
"""Longest side of the pictures on the page, pixels."""
MARGIN = 10
"""Ground shown around a cutout, so that its whole rim can be judged, pixels."""
STYLE = """
:root { color-scheme: light dark; --ground: #f6f5f3; --card: #fff; --ink: #1d1c1a; --faint: #6d6961; --line: #e4e1db;
  --error: #b3261e; --warning: #8f5b00; --note: #39617f; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #171614; --card: #211f1c; --ink: #efece6; --faint: #a19b90; --line: #35322d;
    --error: #ff8a80; --warning: #f0b252; --note: #8fbbdb; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 2.5rem clamp(1rem, 4vw, 3rem); background: var(--ground);
  color: var(--ink); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { font-weight: 600; font-size: 1.6rem; margin: 0; }
h2 { font-weight: 600; font-size: 1.05rem; margin: 0 0 .8rem; overflow-wrap: anywhere; }
p.facts { margin: .3rem 0 2rem; color: var(--faint); }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 1.2rem;
  margin: 1.2rem 0; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(45%, 240px), 1fr)); gap: .8rem; }
figure { margin: 0; min-width: 0; }
figure img { display: block; border: 1px solid var(--line); border-radius: 4px; max-width: 100%; height: auto; }
figcaption { color: var(--faint); font-size: .8rem; }
ul { list-style: none; margin: 1rem 0 0; padding: 0; }
li { border-left: 4px solid; padding: .1rem 0 .1rem .8rem; margin: .7rem 0; }
li b { margin-right: .4rem; }
li.error { border-color: var(--error); } li.error b { color: var(--error); }
li.warning { border-color: var(--warning); } li.warning b { color: var(--warning); }
li.note { border-color: var(--note); } li.note b { color: var(--note); }
li div { color: var(--faint); font-size: .92rem; }
p.fine { color: var(--faint); margin: .9rem 0 0; }
"""


@dataclass(frozen=True)
class Shown:
    """A photo on the page."""

    name: str
    """File name."""
    figures: str
    """Its pictures as HTML, from `figures`."""


def write_report(path: Path, sku: str, facts: str, findings: Sequence[Finding], photos: Sequence[Shown]) -> None:
    """Write the page, under a temporary name first.

    Args:
        facts: one line under the title. findings: in the order to show them; those that name none of `photos`
            stand in a section of their own.
    """
    names = {photo.name for photo in photos}
    whole = [finding for finding in findings if not finding.photo]
    lost = sorted({finding.photo for finding in findings if finding.photo} - names)
    sections = [_section("The set", "", whole)] if whole else []
    sections += [_section(name, "", [f for f in findings if f.photo == name]) for name in lost]
    rank = {photo: index for index, photo in reversed(list(enumerate(f.photo for f in findings)))}
    for photo in sorted(photos, key=lambda photo: rank.get(photo.name, len(findings))):  # what needs a look is first
        about = [finding for finding in findings if finding.photo == photo.name]
        sections.append(_section(photo.name, f'<div class="pictures">\n{photo.figures}</div>', about))
    title = html.escape(f"{sku} · check")
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>{STYLE}</style></head>
<body><h1>{title}</h1><p class="facts">{html.escape(f"{facts}; {_counted(findings)}")}</p>
{"".join(sections)}</body></html>
"""
    write_text(path, page)


def _counted(findings: Sequence[Finding]) -> str:
    numbers = [(sum(f.severity == name for f in findings), name) for name in ("error", "warning", "note")]
    return ", ".join(f"{number} {name}{'' if number == 1 else 's'}" for number, name in numbers)


def _section(title: str, pictures: str, findings: Sequence[Finding]) -> str:
    items = "".join(
        f'<li class="{f.severity}"><b>{f.severity}</b>{html.escape(f.what)}'
        f"<div>Why: {html.escape(f.why)}.</div><div>Do: {html.escape(f.cure)}.</div></li>\n"
        for f in findings
    )
    below = f"<ul>\n{items}</ul>" if items else '<p class="fine">nothing found</p>'
    return f"<section><h2>{html.escape(title)}</h2>{pictures}{below}</section>\n"


def figures(name: str, picture: Image.Image, cutout: Image.Image | None) -> str:
    """A photo, and its cutout on three grounds, small, as HTML.

    Args:
        name: the photo's file name. cutout: RGBA; None where nothing is cut out.
    """
    width, height = picture.size
    shown = [(_flat(picture), f"photo, {width}x{height}")]
    if cutout is not None:
        fitted = cutout.copy()
        fitted.thumbnail((THUMBNAIL - 2 * MARGIN, THUMBNAIL - 2 * MARGIN), Image.Resampling.LANCZOS)
        size = (fitted.width + 2 * MARGIN, fitted.height + 2 * MARGIN)
        grounds = {
            f"cutout, {cutout.width}x{cutout.height}": checkerboard(size),
            "on black": Image.new("RGB", size),
            "on white": Image.new("RGB", size, "white"),
        }
        for caption, ground in grounds.items():
            whole = ground.convert("RGBA")
            whole.alpha_composite(fitted, (MARGIN, MARGIN))
            shown.append((whole.convert("RGB"), caption))
    return "".join(
        f'<figure><img src="{_inline(picture)}" width="{picture.width}" height="{picture.height}" '
        f'alt="{html.escape(f"{name}: {caption}")}"><figcaption>{html.escape(caption)}</figcaption></figure>\n'
        for picture, caption in shown
    )


def _flat(picture: Image.Image) -> Image.Image:
    small = picture.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    if small.mode == "RGBA":
        small = Image.alpha_composite(Image.new("RGBA", small.size, (255, 255, 255, 255)), small)
    return small.convert("RGB")


def _inline(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
