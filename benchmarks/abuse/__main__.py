"""Every document and command of a workspace, abused and judged: one table, by kind.

    python -m benchmarks.abuse [--work DIR] [--seed 1] [--only KIND] [--again] [--markdown FILE]

A case is a workspace with one thing spoiled and one command. It has to end with exit code 1 or 2, one `Error:` line and
one `hint:` line, no traceback, nothing new on disk but caches, nothing changed outside the workspace, in 20 s and
1 GiB; or, where the spoiled thing can be made again or borne, without an error. Verdicts are kept in DIR, so that a
second call goes on where the first stopped; `--again` repeats the cases with faults. Exit code 1: there are any.

    python -m benchmarks.abuse pairs      # every pair of commands at once on one SKU
    python -m benchmarks.abuse kills      # commands killed anywhere, and what is left after the next one
    python -m benchmarks.abuse exports    # random orders of exports: what may be replaced, and what was
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.abuse import exports, killed, together
from benchmarks.abuse.cases import all_cases
from benchmarks.abuse.runner import Case, load, run

COLUMNS = ("traceback", "hang", "lines", "hint", "exit", "silent", "left over", "outside", "memory")


def template(work: Path) -> Path:
    """The workspace that cases copy, made once."""
    place = work / "template"
    if not (place / "gate.yaml").exists():
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        line = [sys.executable, "-m", "benchmarks.abuse.template", str(place)]
        subprocess.run(line, check=True, env=environment, stdout=subprocess.DEVNULL)
    return place


def known(results: Path) -> dict[str, dict[str, Any]]:
    """The verdicts kept, by case; of several the last."""
    if not results.is_file():
        return {}
    lines = results.read_text(encoding="utf-8").splitlines()
    return {row["key"]: row for row in map(json.loads, lines)}


def sampled(cases: list[Case], count: int, seed: int) -> list[Case]:
    """A fixed sample in the cases' own order; all of them for a count of 0."""
    chosen = random.Random(seed).sample(range(len(cases)), count or len(cases))
    return [cases[number] for number in sorted(chosen)]


def judge_all(work: Path, seed: int, *, only: str, again: bool, sample: int) -> list[dict[str, Any]]:
    """Run what has no verdict yet; returns the verdicts of all cases."""
    place, results = template(work), work / f"results-{seed}.jsonl"
    load()
    cases = sampled([case for case in all_cases(place, seed) if only in case.kind], sample, seed)
    rows = known(results)
    todo = [case for case in cases if case.key not in rows or (again and rows[case.key]["faults"])]
    with results.open("a", encoding="utf-8") as handle:
        for number, case in enumerate(todo, 1):
            verdict = run(case, place, work / "case")
            row = {"key": case.key, "kind": case.kind} | asdict(verdict)
            handle.write(json.dumps(row) + "\n")
            handle.flush()
            rows[case.key] = json.loads(json.dumps(row))
            if verdict.faults:
                print(f"{', '.join(verdict.faults)}: {case.key[:200]}", file=sys.stderr, flush=True)
            if number % 100 == 0:
                print(f"{number} of {len(todo)}", file=sys.stderr, flush=True)
    return [rows[case.key] for case in cases]


def table(rows: list[dict[str, Any]]) -> str:
    """The verdicts by kind, as a Markdown table."""
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    lines = [f"| kind | cases | {' | '.join(COLUMNS)} | slowest, s |", "|" + "---|" * (len(COLUMNS) + 3)]
    for kind in [*kinds, "all"]:
        of_kind = [row for row in rows if kind in ("all", row["kind"])]
        counts = Counter(fault for row in of_kind for fault in row["faults"])
        shown = " | ".join(str(counts[name]) for name in COLUMNS)
        slowest = max((row["seconds"] for row in of_kind if row["in_process"]), default=0)
        lines.append(f"| {kind} | {len(of_kind)} | {shown} | {slowest:.1f} |")
    apart = sum(not row["in_process"] for row in rows)
    ended = Counter("accepted" if row["code"] == 0 else "refused" for row in rows)
    told = (
        f"{ended['refused']} were refused, {ended['accepted']} borne or accepted; {apart} ran as processes with torch."
    )
    return "\n".join([*lines, "", told])


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("mode", nargs="?", default="cases", choices=["cases", "pairs", "kills", "exports"])
    parser.add_argument("--work", type=Path, default=Path(".cache/abuse"), metavar="DIR")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", metavar="KIND")
    parser.add_argument("--again", action="store_true", help="repeat cases with faults")
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="only a fixed sample of N cases")
    parser.add_argument(
        "--rounds", type=int, default=0, help="of each pair (3), kills in all (50), or orders of exports (200)"
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there too")
    given = parser.parse_args()
    work = given.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    faults = False
    if given.mode == "cases":
        rows = judge_all(work, given.seed, only=given.only, again=given.again, sample=given.sample)
        text, faults = table(rows), any(row["faults"] for row in rows)
    elif given.mode == "pairs":
        text = together.pairs(template(work), work, rounds=given.rounds or 3)
    elif given.mode == "exports":
        text, faults = exports.orders(work, count=given.rounds or exports.ORDERS, seed=given.seed)
    else:
        text = killed.kills(template(work), work, count=given.rounds or 50, seed=given.seed)
    print(text)
    if given.markdown:
        given.markdown.write_text(text + "\n", encoding="utf-8")
    sys.exit(int(faults))


if __name__ == "__main__":
    main()
