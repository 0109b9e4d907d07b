"""The recipe behind `packshot evaluate`: does this adapter draw this product?

The product is drawn into a box of fixed scenes with fixed seeds, with the adapter and without, and both pictures are
compared with the packshots, and the adapter's with the product's siblings. An adapter of zeros draws what the base
draws and gains nothing; a sibling's adapter draws the sibling. Preserve pictures are checked too, with one bar: not a
byte of the core may change.

Writes `fidelity.json`, `fidelity.png` and `report.html` into the adapter's folder, or under runs/ when the adapter
belongs to another product. A report whose inputs have not changed is kept, with today's bars applied.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image

from finetune.core import fingerprint
from finetune.core.adapters.reports import REPORT_FORMAT, FidelityReport
from finetune.core.adapters.versions import AdapterVersion
from finetune.core.basemodel.resolve import ResolvedBase
from finetune.core.compositing.placement import placement_box, put_on_canvas
from finetune.core.console import count, say, warn
from finetune.core.environment import tool
from finetune.core.errors import AdapterError, RunError
from finetune.core.fidelity import gate, references, scoring
from finetune.core.fidelity.insert_pictures import (
    INSERT_FORMAT,
    InsertRenderer,
    InsertRequest,
    product_box,
    requests_for,
)
from finetune.core.fidelity.measures import MEASURES_FORMAT
from finetune.core.fidelity.scores import Score
from finetune.core.json_files import read_object
from finetune.core.painting.inpainter import Sampling, load_inpainter
from finetune.core.painting.needs import check_drawing
from finetune.core.painting.pictures import InsertBox
from finetune.core.pictures.images import open_picture
from finetune.core.pictures.masks import Box
from finetune.core.products.catalog import Workspace
from finetune.core.products.housekeeping import check_folders
from finetune.core.products.prepared import PreparedSet
from finetune.core.segmentation.products import WEIGHTS as SEGMENTER
from finetune.core.segmentation.products import find_products
from finetune.core.storage.durable import write_text
from inference import delivery
from inference.fidelity_page import PAGE, SHEET, write_page, write_sheet
from inference.request import DrawnWith, find_subject, warn_of_another_product

FORMAT = REPORT_FORMAT
"""Of the file `fidelity.json`."""
REPORT = "fidelity.json"
PRESERVE_SIZE = 1024
"""Side of the preserve pictures whose core is checked: the default of `place`."""
METHODS = {
    "outline": "IoU of what the shipped segmenter finds with the packshot's silhouette",
    "parts": "normalised cross-correlation of the packshot's patches, looked for within 6 %",
    "palette": "CIEDE2000 between k-means palettes in CIELAB, earth mover's distance",
    "layout": "CIEDE2000 in place after a blur of 4 %",
    "structure": "SSIM of CIELAB lightness, Gaussian window of sigma 1.5",
}


@dataclass(frozen=True)
class Asked:
    """The adapter whose evaluation is asked for."""

    workspace: Workspace
    """Where the product and its adapters are."""
    sku: str
    """The product."""
    version: str | None = None
    """Number, folder or file of an adapter; if None the published version, else the newest."""
    base: str | None = None
    """Reference of the base; if None the one the adapter was trained on."""
    vae: str | None = None
    """Folder or file of a VAE in place of the base's own; if None the one the adapter was trained with."""


@dataclass(frozen=True)
class Evaluation:
    """What is evaluated and what it is compared with, found and checked before a model is loaded."""

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

    @cached_property
    def adapter(self) -> str:
        """Fingerprint of the adapter file."""
        return fingerprint.of_file(self.version.weights)

    @cached_property
    def fingerprint(self) -> str:
        """Fingerprint of all that decides the report, except the bars."""
        pictures = self.config.model_dump(mode="json", exclude={"rules", "promote", "promote_on"})
        return fingerprint.of_value(
            {
                "format": [FORMAT, INSERT_FORMAT, MEASURES_FORMAT],
                "sku": self.prepared.sku,
                "adapter": self.adapter,
                "base": self.base.fingerprint,
                "prepared": self.prepared.fingerprint,
                "siblings": {sku: prepared.fingerprint for sku, prepared in self.siblings.items()},
                "left_out": sorted(self.left_out),
                "pictures": pictures,
                "segmenter": fingerprint.of_file(SEGMENTER),
            }
        )

    @property
    def folder(self) -> Path:
        """Where the report belongs: never in the folder of another product's adapter."""
        if self.version.is_in(self.workspace.adapters / self.prepared.sku):
            return self.version.folder
        return self.workspace.runs / self.prepared.sku / f"evaluate-{self.fingerprint}"

    def requests(self) -> list[InsertRequest]:
        """Every scene with every seed."""
        pictures = self.config.pictures
        pairs = [(scene, seed) for scene in pictures.scenes for seed in pictures.seeds]
        return requests_for(pairs, token=self.prepared.token, class_noun=self.prepared.class_noun)


