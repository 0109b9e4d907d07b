"""The recipe `packshot check`: the pre-flight report of a product set. `prepare` calls `examine` with its own cutouts.

Cuts out every photo, measures it, turns the measures into findings, and writes the page. Never changes a photo or a
prepared set.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from finetune.check_report import Shown, figures, write_report
from finetune.core import fingerprint
from finetune.core.catalog import ProductSet, Workspace, load_set
from finetune.core.console import say, warn
from finetune.core.errors import CatalogError, ConfigError
from finetune.cutting import Failure, cut_all, open_all
from finetune.findings import Finding, photo_findings
from finetune.label_reading import label_findings, open_reader
from finetune.looks import Look, look_at
from finetune.set_findings import Remembered, count_views, set_findings

REPORT = "report.html"


@dataclass(frozen=True)
class CheckReport:
    """What the checks found on a set."""

    sku: str
    photos: int
    """Photos in the folder."""
    usable: int
    """Of these, how many can be trained on."""
    views: int
    """Photos that are left when near duplicates count once."""
    findings: tuple[Finding, ...]
    """Worst first."""

    @property
    def trainable(self) -> bool:
        """Is there anything to train on?"""
        return self.usable > 0

    def count(self, severity: str) -> int:
        """How many findings are of this severity."""
        return sum(finding.severity == severity for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        counts = {f"{name}s": self.count(name) for name in ("error", "warning", "note")}
        facts = {"sku": self.sku, "photos": self.photos, "usable": self.usable, "views": self.views}
        return facts | counts | {"findings": [asdict(finding) for finding in self.findings]}

    def warn(self) -> None:
        """Say each error and warning in one line on stderr; photos left out are named where they are left out."""
        for finding in self.findings:
            if finding.severity != "note" and finding.check != "file":
                warn(finding.line(self.sku))


def check_set(workspace: Workspace, sku: str, *, size: int, report: Path | None = None) -> tuple[CheckReport, Path]:
    """Check one product set and write its page.

    Args:
        size: side of the training examples in pixels.
        report: the page's file; default: `report.html` in the set's folder, beside the prepared set.

    Returns:
        What was found, and where the page stands.

    Raises:
        CatalogError: unknown or empty set, or a category set.
        ConfigError: the page cannot be written there.
    """
    product = load_set(workspace, sku)
    if product.config.kind == "category":
        raise CatalogError(f"'{sku}' is a category set", "check the SKUs that name it")
    path = report or product.folder / REPORT
    if path.is_dir() or not path.parent.is_dir():
        raise ConfigError(f"the report cannot be written to {path}", "name a file in a folder that is there")
    if product.config.kind == "brand":
        pictures, failures = open_all(product)
        plain = [BrandPicture(p.path.name, fingerprint.of_file(p.path), *picture.size) for p, picture in pictures]
        found = examine_brand(product, plain, failures, size=size)
        shown = [Shown(p.path.name, figures(p.path.name, picture, None)) for p, picture in pictures]
    else:
        cuts, failures = cut_all(product)
        looks = [look_at(cut, fingerprint.of_file(cut.photo.path)) for cut in cuts]
        cutouts = ((cut.photo.path.name, cut.cutout.rgba) for cut in cuts)
        found = examine(product, looks, cutouts, failures, size=size)
        shown = [
            Shown(name, figures(name, cut.picture, cut.cutout.rgba)) for cut in cuts for name in [cut.photo.path.name]
        ]
    write_check_report(path, found, shown)
    say(
        f"checked {sku}: {found.usable} of {found.photos} photos can be used, {found.count('error')} errors, "
        f"{found.count('warning')} warnings, {found.count('note')} notes"
    )
    return found, path


def examine(
    product: ProductSet,
    looks: Sequence[Look],
    cutouts: Iterable[tuple[str, Image.Image]],
    failures: Sequence[Failure],
    *,
    size: int,
    known: Remembered | None = None,
) -> CheckReport:
    """Check the cut-out photos of a SKU by what was measured on them.

    Args:
        cutouts: (file name, RGBA) of each photo; gone through only as far as the label has to be read.
        failures: photos that could not be read or cut out. size: side of the training examples in pixels.
        known: comparisons of an earlier call (see `set_findings`); brought up to date.
    """
    plural = _is_plural(product.config.class_noun)
    found = _left_out(failures, len(looks))
    for look in looks:
        found += photo_findings(look, size=size, plural=plural)
    if product.config.kind != "category":  # its members are meant to differ
        found += set_findings(looks, known)
    if product.config.label_text and looks:
        found += label_findings(product.config.label_text, cutouts, open_reader())
    return _report(product.sku, len(looks), failures, count_views(looks), found)


@dataclass(frozen=True)
class BrandPicture:
    """What the checks need of a brand set's picture."""

    name: str
    """File name."""
    content: str
    """Fingerprint of the file's bytes."""
    width: int
    height: int


def examine_brand(
    product: ProductSet, pictures: Sequence[BrandPicture], failures: Sequence[Failure], *, size: int
) -> CheckReport:
    """Check the pictures of a brand set: they are learned whole, so only their size and copies matter."""
    found = _left_out(failures, len(pictures))
    seen: dict[str, str] = {}
    for picture in pictures:
        name = picture.name
        if min(picture.width, picture.height) < size:
            what = f"the picture is {picture.width}x{picture.height} pixels, under the training size {size}"
            why = "it is enlarged for training, and the adapter learns the softness"
            found.append(Finding("resolution", "warning", name, what, why, "give a larger picture"))
        if picture.content in seen:
            what, why = f"the same file as {seen[picture.content]}", "it adds nothing, and counts twice in training"
            found.append(Finding("duplicate", "warning", name, what, why, "leave one out"))
        seen.setdefault(picture.content, name)
    return _report(product.sku, len(pictures), failures, len(seen), found)


def _left_out(failures: Sequence[Failure], good: int) -> list[Finding]:
    """A photo that cannot be used: an error where no other is left to train on, else a warning."""
    return [
        Finding(
            "file",
            "warning" if good else "error",
            failure.photo.path.name,
            f"left out: {failure.error.message}",
            "nothing is learned from it" if good else "there is no photo left to train on",
            failure.error.hint or "mend or remove it",
        )
        for failure in failures
    ]


def _report(sku: str, good: int, failures: Sequence[Failure], views: int, found: list[Finding]) -> CheckReport:
    order = {"error": 0, "warning": 1, "note": 2}
    ranked = tuple(sorted(found, key=lambda finding: (order[finding.severity], finding.photo)))
    return CheckReport(sku, good + len(failures), good, views, ranked)


def _is_plural(noun: str) -> bool:
    """Does the noun name a pair or a set (loafers, earrings), so that several pieces are one product?"""
    last = noun.split()[-1].lower()
    return (last.endswith("s") and not last.endswith("ss")) or last in ("pair", "set")


def write_check_report(path: Path, found: CheckReport, shown: Sequence[Shown]) -> None:
    """Write the page of a check: every photo with what was found on it."""
    facts = f"{found.usable} of {found.photos} photos can be used, {found.views} views"
    write_report(path, found.sku, facts, found.findings, shown)
