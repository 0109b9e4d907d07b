"""What the gate says of pictures whose truth is known: healthy, injured, and without any product.

python -m benchmarks.fidelity --world DIR [--limit N] [--work DIR]

DIR holds products: `<name>/meta.json`, `view_K.png`, `view_K_mask.png`. Floor and ceiling come from the embedded base;
what an adapter might draw is made from the views and goes through the base's autoencoder, as all that an adapter draws
does. Every other product chooses, the others judge.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image

from benchmarks.fidelity import cases
from benchmarks.fidelity.cases import Case, Stage
from benchmarks.fidelity.products import Subject, read_subjects
from finetune.core.basemodel.resolve import resolve_base
from finetune.core.fidelity import gate, references, scoring
from finetune.core.fidelity.decoys import decoys_of
from finetune.core.fidelity.insert_pictures import InsertPair, InsertRenderer, product_box, requests_for
from finetune.core.fidelity.measures import make_view
from finetune.core.fidelity.references import References, into_frame
from finetune.core.painting.inpainter import Sampling, load_inpainter
from finetune.core.painting.pictures import InsertBox
from finetune.core.segmentation.products import find_products

TOLD = ("drawn", "outline_reached", "parts_reached", "palette_reached", "layout_reached", "own_nearest")


def judge(
    subject: Subject, other: Subject, config: gate.GateConfig, work: Path, wanted: Mapping[str, Case]
) -> dict[str, dict[str, object]]:
    """The gate's verdict and scores of every case of a product."""
    pictures = config.pictures
    inpainter = load_inpainter(resolve_base("embedded"), None, device="cpu")
    box = product_box(subject.views[0].size, inpainter.size, height=pictures.height, ground=pictures.ground)
    frame = references.make_frame(box, pictures.measure_side)
    views = tuple(make_view(f"view {k}", _in_frame(view, frame)) for k, view in enumerate(subject.views))
    siblings = {other.name: tuple(make_view(f"view {k}", _in_frame(v, frame)) for k, v in enumerate(other.views))}
    known = References(views, siblings, decoys_of(views), {})
    sampling = Sampling(steps=pictures.steps, guidance=pictures.guidance)
    where = InsertBox(box, inpainter.size, pictures.box_margin)
    renderer = InsertRenderer(inpainter, where, subject.views[0], sampling=sampling, cache=work / "base")
    asked = [(scene, seed) for scene in pictures.scenes for seed in pictures.seeds]
    requests = requests_for(asked, token="", class_noun=subject.noun)
    drawn = zip(requests, renderer.anchors(requests), strict=True)
    pairs = [InsertPair(request, *anchors[:2], anchors.without, anchors.ceiling) for request, anchors in drawn]
    known_scores = [scoring.score_pair(pair, known, frame, find_products) for pair in pairs]
    found = {}
    for name, case in wanted.items():
        scored = []
        for number, (pair, anchor) in enumerate(zip(pairs, known_scores, strict=True)):
            picture = inpainter.reconstruct(case(Stage(subject.views, other.views[0], pair.empty, box, number)))
            made = replace(pair, with_adapter=picture)
            scored.append(scoring.score_pair(made, known, frame, find_products, anchor))
        found[name] = _verdict(scored, config)
    return found


def _in_frame(view: Image.Image, frame: references.MeasureFrame) -> scoring.Array:
    return into_frame(view, frame)


def _verdict(scored: list[scoring.ScoredPair], config: gate.GateConfig) -> dict[str, object]:
    spans = scoring.spans_of(scored)
    values = scoring.values_of(scored, spans) | {"core_difference": 0.0}
    unjudged = {f"{name}_reached" for name, span in spans.items() if not span.judged}
    scores = gate.score_all(values, config.rules, unjudged)
    missed = [score.name for score in gate.failing(scores, config.rules)]
    told = {name: None if values.get(name) is None else round(float(values[name] or 0), 1) for name in TOLD}
    return {"verdict": gate.verdict(scores, config.rules), "missed": missed, "unjudged": sorted(unjudged), **told}


def main() -> None:
    """Judge from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fidelity")
    parser.add_argument("--world", type=Path, action="append", required=True, help="folder of products; repeatable")
    parser.add_argument("--limit", type=int, help="products of each folder")
    parser.add_argument("--work", type=Path, default=Path(".cache/fidelity"), help="keeps pictures and results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    config = gate.load_gate()
    subjects = [s for folder in options.world for s in read_subjects(folder, limit=options.limit)]
    kept = options.work / "results.json"
    results = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    wanted = cases.HEALTHY | cases.EMPTY | cases.INJURED
    for number, subject in enumerate(subjects):
        if subject.name in results:
            continue
        other = next((s for s in subjects if s is not subject and s.noun == subject.noun), subjects[number - 1])
        results[subject.name] = judge(subject, other, config, options.work, wanted)
        kept.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        print(f"{subject.name}: judged", flush=True)
    for half, chooses in (("choosing", True), ("judging", False)):
        print(f"\n{half} half\n" + table([results[s.name] for s in subjects if s.chooses == chooses]))


def table(results: Iterable[dict[str, dict[str, object]]]) -> str:
    """A row for each case: how many products pass, and the means of the scores."""
    found = list(results)
    lines = ["| case | passed | " + " | ".join(TOLD) + " |", "|---|---|" + "---|" * len(TOLD)]
    for kind in (cases.HEALTHY, cases.EMPTY, cases.INJURED):
        for name in kind:
            rows = [result[name] for result in found]
            passed = sum(row["verdict"] != "fail" for row in rows)
            cells = [_mean([row[key] for row in rows]) for key in TOLD]
            lines.append(f"| {name} | {passed} of {len(rows)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _mean(values: list[object]) -> str:
    numbers = [value for value in values if isinstance(value, float)]
    return f"{statistics.fmean(numbers):.0f}" if numbers else "-"


if __name__ == "__main__":
    main()