def evaluate_adapter(
    asked: Asked, config: gate.GateConfig, *, force: bool = False, device: str = "auto", gate_file: str = ""
) -> tuple[dict[str, Any], Path]:
    """Evaluate an adapter of a SKU.

    Args:
        asked: The adapter.
        config: The gate.
        force: Draw and measure again even if nothing has changed.
        device: `auto`, `cpu`, `cuda` or `cuda:1`.
        gate_file: Fingerprint of the file the gate was read from, empty if a setting was overridden; it tells `nightly`
            whether the bars have changed since.

    Returns:
        The report, and the file that holds it. Its `verdict` says whether the gate is met.

    Raises:
        PackshotError: Of the fitting kind: what `find_subject` raises, an adapter with NaN, a vision model that is
            missing.
    """
    evaluation = resolve_evaluation(asked, config)
    check_folders(asked.workspace, asked.sku)
    path = evaluation.folder / REPORT
    kept = None if force else _up_to_date(path, evaluation.fingerprint)
    if kept is None:
        report = _make_report(evaluation, device)
    else:
        say(f"{asked.sku}: the report of adapter {evaluation.version.number} is up to date")
        unjudged = {name for name, span in kept["spans"].items() if not span["judged"]}
        report = kept | _verdict({s["name"]: s["value"] for s in kept["scores"]}, unjudged, config)
    report |= {"gate_file": gate_file, "trained_on": evaluation.version.manifest.get("sku", "")}
    _write_json(report, path)
    with _writing(path.with_name(PAGE)):
        write_page(report, path.with_name(PAGE))
    return report, path


def resolve_evaluation(asked: Asked, config: gate.GateConfig) -> Evaluation:
    """Find and check everything an evaluation needs; loads no model. See `evaluate_adapter`."""
    workspace = asked.workspace
    subject = find_subject(workspace, asked.sku, DrawnWith(asked.version, asked.base, asked.vae))
    if subject.version is None:
        raise AdapterError("only an adapter can be evaluated", "give --adapter VERSION or PATH, or leave it out")
    if config.embedder:
        from finetune.core.embedding import check_embedder

        check_embedder(Path(config.embedder))
    siblings, left_out = references.find_siblings(workspace, subject.product)
    prepared, resolved, pictures = subject.prepared, subject.base, config.pictures
    first = min(prepared.photos, key=lambda photo: photo.photo)
    cutout = open_picture(prepared.cutout_path(first)).convert("RGBA")
    box = product_box(cutout.size, resolved.size, height=pictures.height, ground=pictures.ground)
    return Evaluation(workspace, prepared, siblings, left_out, subject.version, resolved, config, cutout, box)


def _up_to_date(path: Path, wanted: str) -> dict[str, Any] | None:
    """The report on disk if it was made from the same inputs. The bars do not count: they are applied anew."""
    if not path.exists():
        return None
    try:
        report = read_object(path, RunError, shape=FidelityReport, what=str(path))
    except RunError as error:
        warn(f"{error.message}; evaluating from scratch")
        return None
    return report if report["fingerprint"] == wanted else None


