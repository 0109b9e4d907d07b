"""Validation, early stop, previews and selection of a training session."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from finetune.core.console import count, say, warn
from finetune.core.errors import PackshotError
from finetune.core.fidelity import gate
from finetune.core.progress import Progress
from finetune.core.storage.durable import write_text
from finetune.runs.validation_records import Record
from finetune.training import distributed
from finetune.training.loop import Observer
from finetune.training.observers import Every, From
from finetune.training.session import Session
from finetune.training.trackers import log_pictures
from finetune.unet import lora
from finetune.unet.live_pipeline import live_inpainter
from finetune.validation.candidates import Candidates
from finetune.validation.loss import EarlyStop, EndOfRun, ValidationPlan, Validator
from finetune.validation.previews import Previewer, preview_inpainter, preview_product
from finetune.validation.selection import (
    Candidate,
    CandidateScorer,
    Choice,
    Measured,
    choose,
    open_candidates,
)


def _candidates(session: Session) -> Candidates:
    return Candidates(session.run.candidates, session.config.validation.candidates)


def open_validator(session: Session) -> Validator | None:
    """The observer that takes the validation loss and keeps candidates; None without held-out examples."""
    tokens, held_out = session.tokens, session.examples.held_out
    if held_out is None:
        return None
    v, candidates = session.config.validation, _candidates(session)

    def keep(step: int, records: Sequence[Record]) -> None:
        candidates.add(step, lora.lora_state(session.trainee.bare_unet), records)

    return Validator(
        session.trainee,
        lambda: (tokens.held_out if tokens else None) or held_out,
        session.objective(),
        ValidationPlan(v.every, v.timesteps, v.seed),
        session.run.validation,
        start=session.start,
        keep=keep,
    )


def watchers(session: Session, validator: Validator | None) -> list[Observer]:
    """Trigger tokens and validation: the validator waits until the tokens are frozen.

    Before that, every candidate would need tokens of its own.
    """
    tokens = session.tokens
    if tokens is None:
        return [validator] if validator else []
    return [tokens, From(tokens.until, validator)] if validator else [tokens]


def previewer(session: Session) -> list[Observer]:
    """The observer that draws previews, on the main process where the config asks for them."""
    preview, prepared = session.config.preview, session.prepared
    if not preview.every or not session.accelerator.is_main_process:
        return []
    tokens = session.tokens.put_into if session.tokens else None
    draws = Previewer(
        partial(preview_inpainter, session.base, session.trainee.bare_unet, session.trainee.dtype, tokens),
        session.run.previews,
        preview_product(prepared),
        scenes=preview.scenes,
        steps=preview.steps,
        seed=preview.seed,
        log=partial(log_pictures, session.accelerator),
    )
    return [Every(preview.every, draws.draw)]


@contextmanager
def until_stale(session: Session, validator: Validator | None) -> Iterator[list[EarlyStop]]:
    """The observer that stops the run early; a run that it stops ends normally."""
    early = [EarlyStop(validator, session.config.validation.patience)] if validator else []
    try:
        yield early
    except EndOfRun:
        assert validator is not None
        patience = session.config.validation.patience
        say(f"  step {validator.records[-1].step}: stopped early, {patience} validations without a new lowest loss")


def choose_step(session: Session, validator: Validator | None, cache: Path) -> Choice:
    """Select the step whose adapter is published; every process's UNet then holds its weights.

    Args:
        session: a run that has ended.
        validator: holds the validation records.
        cache: folder of what the base alone paints.
    """
    records = validator.records if validator else []
    last = records[-1].step if records else session.config.train.steps
    candidates = _candidates(session)

    def decide() -> Choice:
        chosen = _choose(session, candidates, records, last=last, cache=cache)
        told = json.dumps({"step": chosen.step} | chosen.as_dict(), indent=1)
        write_text(session.run.choice, told + "\n", "the selection of a step")
        session.accelerator.log({"chosen_step": chosen.step}, step=last)
        return chosen

    taken = distributed.main_only(decide)
    if not session.accelerator.is_main_process and taken.step in candidates.steps():
        lora.load_lora_state(session.trainee.bare_unet, candidates.load(taken.step))
    return taken


def _choose(session: Session, candidates: Candidates, records: Sequence[Record], *, last: int, cache: Path) -> Choice:
    """The selection on the main process; its UNet then holds the chosen step's weights."""
    rule, prepared = session.config.validation.choose, session.prepared
    found = open_candidates(records, candidates) if records else []

    def load(step: int) -> None:
        lora.load_lora_state(session.trainee.bare_unet, candidates.load(step))

    chosen, why_not = None, ""
    if prepared.kind != "sku" or not prepared.photos:
        why_not = f"a {prepared.kind} set has no product to compare with"
    elif rule == "measured" and len(found) > 1:
        try:
            chosen = _choose_by_pictures(session, found, load, last=last, cache=cache)
        except PackshotError as error:  # a GPU too small to draw on, a product that fits into no frame
            why_not = error.message
            warn(f"candidates are ranked by validation loss alone: {error.message}")
    chosen = chosen or choose(found, rule, last=last, why_not=why_not)
    if found and chosen.step in candidates.steps():
        load(chosen.step)
    if len(found) > 1:
        say(f"  keeping step {chosen.step}: {chosen.why}")
    return chosen


def _choose_by_pictures(
    session: Session, found: Sequence[Candidate], load: Callable[[int], None], *, last: int, cache: Path
) -> Choice:
    v, tokens = session.config.validation, session.tokens.put_into if session.tokens else None
    say(f"  drawing {count(v.pictures, 'picture')} with each of {len(found)} candidates")
    bars = gate.load_gate(v.gate or None)
    drawn = Progress("judging candidates", v.pictures * len(found))
    with live_inpainter(session.base, session.trainee.bare_unet, session.trainee.dtype, tokens) as painter, drawn:
        scorer = CandidateScorer(painter, session.prepared, bars, pictures=v.pictures, cache=cache)

        def measure(step: int) -> Measured:
            load(step)
            return scorer.measure(drawn.advance)

        return choose(found, v.choose, last=last, measure=measure)
