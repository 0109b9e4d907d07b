"""Validation, early stop and the choice among candidates, put together from a session. Called by the train recipe."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from finetune.core.console import say
from finetune.training import distributed
from finetune.training.session import Session
from finetune.unet import lora
from finetune.validation.candidates import Candidates
from finetune.validation.loss import EarlyStop, EndOfRun, Record, Validator
from finetune.validation.selection import Choice, choose_of_run


def _candidates(session: Session) -> Candidates:
    return Candidates(session.run.candidates, session.config.validation.candidates)


def open_validator(session: Session) -> Validator | None:
    """The observer that takes the validation loss and keeps candidates; None where nothing is held out."""
    if session.held_out is None:
        return None
    v, candidates = session.config.validation, _candidates(session)

    def keep(step: int, records: Sequence[Record]) -> None:
        candidates.add(step, lora.lora_state(session.bare_unet), records)

    return Validator(
        session.accelerator,
        session.bare_unet,
        session.held_out,
        session.objective(),
        session.run.validation,
        dtype=session.dtype,
        every=v.every,
        timesteps=v.timesteps,
        seed=v.seed,
        batch=session.memory.batch,
        start=session.start,
        keep=keep,
    )


@contextmanager
def until_stale(session: Session, validator: Validator | None) -> Iterator[list[EarlyStop]]:
    """The observer that ends a run early, where one is asked for; leaving by it is no error."""
    early = [EarlyStop(validator, session.config.validation.patience)] if validator else []
    try:
        yield early
    except EndOfRun:
        assert validator is not None
        say(f"  step {validator.records[-1].step}: {session.config.validation.patience} validations without a new low")


def choose_step(session: Session, validator: Validator | None, cache: Path) -> Choice:
    """Choose among the candidates; the UNet then holds the chosen weights, on every process.

    Args:
        cache: folder of what the base alone paints.
    """
    records = validator.records if validator else []
    last = records[-1].step if records else session.config.train.steps
    candidates = _candidates(session)

    def choose() -> Choice:
        chosen = choose_of_run(
            session.config,
            session.prepared,
            session.base,
            session.bare_unet,
            candidates,
            records,
            last=last,
            cache=cache,
            dtype=session.dtype,
            tokens=session.tokens.put_into if session.tokens else None,
        )
        told = json.dumps({"step": chosen.step} | chosen.as_dict(), indent=1)
        session.run.choice.write_text(told + "\n", encoding="utf-8")
        session.accelerator.log({"chosen_step": chosen.step}, step=last)
        return chosen

    taken = distributed.main_only(choose)
    if not session.accelerator.is_main_process and taken.step in candidates.steps():
        lora.load_lora_state(session.bare_unet, candidates.load(taken.step))
    return taken
