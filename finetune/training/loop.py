"""The accelerate loop: step, accumulate, clip, schedule, call observers. It reads no file and writes none.

It gets three things: the trainee (UNet, optimizer, schedule), a function from a sample number to its batch, and
observers. Logging, saving and drawing are the observers' work.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch

from finetune.core.device import is_out_of_memory
from finetune.latents.batches import Batch
from finetune.training import objective
from finetune.training.optimizers import learning_rate
from finetune.training.trainee import Trainee
from finetune.unet.lora import adapter_off

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class StepReport:
    """What an optimizer step tells its observers."""

    step: int
    """Steps done, this one included."""
    steps: int
    """Steps of the whole run."""
    loss: float
    """Mean loss of the step's samples."""
    learning_rate: float
    grad_norm: float
    """Before clipping."""
    seconds: float
    """Wall time of the step."""


class Observer(Protocol):
    """Something that looks at the run: progress bar, metrics, checkpoints, previews."""

    def after_step(self, report: StepReport) -> None:
        """Called after every optimizer step."""


@dataclass(frozen=True)
class Objective:
    """The settings of the loss, as plain values."""

    alphas: Tensor
    """(T,) cumulative products of the noise schedule."""
    prediction_type: str
    snr_gamma: float
    product_weight: float
    ring_weight: float
    elsewhere_weight: float
    prior_weight: float = 0.0
    """Of `class_loss`, where batches bring class pictures."""


def predict(unet: Any, batch: Batch, noisy: Tensor, dtype: torch.dtype) -> Tensor:
    """The UNet's prediction: 9 channels get noisy latents, mask and masked-picture latents; 4 channels the first.

    Sizes and crops stay in fp32: bf16 would make 1368 of a side of 1365 pixels.
    """
    nine = _bare(unet).config.in_channels == 9
    inputs = torch.cat([noisy, batch.mask, batch.masked], dim=1) if nine else noisy
    prediction: Tensor = unet(
        inputs.to(dtype),
        batch.timesteps,
        encoder_hidden_states=batch.embeds.to(dtype),
        added_cond_kwargs={"text_embeds": batch.pooled.to(dtype), "time_ids": batch.time_ids},
        return_dict=False,
    )[0]
    return prediction


def _bare(unet: Any) -> Any:
    return getattr(unet, "module", unet)


def batch_loss(unet: Any, batch: Batch, settings: Objective, dtype: torch.dtype) -> Tensor:
    """Loss of one batch: true noise on product and ring, the frozen base's own prediction everywhere else.

    What lies outside is a made-up backdrop; trained as true noise it would teach made-up backdrops.
    """
    noisy = objective.add_noise(batch.latents, batch.noise, settings.alphas, batch.timesteps)
    true = objective.target(batch.latents, batch.noise, settings.alphas, batch.timesteps, settings.prediction_type)
    frozen = true
    if settings.elsewhere_weight:
        bare = _bare(unet)
        with adapter_off(bare), torch.no_grad():
            frozen = predict(bare, batch, noisy, dtype).float()
    prediction = predict(unet, batch, noisy, dtype)
    elsewhere = (1 - batch.product - batch.ring).clamp_min(0)
    return objective.region_loss(
        prediction,
        targets=[true, true, frozen],
        regions=[batch.product, batch.ring, elsewhere],
        weights=[settings.product_weight, settings.ring_weight, settings.elsewhere_weight],
        sample_weights=objective.snr_weights(
            settings.alphas, batch.timesteps, settings.snr_gamma, settings.prediction_type
        ),
    )


def class_loss(unet: Any, batch: Batch, settings: Objective, dtype: torch.dtype) -> Tensor:
    """Loss of a batch of class pictures (prior preservation): true noise everywhere, min-SNR by each one's timestep."""
    noisy = objective.add_noise(batch.latents, batch.noise, settings.alphas, batch.timesteps)
    true = objective.target(batch.latents, batch.noise, settings.alphas, batch.timesteps, settings.prediction_type)
    weights = objective.snr_weights(settings.alphas, batch.timesteps, settings.snr_gamma, settings.prediction_type)
    prediction = predict(unet, batch, noisy, dtype)
    return objective.region_loss(prediction, [true], [torch.ones_like(batch.mask)], [1.0], weights)


