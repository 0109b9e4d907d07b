"""What a training run holds in memory: accelerator, adapted UNet, optimizer, schedule, examples. Called by the recipe.

`open_session` puts the parts together in the one order that works: examples first, since encoding them needs the VAE
and the text encoders, which leave memory before the UNet comes; checkpoints last, when all they restore is there.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from finetune.adapters.init_from import Parent, read_weights
from finetune.core.basemodel.resolve import ResolvedBase
from finetune.core.console import say
from finetune.core.device import forget_peak_memory, pick_dtype
from finetune.core.errors import RunError
from finetune.core.products.catalog import Workspace
from finetune.core.products.prepared import PreparedSet
from finetune.core.storage.durable import state_errors
from finetune.latents.examples import TrainingExamples, load_examples
from finetune.runs import folder as rundir
from finetune.settings import TrainConfig
from finetune.training import checkpoints, distributed, summary
from finetune.training.oom_backoff import BackOff
from finetune.training.optimizers import import_bitsandbytes, make_optimizer, make_schedule
from finetune.training.trackers import end_trackers, start_trackers
from finetune.unet import execution, lora
from finetune.unet.nf4 import load_frozen_unet

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator

    from finetune.latents.cache import CachedExamples
    from finetune.training.loop import Objective
    from finetune.training.pivotal_tuning import TokenTraining


@dataclass
class Session:
    """A run in memory, ready for its next step."""

    config: TrainConfig
    prepared: PreparedSet
    base: ResolvedBase
    run: rundir.RunFolder
    accelerator: Accelerator
    dtype: torch.dtype
    """Of the frozen base and the computation."""
    examples: CachedExamples
    held_out: CachedExamples | None
    """Examples whose loss is watched; None without validation."""
    unet: Any
    """With its adapter, as accelerate prepared it."""
    scheduler: Any
    """The base's noise schedule."""
    optimizer: Any
    schedule: Any
    """Of the learning rate."""
    memory: BackOff
    lora_config: dict[str, Any]
    """PEFT's."""
    size: lora.AdapterSize
    class_examples: CachedExamples | None = None
    """Class pictures for prior preservation; None without it."""
    tokens: TokenTraining | None = None
    """The trigger word's new tokens, where they are trained."""
    start: int = 0
    """Optimizer steps done before."""

    @property
    def device(self) -> str:
        """Where it computes."""
        return str(self.accelerator.device)

    @property
    def bare_unet(self) -> Any:
        """The UNet without what accelerate wraps it in."""
        return self.accelerator.unwrap_model(self.unet)

    def close_trackers(self) -> None:
        """Finish what accelerate logs to; the processes stay together, since the main one has a version to write."""
        with state_errors("the trackers' logs", near=self.run.path):
            end_trackers(self.accelerator)

    def last_good(self, step: int) -> str:
        """The newest checkpoint up to a step, in words, once the later ones, which are no good, are gone."""
        newest = distributed.main_only(lambda: checkpoints.drop_after(self.run.state, step))
        if newest is None:
            return "there is no good state from before"
        return f"the last good state is {newest.name} in {self.run.path.name}"

    def objective(self) -> Objective:
        """The settings of the loss."""
        from finetune.training.loop import Objective
        from finetune.training.objective import training_alphas

        o = self.config.objective
        return Objective(
            alphas=training_alphas(self.scheduler.alphas_cumprod, zero_snr=self.base.zero_snr).to(self.device),
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
    run: rundir.RunFolder,
    *,
    parent: Parent | None = None,
) -> Session:
    """Load everything a run needs, and go back to its newest checkpoint.

    Args:
        parent: the adapter whose weights a new run starts from.

    Raises:
        RunError: the prepared set has no examples, a tracker does not start, or the checkpoint can't be read.
        ConfigError: bitsandbytes is wanted and does not load.
    """
    _need_bitsandbytes(config)
    accelerator, dtype = _accelerator(config, run)
    device = str(accelerator.device)
    loaded = distributed.main_first(lambda: load_examples(workspace, prepared, base, config, device))
    examples, held_out = loaded.training, loaded.held_out
    execution.allow_tf32(device)
    unet, scheduler, lora_config, size = _adapted_unet(base, config, dtype, device, parent)
    t = config.train
    tokens = _tokens(config, prepared, base, loaded, device, dtype, parent) if config.adapter.token_embeddings else None
    optimizer, schedule = _optimizer(config, unet, tokens)
    unet, optimizer = accelerator.prepare(unet, optimizer)
    accelerator.register_for_checkpointing(schedule)
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
    start = checkpoints.load_newest(accelerator, run.state)
    if tokens:
        tokens.begin(start)
    distributed.main_only(lambda: rundir.trim_metrics(run.metrics, start))
    rank = config.adapter.rank
    say(f"  {size.modules} modules, {size.parameters:,} parameters, rank {rank}; {len(examples)} examples on {device}")
    _say_facts(config, examples, accelerator.num_processes)
    forget_peak_memory(device)  # encoding's is over; the run's is that of its steps
    if start:
        say(f"  going on from step {start} of {run.path.name}")
    return Session(
        config=config,
        prepared=prepared,
        base=base,
        run=run,
        accelerator=accelerator,
        dtype=dtype,
        examples=examples,
        held_out=held_out,
        unet=unet,
        scheduler=scheduler,
        optimizer=optimizer,
        schedule=schedule,
        memory=memory,
        lora_config=lora_config,
        size=size,
        class_examples=loaded.of_class,
        tokens=tokens,
        start=start,
    )


