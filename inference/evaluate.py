"""The recipe behind `packshot evaluate`: does this adapter draw this product? Judged where it does the drawing.

The product is drawn into a box of fixed scenes with fixed seeds, with the adapter and without, and both are held
against the packshots and the adapter against the product's siblings. An adapter of zeros draws what the base draws
and gains nothing; a sibling's adapter draws the sibling. Preserve pictures are checked besides, with one bar: not one
byte of the core may change.

Writes `fidelity.json` and `fidelity.png` into the adapter's folder, or under runs/ when the adapter belongs to another
product. A report whose inputs have not changed is not made again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from finetune.core import fingerprint
from finetune.core.adapters.file import check_fits
from finetune.core.adapters.versions import AdapterVersion, find_version
from finetune.core.basemodel.resolve import EMBEDDED, ResolvedBase, resolve_base
from finetune.core.compositing import placement as compose
from finetune.core.console import say, warn
from finetune.core.environment import tool
from finetune.core.errors import AdapterError, CatalogError, ConfigError, RunError
from finetune.core.fidelity import gate, references, scoring
from finetune.core.fidelity.insert_pictures import DRAWINGS, DrawingRoom, Request, product_box, requests_for
from finetune.core.fidelity.measures import Score
from finetune.core.painting.inpainter import MAX_PROMPT_TOKENS, Sampling, load_inpainter
from finetune.core.pictures.contact_sheet import contact_sheet
from finetune.core.pictures.images import open_picture, write_png
from finetune.core.pictures.masks import Box
from finetune.core.products.catalog import Workspace, load_set
from finetune.core.products.prepared import PreparedSet, require_prepared
from finetune.core.storage.durable import write_text
from inference import delivery

FORMAT = 1
REPORT, SHEET = "fidelity.json", "fidelity.png"
PRESERVE_SIZE = 1024
"""Side of the preserve pictures whose core is checked: what `place` delivers by default."""
METHODS = {
    "palette": "CIEDE2000 between k-means palettes in CIELAB, earth mover's distance",
    "layout": "CIEDE2000 in place after a blur of 4 %",
    "structure": "SSIM of CIELAB lightness, Gaussian window of sigma 1.5",
}


@dataclass(frozen=True)
class Subject:
    """What is judged and against what, found and checked before a model is loaded."""

    workspace: Workspace
    prepared: PreparedSet
    siblings: dict[str, PreparedSet]
    left_out: dict[str, str]
    version: AdapterVersion
    base: ResolvedBase
    config: gate.GateConfig
    cutout: Image.Image
    box: Box
    """The product's box in a picture of the base's size."""

    @property
    def fingerprint(self) -> str:
        """All that decides the report."""
        pictures = self.config.model_dump(mode="json", exclude={"rules"})
        return fingerprint.of_value(
            {
                "format": [FORMAT, DRAWINGS],
                "sku": self.prepared.sku,
                "adapter": fingerprint.of_file(self.version.weights),
                "base": self.base.fingerprint,
                "prepared": self.prepared.fingerprint,
                "siblings": {sku: prepared.fingerprint for sku, prepared in self.siblings.items()},
                "left_out": sorted(self.left_out),
                "pictures": pictures,
            }
        )

    @property
    def folder(self) -> Path:
        """Where the report belongs: never into the folder of another product's adapter."""
        if self.version.is_in(self.workspace.adapters / self.prepared.sku):
            return self.version.folder
        return self.workspace.runs / self.prepared.sku / f"evaluate-{self.fingerprint}"

    def requests(self) -> list[Request]:
        """Every scene with every seed."""
        pictures = self.config.pictures
        pairs = [(scene, seed) for scene in pictures.scenes for seed in pictures.seeds]
        return requests_for(pairs, token=self.prepared.token, class_noun=self.prepared.class_noun)


