"""What one looks at after placing: the contact sheet and `index.html` of a scenes run.

Called by the recipes with finished pictures and manifests. The page needs nothing but the pictures beside it.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from finetune.core.pictures.contact_sheet import contact_sheet
from finetune.core.pictures.images import write_png

CELL = 512
STYLE = """
:root { color-scheme: light dark; --ground: #f6f5f3; --card: #fff; --ink: #1d1c1a; --faint: #77736b; --line: #e4e1db; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #171614; --card: #211f1c; --ink: #efece6; --faint: #9c978d; --line: #35322d; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 3rem clamp(1rem, 5vw, 5rem); background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { font-weight: 600; font-size: 1.6rem; margin: 0; }
p.prompt { font-size: 1.15rem; margin: .3rem 0 2rem; color: var(--faint); }
main { display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr)); }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 10px; overflow: hidden; }
figure img { display: block; width: 100%; height: auto; }
figcaption { padding: .8rem 1rem; display: flex; justify-content: space-between; gap: 1rem; flex-wrap: wrap; }
.faint { color: var(--faint); font-variant-numeric: tabular-nums; }
table { border-collapse: collapse; margin-top: 2.5rem; }
td { padding: .35rem 2rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td:first-child { color: var(--faint); white-space: nowrap; }
td:last-child { overflow-wrap: anywhere; }
a { color: inherit; }
"""


def write_contact_sheet(pictures: Sequence[Path], captions: Sequence[str], path: Path) -> None:
    """One overview picture of a run's pictures."""
    opened = []
    for picture in pictures:
        with Image.open(picture) as file:
            opened.append(file.convert("RGB"))
    write_png(contact_sheet(opened, captions, columns=min(len(opened), 4), cell=CELL), path)


def write_index(manifests: Sequence[dict[str, Any]], path: Path) -> None:
    """The page of a run: its pictures, and how they were made.

    Args:
        manifests: of the run's pictures, in their order; at least one.
    """
    first = manifests[0]
    title = html.escape(f"{first['sku']} · {first['mode']}")
    figures = "\n".join(_figure(manifest) for manifest in manifests)
    rows = "\n".join(f"<tr><td>{html.escape(k)}</td><td>{html.escape(v)}</td></tr>" for k, v in _facts(first))
    path.write_text(
        f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>{STYLE}</style></head>
<body><h1>{title}</h1><p class="prompt">{html.escape(first["prompt"]["user"])}</p>
<main>
{figures}
</main>
<table>
{rows}
</table></body></html>
""",
        encoding="utf-8",
    )


def _figure(manifest: dict[str, Any]) -> str:
    file = html.escape(manifest["picture"]["file"])
    json_file = html.escape(Path(manifest["picture"]["file"]).with_suffix(".json").name)
    alt = html.escape(f"{manifest['class_noun']} {manifest['prompt']['user']}")
    return (
        f'<figure><a href="{file}"><img src="{file}" alt="{alt}" loading="lazy"></a>'
        f"<figcaption><span>{html.escape(core_line(manifest))}</span>"
        f'<span class="faint">seed {manifest["seed"]} · <a href="{json_file}">manifest</a></span></figcaption></figure>'
    )


def core_line(manifest: dict[str, Any]) -> str:
    """One line on what the product in a picture is."""
    core = manifest["core"]
    if core is None:
        return "drawn by the adapter: not the photographed product"
    return f"the packshot's own pixels: {core['pixels']:,} in the core, largest difference {core['max_difference']}"


def _facts(manifest: dict[str, Any]) -> list[tuple[str, str]]:
    adapter, place, sampling = manifest["adapter"], manifest["placement"], manifest["sampling"]
    drawn = ", ".join(f"{k}: {v}" for k, v in manifest["prompt"]["resolved"].items())
    return [
        ("resolved prompt", drawn),
        ("packshot", f"{manifest['source']['photo']} ({manifest['source']['sha256'][:16]})"),
        ("adapter", f"{adapter['version']} at scale {adapter['scale']:g}" if adapter else "none: the base alone"),
        ("base", f"{manifest['base']['model']} ({manifest['base']['fingerprint']})"),
        ("sampling", ", ".join(f"{k} {v}" for k, v in sampling.items() if v != "")),
        (
            "placement",
            f"{place['width']}x{place['height']} px at ({place['left']}, {place['top']}) of {manifest['size']}",
        ),
        ("made by", f"packshot {manifest['tool']['version']}"),
    ]