def _make_report(evaluation: Evaluation, device: str) -> dict[str, Any]:
    """Draw, measure, score. Writes the contact sheet; the caller writes the report, last."""
    pictures, prepared, version = evaluation.config.pictures, evaluation.prepared, evaluation.version
    frame = references.make_frame(evaluation.box, pictures.measure_side)
    views = references.load_references(prepared, evaluation.siblings, evaluation.left_out, frame)
    renderer = _load_renderer(evaluation, device)
    requests = evaluation.requests()
    warn_of_another_product(prepared.sku, version)
    say(f"{prepared.sku}: adapter {version.number} draws {count(len(requests), 'picture')} on '{evaluation.base.name}'")
    scored = [scoring.score_pair(pair, views, frame, find_products) for pair in renderer.render(requests)]
    spans = scoring.spans_of(scored)
    values = scoring.values_of(scored, spans) | {"core_difference": _core_difference(evaluation, scored)}
    models = METHODS | {"embedder": "not available: the gate names no vision model"}
    if evaluation.config.embedder:
        from finetune.core.embedding import load_embedder

        embedder = load_embedder(Path(evaluation.config.embedder))
        values |= scoring.embedder_values(scored, views, frame, embedder)
        models["embedder"] = embedder.name
    sheet = evaluation.folder / SHEET
    with _writing(sheet):
        write_sheet(scored, evaluation.cutout, (prepared.sku, version.number), sheet)
    return {
        "format": FORMAT,
        "fingerprint": evaluation.fingerprint,
        "sku": prepared.sku,
        "version": version.number,
        "adapter": evaluation.adapter,
        "base": evaluation.base.summary(),
        "tool": tool(),
        "crop": f"opaque product inside its box, longer side {pictures.measure_side} px, exposure matched within "
        "1.3 stops, nearest of the product's views",
        "models": models,
        "references": views.summary(),
        "spans": {name: span.as_dict() for name, span in spans.items()},
        **_verdict(values, {name for name, span in spans.items() if not span.judged}, evaluation.config),
        "pictures": [s.as_dict() for s in scored],
    }


def _verdict(values: dict[str, float | None], unjudged: set[str], config: gate.GateConfig) -> dict[str, Any]:
    """The part of a report that depends on the bars.

    Args:
        values: Scores by name.
        unjudged: Measures whose span is no larger than chance.
        config: The gate.
    """
    rounded = {name: value if value is None else round(value, 4) for name, value in values.items()}
    scores = gate.score_all(rounded, config.rules, {f"{name}_reached" for name in unjudged})
    return {
        "scores": [asdict(s) for s in scores],
        "verdict": gate.verdict(scores, config.rules),
        "gate": config.model_dump(mode="json"),
    }


def scores_of(report: dict[str, Any]) -> list[Score]:
    """The scores of a report, as objects again."""
    return [Score(**entry) for entry in report["scores"]]


def _load_renderer(evaluation: Evaluation, device: str) -> InsertRenderer:
    """Load base and adapter.

    Raises:
        AdapterError: The adapter holds NaN or infinite weights.
        ConfigError: A prompt is longer than the base can read.
    """
    _check_finite(evaluation.version.weights)
    base, adapter = evaluation.base, evaluation.version.adapter
    check_drawing("evaluating", base, adapter, cache=evaluation.workspace.cache, device=device)
    inpainter = load_inpainter(evaluation.base, evaluation.version.adapter, device=device)
    inpainter.check_prompts(p for r in evaluation.requests() for p in (r.scene_prompt, r.insert_prompt))
    pictures = evaluation.config.pictures
    where = InsertBox(evaluation.box, inpainter.size, pictures.box_margin)
    sampling = Sampling(steps=pictures.steps, guidance=pictures.guidance)
    cache = evaluation.workspace.cache / "evaluate"
    return InsertRenderer(inpainter, where, evaluation.cutout, sampling=sampling, cache=cache)


def _check_finite(weights: Path) -> None:
    """Refuse NaN: NaN times a scale of zero is NaN, so such an adapter would spoil the base's pictures too."""
    from safetensors.torch import load_file

    bad = sorted(name for name, tensor in load_file(str(weights)).items() if not tensor.isfinite().all())
    if bad:
        raise AdapterError(f"the adapter holds NaN or infinite weights, first in {bad[0]}", "train it again")


def _core_difference(evaluation: Evaluation, scored: Sequence[scoring.ScoredPair]) -> float:
    cutout, ground = evaluation.cutout, evaluation.config.pictures.ground
    scale = evaluation.box.height / evaluation.base.size
    placed = put_on_canvas(cutout, placement_box(cutout.size, PRESERVE_SIZE, scale=scale, ground=ground), PRESERVE_SIZE)
    return float(max(delivery.core_difference(s.pair.empty, placed) for s in scored))


def _write_json(report: dict[str, Any], path: Path) -> None:
    with _writing(path):
        write_text(path, json.dumps(report, indent=1, ensure_ascii=False) + "\n")


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn the errors of a full disk or a locked folder into one that names the file."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"can't write {path}: {error.strerror or error}",
            "free some disk space, or check the permissions of its folder",
        ) from error
