"""The loss on held-out examples at fixed timesteps and noise: a curve whose points differ by the adapter alone.

A step's training loss scatters with its timesteps; here every validation sees the same noise
on the same examples at the same timesteps, pure functions of a seed and an index, without caption dropout. The loss is
the objective's on product and ring (true noise, weights and min-SNR as in training), without the pull towards the base
elsewhere, which says nothing about likeness. The base's own value, adapter off, is the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from finetune.core.console import say
from finetune.latents.batches import Batch
from finetune.runs.validation_records import BASE, Record, by_loss, is_stale, read_records, write_records
from finetune.training import objective
from finetune.training.loop import Objective, StepReport, predict
from finetune.training.trainee import Trainee
from finetune.unet.lora import adapter_off

if TYPE_CHECKING:
    from finetune.latents.cache import CachedExamples


class EndOfRun(Exception):
    """The validation loss has not improved for as long as `validation.patience` allows."""


def spread_timesteps(count: int, total: int) -> list[int]:
    """The middles of `count` equal parts of a schedule of `total` timesteps."""
    return [(2 * part + 1) * total // (2 * count) for part in range(count)]


def fixed_noise(shape: Sequence[int], seed: int, example: int, position: int) -> torch.Tensor:
    """Normal noise of `shape` for one example at one of its timesteps, drawn on the CPU."""
    draws = np.random.default_rng([seed, 2, example, position])
    generator = torch.Generator().manual_seed(int(draws.integers(2**63)))
    return torch.randn(tuple(shape), generator=generator)


@dataclass(frozen=True)
class ValidationPlan:
    """When the validation loss is taken, and at which noise."""

    every: int
    """Optimizer steps between two validations; the last step is always validated."""
    timesteps: int
    """Timesteps per example, spread evenly over the schedule."""
    seed: int
    """Of the noise."""


class Validator:
    """Observer that takes the validation loss every so many steps and after the last one."""

    def __init__(
        self,
        trainee: Trainee,
        held_out: Callable[[], CachedExamples],
        settings: Objective,
        plan: ValidationPlan,
        file: Path,
        *,
        start: int,
        keep: Callable[[int, Sequence[Record]], object],
    ) -> None:
        """Read what an earlier part of this run recorded; without a record, take the base's own loss first.

        Args:
            trainee: the UNet in training; its adapter may be switched off and on.
            held_out: gives the examples, with captions encoded as training encodes them now.
            settings: of the loss.
            plan: when and how the loss is taken.
            file: of the records; those after `start` are dropped, a resumed run takes them again.
            start: optimizer steps done before.
            keep: called with the step and all records after each validation, on the main process.
        """
        self.trainee, self.held_out, self.settings, self.plan = trainee, held_out, settings, plan
        self.accelerator, self.file, self.keep = trainee.accelerator, file, keep
        self.timesteps = spread_timesteps(plan.timesteps, len(settings.alphas))
        self.records = [record for record in read_records(file) if record.step <= start]
        self.accelerator.wait_for_everyone()  # all have read before one writes
        if not self.records:
            with adapter_off(trainee.bare_unet):
                self.records = [Record(step=BASE, loss=self.loss())]
        self._write()

    @property
    def base(self) -> float:
        """The base's own loss."""
        return self.records[0].loss

    def after_step(self, report: StepReport) -> None:
        """Validate when its time has come."""
        if report.step % self.plan.every and report.step != report.steps:
            return
        self.records.append(Record(step=report.step, loss=self.loss()))
        ahead = by_loss(self.records)[0].step == report.step
        say(
            f"  step {report.step}: validation loss {self.records[-1].loss:.4f} (base {self.base:.4f})"
            + (", the lowest so far" if ahead else "")
        )
        self.accelerator.log(
            {"validation_loss": self.records[-1].loss, "validation_loss_base": self.base}, step=report.step
        )
        if self.accelerator.is_main_process:
            self.keep(report.step, self.records)
        self._write()

    def loss(self) -> float:
        """Mean over examples and timesteps; several processes share them out and all get the same number."""
        examples, unet, batch = self.held_out(), self.trainee.bare_unet, self.trainee.memory.batch
        losses = torch.zeros(len(examples) * len(self.timesteps), device=self.accelerator.device)
        mine = range(self.accelerator.process_index, len(examples), self.accelerator.num_processes)
        training = unet.training
        unet.eval()
        with torch.no_grad():
            for example in mine:
                for first in range(0, len(self.timesteps), batch):
                    positions = list(range(len(self.timesteps)))[first : first + batch]
                    begin = example * len(self.timesteps) + first
                    losses[begin : begin + len(positions)] = self._losses(examples, example, positions)
        unet.train(training)
        total = self.accelerator.reduce(losses, reduction="sum") if self.accelerator.num_processes > 1 else losses
        return float(total.double().mean())

    def _losses(self, examples: CachedExamples, example: int, positions: list[int]) -> torch.Tensor:
        """(len(positions),) losses of one example at some of the timesteps."""
        batch = self._batch(examples, example, positions)
        s = self.settings
        noisy = objective.add_noise(batch.latents, batch.noise, s.alphas, batch.timesteps)
        true = objective.target(batch.latents, batch.noise, s.alphas, batch.timesteps, s.prediction_type)
        prediction = predict(self.trainee.bare_unet, batch, noisy, self.trainee.dtype)
        weights = objective.snr_weights(s.alphas, batch.timesteps, s.snr_gamma, s.prediction_type)
        each = [slice(n, n + 1) for n in range(len(positions))]
        return torch.stack(
            [
                objective.region_loss(
                    prediction[one],
                    targets=[true[one], true[one]],
                    regions=[batch.product[one], batch.ring[one]],
                    weights=[s.product_weight, s.ring_weight],
                    sample_weights=weights[one],
                )
                for one in each
            ]
        )

    def _batch(self, e: CachedExamples, example: int, positions: list[int]) -> Batch:
        """One example with its own caption, once for each of the timesteps."""
        count, device = len(positions), self.accelerator.device

        def repeated(entry: torch.Tensor) -> torch.Tensor:
            return entry[None].to(device).expand(count, *entry.shape)

        noise = [fixed_noise(e.latents[example].shape, self.plan.seed, example, position) for position in positions]
        text = e.text[example]
        return Batch(
            latents=repeated(e.latents[example]),
            masked=repeated(e.masked[example]),
            mask=repeated(e.mask[example]),
            product=repeated(e.product[example]),
            ring=repeated(e.ring[example]),
            embeds=repeated(e.embeds[text]),
            pooled=repeated(e.pooled[text]),
            time_ids=repeated(e.time_ids[example]),
            noise=torch.stack(noise).to(device),
            timesteps=torch.tensor([self.timesteps[position] for position in positions], device=device),
        )

    def _write(self) -> None:
        if self.accelerator.is_main_process:
            write_records(self.file, self.records)


class EarlyStop:
    """Observer that ends the run when the validation loss no longer improves.

    It comes last of the observers, so that everything else of the step is done by then.
    """

    def __init__(self, validator: Validator, patience: int) -> None:
        self.validator, self.patience = validator, patience

    def after_step(self, report: StepReport) -> None:
        """Check the records after a validation.

        Raises:
            EndOfRun: the last `patience` validations brought no lower loss.
        """
        self.check(report.step)

    def check(self, step: int) -> None:
        """Check the records of a run that resumes at a step.

        Raises:
            EndOfRun: see `after_step`.
        """
        if self.validator.records[-1].step == step and is_stale(self.validator.records, self.patience):
            raise EndOfRun
