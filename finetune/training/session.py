"""What a training run holds in memory: the trainee (UNet, optimizer, schedule), examples, run folder.

The order of `open_session` matters: encode the examples before the UNet loads, since encoding needs the VAE and the
text encoders, which are freed then; restore the checkpoint last, when everything it restores exists.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from finetune.adapters.init_from import Parent, read_weights
from finetune.core.basemodel.resolve import ResolvedBase
from finetune.core.console import count, say
from finetune.core.device import forget_peak_memory, pick_dtype
from finetune.core.errors import RunError
from finetune.core.products.catalog import Workspace
from finetune.core.products.prepared import PreparedSet
from finetune.core.storage.durable import state_errors
from finetune.latents.class_images import ClassImages
from finetune.latents.examples import TrainingExamples, WantedExamples, load_examples
from finetune.runs.folder import RunFolder, trim_metrics
from finetune.settings import TrainConfig
from finetune.training import checkpoints, distributed, summary
from finetune.training.oom_backoff import BackOff
from finetune.training.optimizers import make_optimizer, make_schedule
from finetune.training.trackers import end_trackers, start_trackers
from finetune.training.trainee import Trainee
from finetune.unet import execution, lora
from finetune.unet.nf4 import import_bitsandbytes, load_frozen_unet

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator

    from finetune.latents.cache import CachedExamples
    from finetune.training.loop import Objective
    from finetune.training.pivotal_tuning import TokenTraining


@dataclass(frozen=True)
class AdaptedUnet:
    """A frozen UNet with a new adapter."""

    unet: Any
    peft_config: dict[str, Any]
    """PEFT's LoraConfig as plain values."""
    size: lora.AdapterSize


@dataclass(frozen=True)
class Session:
    """A run in memory, ready for its next step."""

    config: TrainConfig
    prepared: PreparedSet
    base: ResolvedBase
    run: RunFolder
    trainee: Trainee
    examples: TrainingExamples
    noise_scheduler: Any
    """diffusers' scheduler of the base: the noise added to latents at each timestep."""
    adapted: AdaptedUnet
    tokens: TokenTraining | None = None
    """New tokens for the trigger word, where they are trained."""
    start: int = 0
    """Optimizer steps done before."""

    @property
    def accelerator(self) -> Accelerator:
        """accelerate's Accelerator of this process."""
        return self.trainee.accelerator

    def close_trackers(self) -> None:
        """Close the trackers; every process goes on, since the main one still has to write the version."""
        with state_errors("the trackers' logs", near=self.run.path):
            end_trackers(self.accelerator)

    def last_good(self, step: int) -> str:
        """Delete the checkpoints after a step; return a sentence that names the newest one left."""
        newest = distributed.main_only(lambda: checkpoints.drop_after(self.run.state, step))
        if newest is None:
            return "there is no earlier checkpoint"
        return f"the last good checkpoint is {newest.name} of run {self.run.path.name}"

    def objective(self) -> Objective:
        """The settings of the loss."""
        from finetune.training.loop import Objective
        from finetune.training.objective import training_alphas

        o, alphas = self.config.objective, self.noise_scheduler.alphas_cumprod
        return Objective(
            alphas=training_alphas(alphas, zero_snr=self.base.zero_snr).to(self.trainee.device),
            prediction_type=self.base.prediction_type,
            snr_gamma=o.snr_gamma,
            product_weight=o.product_weight,
            ring_weight=o.ring_weight,
            elsewhere_weight=o.base_preservation_weight,
            prior_weight=o.prior_weight,
        )

    def save(self, step: int) -> None:
        """Write the checkpoint of a step."""
        checkpoints.save_checkpoint(self.accelerator, self.run.state, step, self.config.train.keep_checkpoints)