def evaluate_adapter(
    workspace: Workspace,
    sku: str,
    version: str | None = None,
    *,
    config: gate.GateConfig,
    base: str | None = None,
    force: bool = False,
    device: str = "auto",
    gate_file: str = "",
) -> tuple[dict[str, Any], Path]:
    """Judge an adapter of a SKU.

    Args:
        version: number, or the folder of any adapter; the published one, else the newest, if left out.
        base: reference of the base; the one the adapter was trained on if left out.
        force: draw and measure again even if nothing has changed.
        gate_file: fingerprint of the file the gate was read from, empty if something was overridden; `nightly` sees by
            it that a verdict is of bars that have changed since.

    Returns:
        The report, and the file that holds it. Whether the gate is met stands in its `verdict`.

    Raises:
        PackshotError: of the kind that fits: unknown SKU or version, a damaged adapter, one of another base, a set
            that is not prepared, a vision model that is named but not there.
    """
    subject = find_subject(workspace, sku, version, config=config, base=base)
    path = subject.folder / REPORT
    kept = None if force else _up_to_date(path, subject.fingerprint)
    if kept is None:
        report = _make_report(subject, device)
    else:
        say(f"{sku}: the report of adapter {subject.version.number} is up to date")
        report = kept | _verdict({s["name"]: s["value"] for s in kept["scores"]}, config)
    report["gate_file"] = gate_file
    _write_json(report, path)
    return report, path


def find_subject(
    workspace: Workspace, sku: str, version: str | None, *, config: gate.GateConfig, base: str | None = None
) -> Subject:
    """Find and check everything an evaluation needs; loads no model.

    Raises:
        PackshotError: see `evaluate_adapter`.
    """
    product = load_set(workspace, sku)
    if product.config.kind != "sku":
        raise CatalogError(
            f"'{sku}' is a {product.config.kind} set", "only a product (kind: sku) has packshots to match"
        )
    prepared = require_prepared(product.prepared_dir, sku)
    if changes := prepared.changes(product):
        warn(f"'{sku}' since it was prepared: {changes}; `packshot prepare {sku}` takes that in")
    found = find_version(workspace, sku, version)
    trained = found.manifest.get("base", {})
    resolved = resolve_base(base) if base else resolve_base(trained.get("model", EMBEDDED), trained.get("revision", ""))
    check_fits(found.manifest, resolved)
    if config.embedder:
        from finetune.core.embedding import check_embedder

        check_embedder(Path(config.embedder))
    siblings, left_out = references.find_siblings(workspace, product)
    first = min(prepared.photos, key=lambda photo: photo.photo, default=None)
    if first is None:
        raise CatalogError(f"the prepared set of '{sku}' is empty", f"run: packshot prepare {sku}")
    cutout = open_picture(prepared.cutout_path(first)).convert("RGBA")
    pictures = config.pictures
    box = product_box(cutout.size, resolved.size, height=pictures.height, ground=pictures.ground)
    return Subject(workspace, prepared, siblings, left_out, found, resolved, config, cutout, box)


def _up_to_date(path: Path, wanted: str) -> dict[str, Any] | None:
    """The report on disk if it was made from the same inputs; bars play no part, they are applied anew."""
    if not path.is_file():
        return None
    try:
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return report if report["fingerprint"] == wanted else None
    except (ValueError, KeyError, TypeError):
        warn(f"{path.name} is damaged and made again")
        return None


def _make_report(subject: Subject, device: str) -> dict[str, Any]:
    """Draw, measure, judge; the contact sheet is written here, the report by the caller, last."""
    pictures, prepared = subject.config.pictures, subject.prepared
    frame = references.make_frame(subject.box, pictures.measure_side)
    views = references.hang(prepared, subject.siblings, subject.left_out, frame)
    room = _open_room(subject, device)
    requests = subject.requests()
    trained_on = subject.version.manifest.get("sku", prepared.sku)
    if trained_on != prepared.sku:
        warn(f"this adapter was trained on '{trained_on}', not on '{prepared.sku}'")
    say(f"{prepared.sku}: adapter {subject.version.number} draws {len(requests)} pictures on '{subject.base.name}'")
    judged = [scoring.judge_drawing(drawing, views, frame) for drawing in room.draw(requests)]
    values = scoring.values_of(judged) | {"core_difference": _core_difference(subject, judged)}
    models = METHODS | {"embedder": "not available: the gate names no vision model"}
    if subject.config.embedder:
        from finetune.core.embedding import load_embedder

        embedder = load_embedder(Path(subject.config.embedder))
        values |= scoring.embedder_values(judged, views, frame, embedder)
        models["embedder"] = embedder.name
    _write_sheet(subject, judged)
    return {
        "format": FORMAT,
        "fingerprint": subject.fingerprint,
        "sku": prepared.sku,
        "version": subject.version.number,
        "adapter": fingerprint.of_file(subject.version.weights),
        "base": subject.base.summary(),
        "tool": tool(),
        "crop": f"opaque product inside its box, longer side {pictures.measure_side} px, exposure matched within "
        "1.3 stops, nearest of the product's views",
        "models": models,
        "gallery": views.summary(),
        "gate": subject.config.model_dump(mode="json"),
        **_verdict(values, subject.config),
        "pictures": [j.as_dict() for j in judged],
    }


