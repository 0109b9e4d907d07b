"""The loss on held-out examples at fixed timesteps and noise: a curve whose points differ by the adapter alone.

An observer of the loop. A step's training loss scatters with its timesteps; here every validation sees the same noise
on the same examples at the same timesteps, pure functions of a seed and an index, without caption dropout. The loss is
the objective's on product and ring (true noise, weights and min-SNR as in training), without the pull towards the base
elsewhere, which is no likeness. The base's own value, adapter off, is the reference.

The records are a file of the run, so early stopping needs no state of its own: it is a pure function of them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from finetune.core.console import say
from finetune.core.storage.durable import write_text
from finetune.latents.batches import Batch
from finetune.training import objective
from finetune.training.loop import Objective, StepReport, predict
from finetune.unet.lora import adapter_off

if TYPE_CHECKING:
    from accelerate import Accelerator

    from finetune.latents.cache import CachedExamples

BASE = 0
"""The step under which the base's own loss is recorded."""


@dataclass(frozen=True)
class Record:
    """One validation."""

    step: int
    """Optimizer steps done; `BASE` for the base alone."""
    loss: float


class EndOfRun(Exception):
    """The run has got all it will get: validation has not improved for as long as was asked."""


def read_records(path: Path) -> list[Record]:
    """The validations of a run, in order; none when there is no file."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [Record(entry["step"], entry["loss"]) for entry in map(json.loads, lines)]


def by_loss(records: Sequence[Record]) -> list[Record]:
    """Lowest loss first, the earlier step where they are equal; a loss that is no number comes last, the base never."""
    of_steps = [record for record in records if record.step != BASE]
    return sorted(of_steps, key=lambda r: (not math.isfinite(r.loss), r.loss, r.step))


def stale(records: Sequence[Record], patience: int) -> bool:
    """Whether the last `patience` validations brought no new lowest loss; never with a patience of 0."""
    ranked = by_loss(records)
    if not patience or not ranked:
        return False
    return sum(record.step > ranked[0].step for record in ranked) >= patience


def spread_timesteps(count: int, total: int) -> list[int]:
    """The middles of `count` equal parts of a schedule of `total` timesteps."""
    return [(2 * part + 1) * total // (2 * count) for part in range(count)]


def fixed_noise(shape: Sequence[int], seed: int, example: int, position: int) -> torch.Tensor:
    """Normal noise of `shape` for one example at one of its timesteps, drawn on the CPU."""
    draws = np.random.default_rng([seed, 2, example, position])
    generator = torch.Generator().manual_seed(int(draws.integers(2**63)))
    return torch.randn(tuple(shape), generator=generator)


class Validator:
    """Takes the loss every so many steps and after the last, and tells who wants to know."""

    def __init__(
        self,
        accelerator: Accelerator,
        unet: Any,
        examples: CachedExamples,
        settings: Objective,
        file: Path,
        *,
        dtype: torch.dtype,
        every: int,
        timesteps: int,
        seed: int,
        batch: int,
        start: int,
        keep: Callable[[int, Sequence[Record]], object],
    ) -> None:
        """Read what an earlier part of this run recorded, and take the base's own loss if that is not there.

        Args:
            unet: without what accelerate wraps it in; its adapter may be switched off and on.
            file: of the records, a JSON line each; those after `start` are dropped, a resumed run takes them again.
            batch: forward passes computed at once.
            keep: given the step and all records after each validation, on the main process.
        """
        self.accelerator, self.unet, self.examples, self.settings = accelerator, unet, examples, settings
        self.file, self.dtype, self.every, self.seed, self.batch, self.keep = file, dtype, every, seed, batch, keep
        self.timesteps = spread_timesteps(timesteps, len(settings.alphas))
        self.records = [record for record in read_records(file) if record.step <= start]
        accelerator.wait_for_everyone()  # all have read before one writes
        if not self.records:
            with adapter_off(self.unet):
                self.records = [Record(BASE, self.loss())]
        self._write()

    @property
    def base(self) -> float:
        """The base's own loss."""
        return self.records[0].loss

    def after_step(self, report: StepReport) -> None:
        """Validate when its time has come."""
        if report.step % self.every and report.step != report.steps:
            return
        self.records.append(Record(report.step, self.loss()))
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
        losses = torch.zeros(len(self.examples) * len(self.timesteps), device=self.accelerator.device)
        mine = range(self.accelerator.process_index, len(self.examples), self.accelerator.num_processes)
        training = self.unet.training
        self.unet.eval()
        with torch.no_grad():
            for example in mine:
                for first in range(0, len(self.timesteps), self.batch):
                    positions = list(range(len(self.timesteps)))[first : first + self.batch]
                    begin = example * len(self.timesteps) + first
                    losses[begin : begin + len(positions)] = self._losses(example, positions)
        self.unet.train(training)
        total = self.accelerator.reduce(losses, reduction="sum") if self.accelerator.num_processes > 1 else losses
        return float(total.double().mean())

    def _losses(self, example: int, positions: list[int]) -> torch.Tensor:
        """(len(positions),) losses of one example at some of the timesteps."""
        batch = self._batch(example, positions)
        s = self.settings
        noisy = objective.add_noise(batch.latents, batch.noise, s.alphas, batch.timesteps)
        true = objective.target(batch.latents, batch.noise, s.alphas, batch.timesteps, s.prediction_type)
        prediction = predict(self.unet, batch, noisy, self.dtype)
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

    def _batch(self, example: int, positions: list[int]) -> Batch:
        """One example as often as it has timesteps here, with its own caption."""
        e, count, device = self.examples, len(positions), self.accelerator.device

        def repeated(entry: torch.Tensor) -> torch.Tensor:
            return entry[None].to(device).expand(count, *entry.shape)

        noise = [fixed_noise(e.latents[example].shape, self.seed, example, position) for position in positions]
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
            lines = [json.dumps({"step": r.step, "loss": r.loss}) + "\n" for r in self.records]
            write_text(self.file, "".join(lines), "the validation record")


class EarlyStop:
    """Ends the run when validation is stale. Comes last of the observers: all else of the step is done by then."""

    def __init__(self, validator: Validator, patience: int) -> None:
        self.validator, self.patience = validator, patience

    def after_step(self, report: StepReport) -> None:
        """Look at the records after a validation.

        Raises:
            EndOfRun: as many validations as asked brought no lower loss.
        """
        self.check(report.step)

    def check(self, step: int) -> None:
        """The same for a run that goes on from a checkpoint.

        Raises:
            EndOfRun: see `after_step`.
        """
        if self.validator.records[-1].step == step and stale(self.validator.records, self.patience):
            raise EndOfRun