def _adapted_unet(
    base: ResolvedBase, config: TrainConfig, dtype: torch.dtype, device: str, parent: Parent | None
) -> tuple[Any, Any, dict[str, Any], lora.AdapterSize]:
    """The frozen UNet with its adapter, new or with the weights it starts from; the base's noise schedule; PEFT's
    configuration and the adapter's size."""
    unet, scheduler = load_frozen_unet(base, config.memory.quantize, dtype=dtype, device=device)
    execution.set_layout(unet, channels_last=config.memory.channels_last)
    a, seed = config.adapter, config.train.seed
    lora_config, size = lora.add_lora(
        unet, rank=a.rank, alpha=a.effective_alpha, rslora=a.rslora, dora=a.dora, targets=a.targets, seed=seed
    )
    if parent is not None:
        lora.load_lora_state(unet, read_weights(parent))
        say(f"  starts from the adapter of '{parent.name}', version {parent.version}")
    return unet, scheduler, lora_config, size


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


def _say_facts(config: TrainConfig, examples: CachedExamples, count: int) -> None:
    """Say what will be trained, as it came out; `count` processes."""
    a, o, t = config.adapter, config.objective, config.train
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
        processes=count,
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
    """The trigger word's new tokens; they begin as those of the adapter it starts from, where that has some."""
    from finetune.training.pivotal_tuning import TokenTraining

    count = config.adapter.token_embeddings
    begin = parent.tokens if parent else None
    if parent:
        say(f"  its {count} tokens too" if begin else f"  it has no tokens: the {count} begin as the class noun's")
    return TokenTraining(
        base,
        examples.training,
        examples.held_out,
        token=prepared.token,
        class_noun=prepared.class_noun,
        count=count,
        until=(config.train.steps + 1) // 2,
        dtype=dtype,
        device=device,
        begin=begin,
    )


def _need_bitsandbytes(config: TrainConfig) -> None:
    """Import it where it is wanted, before what may take an hour."""
    if config.train.optimizer == "adamw8bit":
        import_bitsandbytes("optim")
    if config.memory.quantize != "none":
        import_bitsandbytes("nn")


def _accelerator(config: TrainConfig, run: rundir.RunFolder) -> tuple[Accelerator, torch.dtype]:
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
        raise RunError(f"accelerate sees {accelerator.num_processes} processes", "start several by torchrun")
    start_trackers(accelerator, run.path, config.model_dump(mode="json"))
    return accelerator, dtype