def gradients(trainee: Trainee, step: int, batch_at: Callable[[int, int], Batch], settings: Objective) -> list[Tensor]:
    """Run the forward and backward passes of one optimizer step. No weight changes.

    Args:
        trainee: the UNet in training.
        step: optimizer steps done before.
        batch_at: (first sample number, count) -> Batch.
        settings: of the loss.

    Returns:
        One detached scalar loss per accumulated pass.
    """
    accelerator, batch = trainee.accelerator, trainee.memory.batch
    accumulation = accelerator.gradient_accumulation_steps
    per_step = batch * accumulation * accelerator.num_processes
    losses = []
    for micro in range(accumulation):
        first = step * per_step + (micro * accelerator.num_processes + accelerator.process_index) * batch
        with accelerator.accumulate(trainee.unet):
            sample = batch_at(first, batch)
            loss = batch_loss(trainee.unet, sample, settings, trainee.dtype)
            accelerator.backward(loss)
            if sample.prior is not None:  # a pass of its own: the product's activations are gone, gradients add up
                prior = settings.prior_weight * class_loss(trainee.unet, sample.prior, settings, trainee.dtype)
                accelerator.backward(prior)
                loss = loss.detach() + prior.detach()
        losses.append(loss.detach())
    return losses


def update(trainee: Trainee) -> float:
    """Clip the gradients, change the weights once, and clear the gradients.

    Returns:
        The gradient's norm before clipping.
    """
    trained = [p for group in trainee.optimizer.param_groups for p in group["params"]]
    grad_norm = float(trainee.accelerator.clip_grad_norm_(trained, trainee.max_grad_norm))
    trainee.optimizer.step()
    trainee.optimizer.zero_grad()
    return grad_norm


def _gradients_that_fit(
    trainee: Trainee, step: int, batch_at: Callable[[int, int], Batch], settings: Objective
) -> list[Tensor]:
    """`gradients`; out of memory, once more with settings that need less.

    Raises:
        OutOfMemory: the lower settings do not fit either, or there are none.
    """
    while True:
        try:
            return gradients(trainee, step, batch_at, settings)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # outside the handler: the error's frames hold the step's tensors, which have to go before memory is asked for
        trainee.memory.step_down(step, trainee.optimizer)


def run_loop(
    trainee: Trainee,
    batch_at: Callable[[int, int], Batch],
    settings: Objective,
    *,
    start: int,
    steps: int,
    observers: Sequence[Observer],
) -> None:
    """Train from optimizer step `start` to `steps`.

    Args:
        trainee: the UNet in training.
        batch_at: (first sample number, count) -> Batch.
        settings: of the loss.
        start: optimizer steps done before (0 for a new run).
        steps: optimizer steps of the whole run.
        observers: called after every step, in this order.
    """
    accelerator = trainee.accelerator
    trainee.unet.train()
    for step in range(start, steps):
        began = time.perf_counter()
        losses = _gradients_that_fit(trainee, step, batch_at, settings)
        grad_norm = update(trainee)
        if not accelerator.optimizer_step_was_skipped:  # as fp16's gradient scaler does with infinite gradients
            trainee.lr_schedule.step()  # once an optimizer step, however many processes there are
        report = StepReport(
            step=step + 1,
            steps=steps,
            loss=float(accelerator.gather(torch.stack(losses)).mean()),
            learning_rate=learning_rate(trainee.optimizer, trainee.lr_schedule),
            grad_norm=grad_norm,
            seconds=time.perf_counter() - began,
        )
        for observer in observers:
            observer.after_step(report)
