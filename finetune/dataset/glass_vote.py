"""Glass across the views of a product: its parts are glass in every view of a set or in none.

Each photo is cut out by its own evidence first. The views of a product then vote, each that shows glass by how much of
it it shows, each other with one whole vote; the views that dissent are made again as the set decided. A set.yaml that
says `glass: yes` or `no` is obeyed, and nobody votes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from finetune.core.console import listed, say
from finetune.dataset.photo_pool import Outcome, WorkedThrough
from finetune.dataset.photo_task import PhotoJob
from finetune.dataset.records import GlassVote, PhotoRecord

CLEAR = 0.1
"""Transparent share of the product from which a view has one whole vote for glass."""


def decided(own: Sequence[float]) -> Literal["", "yes", "no"]:
    """What a set decides; empty if its views agree.

    Args:
        own: share of the product that is glass in each view by that view's own evidence, 0..1.
    """
    seen = [share for share in own if share > 0]
    if not seen or len(seen) == len(own):
        return ""
    return "yes" if sum(min(1.0, share / CLEAR) for share in seen) > len(own) - len(seen) else "no"


@dataclass(frozen=True)
class _Ballot:
    """A photo that was made, and what the set wants of it."""

    job: PhotoJob
    record: PhotoRecord
    wanted: GlassVote

    @property
    def stands(self) -> bool:
        """Whether the photo is as the set wants it."""
        return self.record.glass == self.wanted


def agreed(
    result: WorkedThrough[PhotoJob], again: Callable[[Sequence[PhotoJob]], WorkedThrough[PhotoJob]]
) -> WorkedThrough[PhotoJob]:
    """Let the views of every product agree on whether it is glass.

    Args:
        result: the photos, each by its own evidence or as an earlier call decided.
        again: makes photos again.

    Returns:
        All photos, the dissenting ones as their set decided.
    """
    ballots = _ballots(result)
    changed = [ballot for ballot in ballots if not ballot.stands]
    for ballot in changed:  # files may be linked into an earlier prepared set: never written into
        for path in ballot.record.paths(ballot.job.task.name):
            (ballot.job.folder / path).unlink(missing_ok=True)
    made: dict[Path, Outcome] = {}
    if changed:
        second = again([_with_vote(ballot) for ballot in changed])
        made |= {job.record_path: record for job, record in second.done}
        made |= {job.record_path: photo for job, photo in second.unusable}
    _tell(ballots)
    done: list[tuple[PhotoJob, PhotoRecord]] = []
    unusable = list(result.unusable)
    for job, record in result.done:
        outcome = made.get(job.record_path, record)
        if isinstance(outcome, PhotoRecord):
            done.append((job, outcome))
        else:
            unusable.append((job, outcome))
    return WorkedThrough(done, unusable)


def _ballots(result: WorkedThrough[PhotoJob]) -> list[_Ballot]:
    voters = [(job, record) for job, record in result.done if _votes(job, record)]
    verdicts = {
        sku: decided([record.glass.own for job, record in voters if job.task.sku == sku])
        for sku in dict.fromkeys(job.task.sku for job, _ in voters)
    }
    found = []
    for job, record in voters:
        verdict, own = verdicts[job.task.sku], record.glass.own
        dissents = verdict != "" and (own > 0) != (verdict == "yes")
        found.append(_Ballot(job, record, GlassVote(own=own, verdict=verdict if dissents else "")))
    return found


def _votes(job: PhotoJob, record: PhotoRecord) -> bool:
    config = job.measure.config
    return config.kind != "brand" and config.glass == "auto" and record.cutout.source == "plain ground"


def _with_vote(ballot: _Ballot) -> PhotoJob:
    task = ballot.job.task
    return replace(ballot.job, task=replace(task, measure=replace(task.measure, vote=ballot.wanted)))


def _tell(ballots: Sequence[_Ballot]) -> None:
    for sku in dict.fromkeys(ballot.job.task.sku for ballot in ballots):
        overruled = [b for b in ballots if b.job.task.sku == sku and b.wanted.verdict]
        if overruled:
            names = listed([ballot.job.task.photo.path.name for ballot in overruled])
            what = "glass" if overruled[0].wanted.verdict == "yes" else "opaque"
            are = "is" if len(overruled) == 1 else "are"
            say(f"{sku}: the product is {what} by most of its views; {names} showed otherwise and {are} made like them")