def open_session(
    workspace: Workspace,
    prepared: PreparedSet,
    config: TrainConfig,
    base: ResolvedBase,
    run: RunFolder,
    *,
    parent: Parent | None = None,
) -> Session:
    """Load everything a run needs, and restore its newest checkpoint.

    Args:
        workspace: holds the caches.
        prepared: the examples to train on.
        config: every setting of the run.
        base: the base, found on disk.
        run: the run's folder.
        parent: the adapter whose weights a new run starts from.

    Raises:
        RunError: the prepared set has no examples, a tracker does not start, or the checkpoint can't be read.
        ConfigError: bitsandbytes is wanted and does not load.
    """
    _need_bitsandbytes(config)
    accelerator, dtype = _accelerator(config, run)
    device = str(accelerator.device)
    wanted = _wanted_examples(config)
    examples = distributed.main_first(lambda: load_examples(workspace.cache, prepared, base, wanted, device))
    execution.allow_tf32(device)
    adapted, noise_scheduler = _adapted_unet(base, config, dtype, device, parent)
    wants_tokens = bool(config.adapter.token_embeddings)
    tokens = _tokens(config, prepared, base, examples, device, dtype, parent) if wants_tokens else None
    trainee = _trainee(config, accelerator, dtype, adapted, tokens, run)
    start = checkpoints.load_newest(accelerator, run.state)
    if tokens:
        tokens.begin(start)
    distributed.main_only(lambda: trim_metrics(run.metrics, start))
    _say_facts(config, examples.training, adapted.size, accelerator)
    forget_peak_memory(device)  # the peak so far is of encoding; the run's peak is that of its steps
    if start:
        say(f"  resuming from step {start} of run {run.path.name}")
    return Session(config, prepared, base, run, trainee, examples, noise_scheduler, adapted, tokens, start)


def _wanted_examples(config: TrainConfig) -> WantedExamples:
    o = config.objective
    prior = ClassImages(o.prior_pictures, o.prior_weight, config.data.size, config.memory.precision)
    held_out = config.validation.examples if config.validation.every else None
    return WantedExamples(ring_px=o.ring_px, held_out=held_out, class_images=prior if o.prior_weight else None)


def _adapted_unet(
    base: ResolvedBase, config: TrainConfig, dtype: torch.dtype, device: str, parent: Parent | None
) -> tuple[AdaptedUnet, Any]:
    """The frozen UNet with its adapter, new or with the weights it starts from; and the base's noise scheduler."""
    unet, noise_scheduler = load_frozen_unet(base, config.memory.quantize, dtype=dtype, device=device)
    execution.set_layout(unet, channels_last=config.memory.channels_last)
    a, seed = config.adapter, config.train.seed
    lora_config, size = lora.add_lora(
        unet, rank=a.rank, alpha=a.effective_alpha, rslora=a.rslora, dora=a.dora, targets=a.targets, seed=seed
    )
    if parent is not None:
        lora.load_lora_state(unet, read_weights(parent))
        say(f"  starting from the adapter of '{parent.name}', version {parent.version}")
    return AdaptedUnet(unet, lora_config, size), noise_scheduler


def _trainee(
    config: TrainConfig,
    accelerator: Accelerator,
    dtype: torch.dtype,
    adapted: AdaptedUnet,
    tokens: TokenTraining | None,
    run: RunFolder,
) -> Trainee:
    """Optimizer and schedule, prepared by accelerate; what a checkpoint holds; the memory settings in force."""
    t = config.train
    optimizer, lr_schedule = _optimizer(config, adapted.unet, tokens)
    unet, optimizer = accelerator.prepare(adapted.unet, optimizer)
    accelerator.register_for_checkpointing(lr_schedule)
    if tokens:
        accelerator.register_for_checkpointing(tokens.rows)
    checkpoints.save_only_the_adapter(accelerator)
    memory = BackOff(
        accelerator,
        unet,
        run.path / "memory.json",
        level=config.memory.gradient_checkpointing,
        batch=t.batch,
        save=lambda step: checkpoints.save_checkpoint(accelerator, run.state, step, t.keep_checkpoints),
    )
    if t.compile:
        execution.compile_blocks(accelerator.unwrap_model(unet))
    return Trainee(accelerator, unet, optimizer, lr_schedule, dtype, memory, t.max_grad_norm)