def _verdict(values: dict[str, float | None], config: gate.GateConfig) -> dict[str, Any]:
    """The part of a report that depends on the bars."""
    rounded = {name: value if value is None else round(value, 4) for name, value in values.items()}
    scores = gate.score(rounded, config.rules)
    return {
        "scores": [asdict(s) for s in scores],
        "verdict": gate.verdict(scores, config.rules),
        "gate": config.model_dump(mode="json"),
    }


def scores_of(report: dict[str, Any]) -> list[Score]:
    """The scores of a report, as objects again."""
    return [Score(**entry) for entry in report["scores"]]


def _open_room(subject: Subject, device: str) -> DrawingRoom:
    """Load base and adapter.

    Raises:
        AdapterError: the adapter holds numbers that are none.
        ConfigError: a prompt is longer than the base can read.
    """
    _check_finite(subject.version.weights)
    inpainter = load_inpainter(subject.base, subject.version.adapter, device=device)
    for request in subject.requests():
        for prompt in (request.scene_prompt, request.insert_prompt):
            if (tokens := inpainter.prompt_tokens(prompt)) > MAX_PROMPT_TOKENS:
                raise ConfigError(f"a prompt has {tokens} tokens, the base reads {MAX_PROMPT_TOKENS}: '{prompt}'")
    pictures = subject.config.pictures
    sampling = Sampling(steps=pictures.steps, guidance=pictures.guidance)
    cache = subject.workspace.cache / "evaluate"
    return DrawingRoom(inpainter, subject.box, sampling=sampling, margin=pictures.box_margin, cache=cache)


def _check_finite(weights: Path) -> None:
    """A NaN times a scale of zero is a NaN: such an adapter would spoil the base's pictures too."""
    from safetensors.torch import load_file

    bad = sorted(name for name, tensor in load_file(str(weights)).items() if not tensor.isfinite().all())
    if bad:
        raise AdapterError(f"the adapter holds NaN or infinite weights, first in {bad[0]}", "train it again")


def _core_difference(subject: Subject, judged: Sequence[scoring.Judged]) -> float:
    pictures = subject.config.pictures
    scale = subject.box.height / subject.base.size
    box = compose.placement_box(subject.cutout.size, PRESERVE_SIZE, anchor=0.5, scale=scale, ground=pictures.ground)
    placed = compose.put_on_canvas(subject.cutout, box, PRESERVE_SIZE)
    return float(max(delivery.core_difference(j.drawing.empty, placed, PRESERVE_SIZE) for j in judged))


def _write_sheet(subject: Subject, judged: Sequence[scoring.Judged]) -> None:
    """Packshot | without the adapter | with it, a row for each picture."""
    cells: list[Image.Image] = []
    captions: list[str] = []
    for j in judged:
        cells += [subject.cutout, j.drawing.without, j.drawing.with_adapter]
        captions += [
            f"{subject.prepared.sku}: packshot",
            f"without adapter: dE00 {j.likeness_base.distance:.1f}, SSIM {j.likeness_base.structure:.2f}",
            f"adapter {subject.version.number}: dE00 {j.likeness.distance:.1f}, SSIM {j.likeness.structure:.2f}"
            + "".join(f", {sku} {distance:.1f}" for sku, distance in j.siblings.items()),
        ]
    path = subject.folder / SHEET
    with _writing(path):
        write_png(contact_sheet(cells, captions, columns=3, cell=256), path)


def _write_json(report: dict[str, Any], path: Path) -> None:
    with _writing(path):
        write_text(path, json.dumps(report, indent=1, ensure_ascii=False) + "\n")


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Map what a full disk or a locked folder raises to an error that names the file."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"can't write {path}: {error.strerror or error}", "free some space, or mend its rights"
        ) from error
