"""The check of the label: the words read off the cutouts against `label_text` of set.yaml."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from finetune.checks.photo_findings import Finding
from finetune.core.label_ocr import Reader, is_read, read_label, reader_version

WHY = "a label that is not sharp in any photo is neither learned nor placed legibly"
LINES_QUOTED = 8
"""Lines that were read instead, quoted at most."""


@dataclass(frozen=True)
class LabelledCutout:
    """A cutout whose label may be read."""

    key: str
    """Fingerprint of all that the cutout depends on."""
    open: Callable[[], Image.Image]
    """Opens the cutout, RGBA."""


def label_findings(
    label_text: Sequence[str], cutouts: Iterable[LabelledCutout], reader: Reader | None, known: Mapping[str, list[str]]
) -> tuple[list[Finding], dict[str, list[str]]]:
    """Check that every text of the label can be read on some photo. A missing reader is a finding, never a pass.

    Args:
        label_text: what is printed on the product.
        cutouts: of each photo, in the order they are read.
        reader: from `open_reader`; None if the extra `ocr` is not installed.
        known: lines read on cutouts earlier; those cutouts are not opened.

    Returns:
        The findings, and the lines of these cutouts by reader and cutout, for the next call's `known`.
    """
    if not label_text:
        return [], {}
    if reader is None:
        what = f"the label was not checked: reading {_quoted(label_text)} needs the extra `ocr`"
        return [Finding("label", "note", "", what, WHY, "pip install 'packshot[ocr]'")], {}
    missing, lines, answers = list(label_text), list[str](), dict[str, list[str]]()
    for cutout in cutouts:
        key = f"{reader_version()} {cutout.key}"
        if key in known:
            answers[key] = known[key]
        elif missing:  # reading takes a second per photo: stop once everything has been read
            answers[key] = read_label(reader, cutout.open())
        if missing:
            missing = [text for text in missing if not is_read(text, answers[key])]
            lines += answers[key]
    if not missing:
        return [], answers
    found = f"the reader found {_quoted(list(dict.fromkeys(lines))[:LINES_QUOTED])}" if lines else "no words were found"
    what = f"{_quoted(missing)} cannot be read on any photo; {found}"
    cure = "photograph the label sharp and from the front, or correct label_text in set.yaml"
    return [Finding("label", "warning", "", what, WHY, cure)], answers


def _quoted(texts: Sequence[str]) -> str:
    return ", ".join(f"'{text}'" for text in texts)
