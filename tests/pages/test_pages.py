"""The HTML pages: one base and one stylesheet, everything escaped, nothing fetched, no value forgotten."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from jinja2 import UndefinedError
from PIL import Image

from finetune.checks.photo_findings import Finding
from finetune.checks.report import Shown, figures, write_report
from finetune.core.pages.render import TEMPLATES, render
from inference.report import write_index

NASTY = "<script>alert('&')</script>"
ESCAPED = "&lt;script&gt;alert(&#39;&amp;&#39;)&lt;/script&gt;"
EMPTY_RUN = {"plots": [], "candidates": None, "previews": None, "config": NASTY, "environment": [(NASTY, NASTY)]}


def finding(photo: str, what: str = NASTY, severity: str = "warning") -> Finding:
    return Finding("blur", severity, photo, what, NASTY, NASTY)  # type: ignore[arg-type]


def check_page(path: Path) -> str:
    name = f"{NASTY}.png"
    shown = [Shown("good.png", ""), Shown(name, figures(name, Image.new("RGB", (300, 200)), None))]
    findings = [finding(""), finding(name), finding("torn.jpg", "`ocr` is <missing>", "error")]
    write_report(path, NASTY, NASTY, findings, shown)
    return path.read_text(encoding="utf-8")


def scenes_page(path: Path) -> str:
    manifest = {
        "sku": NASTY,
        "class_noun": NASTY,
        "mode": "insert",
        "prompt": {"user": NASTY, "resolved": {"scene": NASTY, "insert": NASTY}},
        "picture": {"file": "01.png"},
        "core": None,
        "seed": 3,
        "source": {"photo": NASTY, "sha256": "0" * 64},
        "adapter": {"version": NASTY, "scale": 1.0},
        "base": {"model": NASTY, "fingerprint": "0" * 16},
        "sampling": {"steps": 2},
        "placement": {"left": 1, "top": 2, "width": 3, "height": 4},
        "size": 128,
        "tool": {"version": "1"},
    }
    write_index([manifest], path)
    return path.read_text(encoding="utf-8")


def pages(folder: Path) -> dict[str, str]:
    return {
        "check": check_page(folder / "check.html"),
        "scenes": scenes_page(folder / "scenes.html"),
        "run": render("run.html", title=NASTY, lead=NASTY, **EMPTY_RUN),
    }


def test_all_pages_share_base_and_stylesheet_and_escape_what_they_show(tmp_path: Path) -> None:
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    found = pages(tmp_path)
    assert len(found) == 3
    for name, page in found.items():
        assert style in page, name
        assert page.startswith("<!doctype html>\n"), name
        assert page.endswith("</html>\n"), name
        assert "<script" not in page, name
        assert page.count(ESCAPED) >= 4, name
        assert not re.search(r'(src|href)="(?!data:|01\.)', page), f"{name} fetches something"


def test_the_check_page_puts_findings_first_and_sets_code(tmp_path: Path) -> None:
    page = check_page(tmp_path / "check.html")
    titles = re.findall("<h2>(.*?)</h2>", page)
    assert titles == ["The set", "torn.jpg", f"{ESCAPED}.png", "good.png"]
    assert "<code>ocr</code> is &lt;missing&gt;" in page
    assert page.count("No findings") == 1
    assert "1 error, 2 warnings, 0 notes" in page


def test_the_same_values_give_the_same_bytes(tmp_path: Path) -> None:
    assert pages(tmp_path) == pages(tmp_path)


def test_a_value_that_is_missing_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="environment"):
        render("run.html", title="t", lead="l", **{k: v for k, v in EMPTY_RUN.items() if k != "environment"})