def _optimizer(config: TrainConfig, unet: Any, tokens: TokenTraining | None) -> tuple[Any, Any]:
    """The optimizer of the adapter, and of the tokens where they are trained; its learning-rate schedule."""
    t = config.train
    optimizer = make_optimizer(
        t.optimizer,
        lora.lora_parameters(unet),
        learning_rate=t.learning_rate,
        weight_decay=t.weight_decay,
        betas=t.betas,
        min_8bit_size=t.min_8bit_size,
    )
    if tokens:
        rate = config.adapter.token_learning_rate
        optimizer.add_param_group({"params": tokens.parameters(), "lr": rate, "weight_decay": 0.0})
    return optimizer, make_schedule(t.schedule, optimizer, warmup=t.warmup, steps=t.steps)


def _say_facts(config: TrainConfig, examples: CachedExamples, size: lora.AdapterSize, accelerator: Accelerator) -> None:
    """Print what will be trained: the adapter's size, the regions of the loss, samples and learning rate per step."""
    a, o, t = config.adapter, config.objective, config.train
    say(
        f"  {count(size.modules, 'module')}, {size.parameters:,} parameters, rank {a.rank}; "
        f"{count(len(examples), 'example')} on {accelerator.device}"
    )
    weights = {
        "product_weight": o.product_weight,
        "ring_weight": o.ring_weight,
        "elsewhere": o.base_preservation_weight,
    }
    for line in summary.region_lines(examples.product, examples.ring, **weights):
        say(f"  {line}")
    line = summary.step_line(
        batch=t.batch,
        accumulation=t.accumulation,
        processes=accelerator.num_processes,
        learning_rate=t.learning_rate,
        rank=a.rank,
        alpha=a.effective_alpha,
        rslora=a.rslora,
    )
    say(f"  {line}")


def _tokens(
    config: TrainConfig,
    prepared: PreparedSet,
    base: ResolvedBase,
    examples: TrainingExamples,
    device: str,
    dtype: torch.dtype,
    parent: Parent | None,
) -> TokenTraining:
    """New tokens for the trigger word; they start from the parent adapter's tokens where it has some."""
    from finetune.training.pivotal_tuning import NewTokens, TokenTraining

    count = config.adapter.token_embeddings
    begin = parent.tokens if parent else None
    if parent:
        new = f"{count} new tokens start" if count > 1 else "the new token starts"
        say(
            f"  the {count} trigger tokens start from the parent adapter's"
            if begin
            else f"  the parent adapter has no trigger tokens; {new} from the class noun's embedding"
        )
    return TokenTraining(
        base,
        examples,
        NewTokens(prepared.token, prepared.class_noun, count),
        until=(config.train.steps + 1) // 2,
        dtype=dtype,
        device=device,
        begin=begin,
    )


def _need_bitsandbytes(config: TrainConfig) -> None:
    """Import bitsandbytes where it is needed, before the encoding that may take an hour."""
    if config.train.optimizer == "adamw8bit":
        import_bitsandbytes("optim")
    if config.memory.quantize != "none":
        import_bitsandbytes("nn")


def _accelerator(config: TrainConfig, run: RunFolder) -> tuple[Accelerator, torch.dtype]:
    """accelerate's Accelerator with its trackers, and the dtype of the frozen base."""
    from accelerate import Accelerator
    from accelerate.utils import ProjectConfiguration

    device = distributed.start().device.type
    execution.set_deterministic(config.train.deterministic, device)
    dtype = pick_dtype(config.memory.precision, device, batch=config.train.batch)
    name = {"torch.bfloat16": "bf16", "torch.float16": "fp16"}.get(str(dtype), "no")
    accelerator = Accelerator(
        gradient_accumulation_steps=config.train.accumulation,
        mixed_precision=name,
        log_with=list(config.train.trackers) or None,
        project_config=ProjectConfiguration(project_dir=str(run.path), logging_dir=str(run.path / "logs")),
        cpu=device == "cpu",
    )
    logging.getLogger("accelerate").setLevel(logging.ERROR)
    if accelerator.num_processes != distributed.count():
        raise RunError(
            f"accelerate started {accelerator.num_processes} processes, the environment names {distributed.count()}",
            "start several processes with torchrun",
        )
    start_trackers(accelerator, run.path, config.model_dump(mode="json"))
    return accelerator, dtype
