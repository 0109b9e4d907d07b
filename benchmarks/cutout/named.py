"""What `packshot check` says of delivered pictures whose product and ground look too much alike.

A picture is too alike by its true mask where less than 95 % of the true outline can be seen. The check knows its own
cutout alone, so that it also names cutouts that are wrong for another reason: these are counted apart. A photo that
cannot be cut out at all counts as named: `check` lists it as unusable.
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
WRONG = 0.02
"""Share of the product from which a cutout is wrong."""


@dataclass(frozen=True)
class Named:
    """Whether one picture is too alike, and whether the check says so."""

    product: str
    split: str
    alike: bool
    named: bool
    wrong: bool
    """Whether more than 2 % of the product is lost, or as much ground was taken for product."""


def named(pictures: Iterable[Delivered]) -> list[Named]:
    """Cut pictures out and ask the check of each."""
    return [_named(picture) for picture in pictures]


def _named(picture: Delivered) -> Named:
    try:
        cutout = cut_out(picture.photo, vessel=picture.vessel)
    except PackshotError:
        return Named(picture.product, picture.split, not picture.seen, True, True)
    facts = measure_matte(cutout, picture.photo)
    says = any(flaw.kind == "too alike" and flaw.amount > UNSEEN for flaw in facts.flaws)
    true, mine = picture.true > 0.5, cutout.full_alpha() > 0.5
    off = max((true & ~mine).sum(), (mine & ~true).sum()) / max(1, true.sum())
    return Named(picture.product, picture.split, not picture.seen, says, bool(off > WRONG))


def print_named(everything: list[Named]) -> bool:
    """Print how often the check names what is too alike; returns whether the judging half met both bars."""
    heads = f"{'half':<10}{'alike':>8}{'named':>8}{'others':>8}{'falsely named':>15}{'of wrong cutouts':>18}"
    print(f"\nproduct and ground too alike\n{heads}")
    met = False
    for split in ("choose", "judge"):
        some = [row for row in everything if row.split == split]
        alike, others = [row.named for row in some if row.alike], [row.named for row in some if not row.alike]
        excused = sum(row.named and not row.alike and row.wrong for row in some)
        right, wrong = sum(alike) / max(1, len(alike)), sum(others) / max(1, len(others))
        print(f"{split:<10}{len(alike):>8}{right:>8.1%}{len(others):>8}{wrong:>15.1%}{excused:>18}")
        met = bool(alike and others) and right >= NAMED and wrong <= FALSELY
        for text, faults in (
            ("missed", Counter(row.product for row in some if row.alike and not row.named)),
            ("falsely named", Counter(row.product for row in some if row.named and not row.alike)),
        ):
            if faults:
                print(f"  {text}: " + ", ".join(f"{name} x{number}" for name, number in sorted(faults.items())))
    print(f"bar: of the judging half at least {NAMED:.0%} named, at most {FALSELY:.0%} falsely")
    return met
