"""A training session from its first step to the adapter that is kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from finetune.core.console import say
from finetune.core.device import peak_memory_mib
from finetune.examples.composite import derive_seed
from finetune.latents.batches import Batch, make_batch
from finetune.runs.report import reported_if_stopped
from finetune.training.loop import Observer, run_loop
from finetune.training.observers import Every, Metrics, ProgressBar
from finetune.training.optimizers import eight_bit_share
from finetune.training.session import Session
from finetune.training.stopping import Divergence, StopRequest
from finetune.unet import lora
from finetune.validation.loss import Validator
from finetune.validation.selection import Choice
from finetune.validation.session import choose_step, open_validator, previewer, until_stale, watchers


@dataclass(frozen=True)
class Trained:
    """The outcome of a run."""

    weights: dict[str, torch.Tensor]
    """LoRA weights of the chosen step by PEFT key."""
    tokens: dict[str, torch.Tensor] | None
    """Embeddings of the trigger word's own tokens, where they were trained."""
    choice: Choice
    steps_per_second: float
    peak_mib: float
    """Peak memory of the steps in MiB."""
    seconds: float


def run_session(session: Session, evaluation_cache: Path) -> Trained:
    """Train to the last step, or to an early stop, and select the step whose adapter is kept.

    Args:
        session: ready for its next step.
        evaluation_cache: folder of what the base alone paints.

    Raises:
        RunError: the loss diverged.
        KeyboardInterrupt: a stop was asked for; the checkpoint is written.
    """
    began = time.perf_counter()
    validator = open_validator(session)
    with reported_if_stopped(session.run, main=session.accelerator.is_main_process):
        rate = _train(session, validator)
        peak = peak_memory_mib(session.trainee.device)
        choice = choose_step(session, validator, evaluation_cache)
    if session.config.train.optimizer == "adamw8bit":
        say(f"  {eight_bit_share(session.trainee.optimizer):.0%} of the optimizer's state is in 8 bits")
    session.close_trackers()
    return Trained(
        weights=lora.lora_state(session.trainee.bare_unet),
        tokens=session.tokens.tensors() if session.tokens else None,
        choice=choice,
        steps_per_second=rate,
        peak_mib=peak,
        seconds=time.perf_counter() - began,
    )


def _train(session: Session, validator: Validator | None) -> float:
    """Run the loop; returns optimizer steps per second."""
    t, settings = session.config.train, session.objective()
    batch_at = _batches(session, len(settings.alphas))
    with (
        ProgressBar(t.steps, session.start, session.trainee.device) as bar,
        StopRequest(session.save, _agree(session)) as stop,
        until_stale(session, validator) as early,
    ):
        for rule in early:
            rule.check(session.start)
        run_loop(
            session.trainee,
            session.tokens.fill(batch_at) if session.tokens else batch_at,
            settings,
            start=session.start,
            steps=t.steps,
            observers=[bar, *_observers(session, validator), *early, stop],
        )
    return bar.rate


def _batches(session: Session, timesteps: int) -> Callable[[int, int], Batch]:
    """(first sample number, count) -> the batch of these samples, with class pictures where they are trained too."""
    seed, examples = session.config.train.seed, session.examples
    prior_seed = derive_seed(seed, "class pictures")
    dropout = session.config.objective.caption_dropout

    def batch_at(first: int, count: int) -> Batch:
        chosen: Any = partial(
            make_batch, first=first, count=count, timesteps_total=timesteps, device=session.trainee.device
        )
        batch: Batch = chosen(examples.training, seed=seed, caption_dropout=dropout)
        if examples.of_class is None:
            return batch
        return replace(batch, prior=chosen(examples.of_class, seed=prior_seed, caption_dropout=0))

    return batch_at


def _agree(session: Session) -> Callable[[bool], bool]:
    """Whether any process of the run was asked to stop; all leave together or wait for each other for ever."""
    accelerator = session.accelerator

    def agree(asked: bool) -> bool:
        if accelerator.num_processes == 1:
            return asked
        flag = torch.tensor([float(asked)], device=accelerator.device)
        return bool(accelerator.gather(flag).max() > 0)

    return agree


def _observers(session: Session, validator: Validator | None) -> list[Observer]:
    """The observers in their order: divergence before anything is kept, metrics, validation, checkpoints, previews.

    Validation comes before the checkpoint of its step, so that a run resumed from there has its record.
    """
    accelerator = session.accelerator
    return [
        Divergence(scaled=accelerator.mixed_precision == "fp16", last_good=session.last_good),
        Metrics(session.run.metrics, accelerator),
        *watchers(session, validator),
        Every(session.config.train.checkpoint_every, session.save),
        *previewer(session),
    ]
