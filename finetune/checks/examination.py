"""The examination of a set: the findings on every photo and on the set as a whole, and the report of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from finetune.checks.answer_cache import AnswerCache
from finetune.checks.label_findings import LabelledCutout, label_findings
from finetune.checks.matte_findings import glass_findings, matte_findings
from finetune.checks.photo_facts import PhotoFacts
from finetune.checks.photo_findings import Finding, photo_findings
from finetune.checks.report import Shown, write_report
from finetune.checks.set_findings import count_views, set_findings
from finetune.core.console import count, warn
from finetune.core.label_ocr import open_reader
from finetune.core.products.catalog import ProductSet
from finetune.core.products.set_files import Stage, UnusablePhoto

CURES: dict[Stage, str] = {
    "listing": "replace it by the picture itself, or remove it",
    "reading": "export the picture again, or remove it",
    "cutting": "add a mask in masks/ (white is product), or remove the photo",
}
"""What to do about an unusable photo whose error gives no hint."""


@dataclass(frozen=True)
class CheckReport:
    """The findings on a set."""

    sku: str
    photos: int
    """Photos in the folder."""
    usable: int
    """How many of them can be trained on."""
    views: int
    """Usable photos, near duplicates counted once."""
    findings: tuple[Finding, ...]
    """Worst first."""

    @property
    def trainable(self) -> bool:
        """Whether any photo can be trained on."""
        return self.usable > 0

    def count(self, severity: str) -> int:
        """Number of findings of a severity."""
        return sum(finding.severity == severity for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """The report as `packshot check --json` prints it."""
        counts = {f"{name}s": self.count(name) for name in ("error", "warning", "note")}
        facts = {"sku": self.sku, "photos": self.photos, "usable": self.usable, "views": self.views}
        return facts | counts | {"findings": [asdict(finding) for finding in self.findings]}

    def warn(self) -> None:
        """Print each error and warning in one line on stderr; unusable photos are warned of where they are dropped."""
        for finding in self.findings:
            if finding.severity != "note" and finding.check != "file":
                warn(finding.line(self.sku))


@dataclass(frozen=True)
class CheckedPhoto:
    """A photo that was measured, now or earlier."""

    name: str
    """File name, prefixed with the SKU in category sets (`sku/front.jpg`)."""
    content: str
    """Fingerprint of the file's bytes."""
    key: str
    """Fingerprint of all that the cutout depends on."""
    size: tuple[int, int]
    """(width, height) in pixels of the cutout; in a brand set of the whole picture."""
    facts: PhotoFacts | None
    """What was measured; None in a brand set."""
    figures: str
    """Its pictures on the report's page, as HTML."""
    open_cutout: Callable[[], Image.Image]
    """Opens its cutout, RGBA."""


def examine(
    product: ProductSet,
    photos: Sequence[CheckedPhoto],
    unusable: Sequence[UnusablePhoto],
    *,
    size: int,
    answers: AnswerCache,
) -> tuple[CheckReport, AnswerCache]:
    """Check a set by what was measured on its photos; a cutout is opened only to read its label.

    Args:
        product: the set.
        photos: those that can be used.
        unusable: those that cannot.
        size: side of the training examples in pixels.
        answers: of an earlier call; questions answered there are not asked again.

    Returns:
        The report, and this call's answers, for the next call.
    """
    found = _unusable_findings(unusable, len(photos))
    if product.config.kind == "brand":
        findings, views = _brand_findings(photos, size)
        return _report(product.sku, len(photos), len(unusable), views, found + findings), answers
    facts = [photo.facts.model_copy(update={"name": photo.name}) for photo in photos if photo.facts is not None]
    plural = _is_plural(product.config.class_noun)
    for each in facts:
        found += [*photo_findings(each, size=size, plural=plural), *matte_findings(each)]
    colours, labels = answers.colours, answers.labels
    if product.config.kind != "category":  # its members are meant to differ
        of_set, colours = set_findings(facts, colours)
        found += [*of_set, *glass_findings(facts, product.config.class_noun, product.config.glass)]
    if product.config.label_text and facts:
        cutouts = (LabelledCutout(photo.key, photo.open_cutout) for photo in photos)
        of_label, labels = label_findings(product.config.label_text, cutouts, open_reader(), labels)
        found += of_label
    report = _report(product.sku, len(photos), len(unusable), count_views(facts), found)
    return report, AnswerCache(colours=colours, labels=labels, scenes=answers.scenes)


def _brand_findings(photos: Sequence[CheckedPhoto], size: int) -> tuple[list[Finding], int]:
    """Findings on a brand set, and its number of different pictures: they are learned whole, so only size and copies
    matter."""
    found = []
    first: dict[str, str] = {}
    for photo in photos:
        width, height = photo.size
        if min(width, height) < size:
            what = f"the picture is {width}x{height} pixels, under the training size {size}"
            why = "it is enlarged for training, so the adapter learns a soft picture"
            found.append(Finding("resolution", "warning", photo.name, what, why, "use a larger picture"))
        if photo.content in first:
            what = f"the file is the same as {first[photo.content]}"
            why = "it adds nothing, and counts twice in training"
            found.append(Finding("duplicate", "warning", photo.name, what, why, "remove one of the two"))
        first.setdefault(photo.content, photo.name)
    return found, len(first)


def _unusable_findings(unusable: Sequence[UnusablePhoto], usable: int) -> list[Finding]:
    """A photo that cannot be used: an error if no other is left to train on, else a warning."""
    return [
        Finding(
            "file",
            "warning" if usable else "error",
            photo.path.name,
            f"the photo cannot be used: {photo.error.message}",
            "the adapter learns nothing from it" if usable else "no photo is left to train on",
            photo.error.hint or CURES[photo.stage],
        )
        for photo in unusable
    ]


def _report(sku: str, usable: int, unusable: int, views: int, found: Sequence[Finding]) -> CheckReport:
    order = {"error": 0, "warning": 1, "note": 2}
    ranked = tuple(sorted(found, key=lambda finding: (order[finding.severity], finding.photo)))
    return CheckReport(sku, usable + unusable, usable, views, ranked)


def _is_plural(noun: str) -> bool:
    """Whether the noun names a pair or a set (loafers, earrings), so that several pieces are one product."""
    last = noun.split()[-1].lower()
    return (last.endswith("s") and not last.endswith("ss")) or last in ("pair", "set")


def write_check_report(path: Path, found: CheckReport, photos: Sequence[CheckedPhoto]) -> None:
    """Write the page of a check: every photo with its findings.

    Args:
        path: of the page.
        found: the report.
        photos: those that can be used.
    """
    facts = f"{found.usable} of {count(found.photos, 'photo')} can be used, {count(found.views, 'different view')}"
    write_report(path, found.sku, facts, found.findings, [Shown(photo.name, photo.figures) for photo in photos])
