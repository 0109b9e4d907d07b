"""What `packshot check` says of delivered pictures whose product and ground look too much alike.

A picture is too alike by its true mask where less than 95 % of the true outline can be seen; the check knows its own
cutout alone. A photo that cannot be cut out at all counts as named: `check` lists it as unusable.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.cutout.degraded import Delivered
from finetune.checks.matte_facts import measure_matte
from finetune.checks.matte_findings import UNSEEN
from finetune.core.errors import PackshotError
from finetune.matting.matte import cut_out

NAMED, FALSELY = 0.95, 0.02
"""Bars of the judging half: least share named of the pictures that are too alike, largest share of the others."""


@dataclass(frozen=True)
class Named:
    """Whether one picture is too alike, and whether the check says so."""

    product: str
    split: str
    alike: bool
    named: bool


def named(pictures: Iterable[Delivered]) -> list[Named]:
    """Cut pictures out and ask the check of each."""
    return [Named(p.product, p.split, not p.seen, _is_named(p)) for p in pictures]


def _is_named(picture: Delivered) -> bool:
    try:
        facts = measure_matte(cut_out(picture.photo, vessel=picture.vessel), picture.photo)
    except PackshotError:
        return True
    return any(flaw.kind == "too alike" and flaw.amount > UNSEEN for flaw in facts.flaws)


def print_named(everything: list[Named]) -> bool:
    """Print how often the check names what is too alike; returns whether the judging half met both bars."""
    print(f"\nproduct and ground too alike\n{'half':<10}{'alike':>8}{'named':>8}{'others':>8}{'falsely named':>15}")
    met = False
    for split in ("choose", "judge"):
        some = [row for row in everything if row.split == split]
        alike, others = [row.named for row in some if row.alike], [row.named for row in some if not row.alike]
        right, wrong = sum(alike) / max(1, len(alike)), sum(others) / max(1, len(others))
        print(f"{split:<10}{len(alike):>8}{right:>8.1%}{len(others):>8}{wrong:>15.1%}")
        met = bool(alike and others) and right >= NAMED and wrong <= FALSELY
        for text, faults in (
            ("missed", Counter(row.product for row in some if row.alike and not row.named)),
            ("falsely named", Counter(row.product for row in some if row.named and not row.alike)),
        ):
            if faults:
                print(f"  {text}: " + ", ".join(f"{name} x{number}" for name, number in sorted(faults.items())))
    print(f"bar: of the judging half at least {NAMED:.0%} named, at most {FALSELY:.0%} falsely")
    return met
