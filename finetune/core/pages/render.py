"""Rendering the HTML pages: self-contained files, everything escaped, the same values giving the same bytes."""

from __future__ import annotations

import base64
import io
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, **values: Any) -> str:
    """Fill a template.

    Args:
        template: File name in `templates/`.
        values: What it shows. Text is escaped, but for what a template marks as `safe`. A missing value is an error.
    """
    return _environment().get_template(template).render(**values)


def inline_picture(picture: Image.Image, quality: int) -> str:
    """A picture as a `data:` URI, so that a page needs no file beside it.

    Args:
        picture: RGB.
        quality: Of the JPEG, 1..95.
    """
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
