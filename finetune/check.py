"""The recipe `packshot check`: the pre-flight report of a product set. `prepare` calls `examine` with its own cutouts.

Cuts out every photo, measures it, turns the measures into findings, and writes the page. Never changes a photo or a
prepared set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

from finetune import check_measures as measures
from finetune.check_report import Shown, write_report
from finetune.core import fingerprint
from finetune.core.catalog import Photo, ProductSet, Workspace, load_set
from finetune.core.console import say, warn
from finetune.core.errors import CatalogError, ConfigError
from finetune.cutting import Cut, Failure, cut_all, open_all
from finetune.findings import Finding, Look, photo_findings
from finetune.label_reading import label_findings, open_reader
from finetune.set_findings import count_views, set_findings

REPORT = "report.html"
INNER_MARGIN = 4
"""Pixels inside the rim that count as the product's own detail when blur is measured."""
RIM_MARGIN = 8
"""Pixels of plain ground around the product in which its outline counts as an edge."""
PICTURE_SIDE = 256
"""Side at which a whole picture's brightness is looked at."""


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
        found = examine_brand(product, pictures, failures, size=size)
        write_check_report(path, found, [(photo, picture, None) for photo, picture in pictures])
    else:
        cuts, failures = cut_all(product)
        found = examine(product, cuts, failures, size=size)
        write_check_report(path, found, [(cut.photo, cut.picture, cut.cutout.rgba) for cut in cuts])
    say(
        f"checked {sku}: {found.usable} of {found.photos} photos can be used, {found.count('error')} errors, "
        f"{found.count('warning')} warnings, {found.count('note')} notes"
    )
    return found, path


def examine(product: ProductSet, cuts: Sequence[Cut], failures: Sequence[Failure], *, size: int) -> CheckReport:
    """Check the cut-out photos of a SKU.

    Args:
        failures: photos that could not be read or cut out. size: side of the training examples in pixels.
    """
    looks = [look_at(cut) for cut in cuts]
    plural = _is_plural(product.config.class_noun)
    found = _left_out(failures, len(cuts))
    for look in looks:
        found += photo_findings(look, size=size, plural=plural)
    found += set_findings(looks)
    if product.config.label_text:
        labelled = [(cut.photo.path.name, cut.cutout.rgba) for cut in cuts]
        found += label_findings(product.config.label_text, labelled, open_reader())
    return _report(product.sku, len(cuts), failures, count_views(looks), found)


def examine_brand(
    product: ProductSet, pictures: Sequence[tuple[Photo, Image.Image]], failures: Sequence[Failure], *, size: int
) -> CheckReport:
    """Check the pictures of a brand set: they are learned whole, so only their size and copies matter."""
    found = _left_out(failures, len(pictures))
    seen: dict[str, str] = {}
    for photo, picture in pictures:
        name, content = photo.path.name, fingerprint.of_file(photo.path)
        if min(picture.size) < size:
            what = f"the picture is {picture.width}x{picture.height} pixels, under the training size {size}"
            why = "it is enlarged for training, and the adapter learns the softness"
            found.append(Finding("resolution", "warning", name, what, why, "give a larger picture"))
        if content in seen:
            why = "it adds nothing, and counts twice in training"
            found.append(
                Finding("duplicate", "warning", name, f"the same file as {seen[content]}", why, "leave one out")
            )
        seen.setdefault(content, name)
    return _report(product.sku, len(pictures), failures, len(seen), found)


def look_at(cut: Cut) -> Look:
    """Measure one cut-out photo."""
    pixels = np.asarray(cut.cutout.rgba)
    small = cut.picture.convert("RGB")
    small.thumbnail((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.BOX)
    return Look(
        name=cut.photo.path.name,
        content=fingerprint.of_file(cut.photo.path),
        cutout=cut.cutout,
        blur=_blur(cut),
        exposure=measures.exposure_of(pixels),
        picture_highlight=measures.highlight(np.asarray(small)),
        ground=measures.ground_light(cut.picture) if cut.cutout.source == "plain ground" else None,
        pieces=measures.piece_areas(pixels),
        palette=measures.palette(pixels),
        hash=measures.perceptual_hash(pixels),
        remarks=cut.remarks,
    )


def _blur(cut: Cut) -> float | None:
    """Blur of the product's inner detail; on a plain ground, where every edge is the product's, of its outline too.

    The sharper of the two counts: a plain product has no detail, and a round one may have a soft outline.
    """
    cutout = cut.cutout
    opaque = np.asarray(cutout.rgba.getchannel("A")) == 255
    inner = ndimage.binary_erosion(opaque, iterations=INNER_MARGIN)
    found = [measures.blur_width(np.asarray(cutout.rgba.convert("RGB").convert("L"), dtype=np.float32), inner)]
    if cutout.source == "plain ground":
        box = cutout.box.grown(RIM_MARGIN, cut.picture.size)
        around = np.asarray(cut.picture.convert("RGB").convert("L").crop(box), dtype=np.float32)
        found.append(measures.blur_width(around, np.ones(around.shape, dtype=bool)))
    return min((width for width in found if width is not None), default=None)


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


def write_check_report(
    path: Path, found: CheckReport, pictures: Sequence[tuple[Photo, Image.Image, Image.Image | None]]
) -> None:
    """Write the page of a check: every photo with its cutout (None in a brand set) and what was found."""
    shown = [Shown(photo.path.name, picture, cutout) for photo, picture, cutout in pictures]
    facts = f"{found.usable} of {found.photos} photos can be used, {found.views} views"
    write_report(path, found.sku, facts, found.findings, shown)
