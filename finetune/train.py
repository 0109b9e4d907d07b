"""The training recipe: prepared set + base + config -> adapter version. The only part of training that sees the config.

Everything that can be wrong with the request is said before a model loads. A run that died goes on by itself; a run
whose outcome is there already is not made again.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from finetune import plan, rundir
from finetune.core import fingerprint, versions
from finetune.core.basemodel import ResolvedBase, load_unet, resolve_base
from finetune.core.catalog import Workspace
from finetune.core.config import dump_yaml
from finetune.core.console import say, warn
from finetune.core.device import peak_memory_mib, pick_device, pick_dtype
from finetune.core.errors import ConfigError, OutOfMemory, RunError
from finetune.core.prepared import PreparedSet
from finetune.publish import TRAIN_FORMAT, adapter_manifest, write_version
from finetune.settings import TrainConfig

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator

    from finetune.backoff import BackOff
    from finetune.cache import CachedExamples
    from finetune.loop import Observer
    from finetune.watch import StopRequest


@dataclass(frozen=True)
class TrainResult:
    """An adapter version and whether this call made it."""

    version: versions.AdapterVersion
    made: bool
    seconds: float
    steps_per_second: float
    peak_mib: float


def training_fingerprint(prepared: str, base: ResolvedBase, config: TrainConfig) -> str:
    """What an adapter depends on: the prepared set's fingerprint, the base's content, settings that change weights."""
    settings = config.model_dump(mode="json", exclude={"preview", "base", "data"})
    for silent in ("trackers", "checkpoint_every", "keep_checkpoints"):
        settings["train"].pop(silent)
    for silent in ("gradient_checkpointing", "check"):  # what is computed again is the same
        settings["memory"].pop(silent)
    return fingerprint.of_value([TRAIN_FORMAT, prepared, base.fingerprint, settings])


def check_request(config: TrainConfig) -> ResolvedBase:
    """Resolve the base and hold the config against it.

    Raises:
        BaseModelError: the base is not on disk or no SDXL model.
        ConfigError: the config asks for something this base can't do.
    """
    base = resolve_base(config.base.model, config.base.revision)
    kinds = {k for k, share in config.data.mask_shares.items() if share}
    if base.channels == 4 and kinds != {"full"}:
        say("  base has 4 channels: plain objective, inpainting masks are not used in training")
    if config.data.size != base.size:
        warn(f"examples of {config.data.size} px on a base made for {base.size} px")
    if "tensorboard" in config.train.trackers:
        try:
            import tensorboard  # noqa: F401
        except ImportError as error:
            raise ConfigError("tensorboard is not installed", "pip install tensorboard, or trackers: []") from error
    return base


def train_adapter(
    workspace: Workspace, prepared: PreparedSet, config: TrainConfig, *, base: ResolvedBase, now: datetime
) -> TrainResult:
    """Train, or find, the adapter of a prepared set.

    Args:
        base: From `check_request`.
        now: Names a new run.
    """
    print_of = training_fingerprint(prepared.fingerprint, base, config)
    for version in reversed(versions.list_versions(workspace, prepared.sku)):
        if version.manifest.get("fingerprint") == print_of:
            return TrainResult(version, made=False, seconds=0, steps_per_second=0, peak_mib=0)
    if config.memory.check:
        plan.check_memory(config, base, workspace.cache)
    run_id = f"{now:%Y%m%d-%H%M%S}-{print_of[:6]}"
    run = rundir.open_run(workspace.runs / prepared.sku, print_of, dump_yaml(config), run_id)
    try:
        return _train(workspace, prepared, config, base, run, print_of)
    except (RuntimeError, MemoryError) as error:
        from finetune.backoff import is_out_of_memory

        if is_out_of_memory(error):
            raise OutOfMemory(
                "the device's memory does not suffice for this run",
                "`packshot plan` shows what fits; a smaller preset, adapter.rank or data.size needs less",
            ) from error
        raise


def _train(
    workspace: Workspace,
    prepared: PreparedSet,
    config: TrainConfig,
    base: ResolvedBase,
    run: rundir.RunFolder,
    print_of: str,
) -> TrainResult:
    from finetune import lora, resume
    from finetune.backoff import BackOff
    from finetune.optimizers import eight_bit_share, make_optimizer, make_schedule

    began = time.perf_counter()
    accelerator, device, dtype = _accelerator(config, run)
    examples = _load_examples(workspace, prepared, base, config, device)
    unet, scheduler = load_unet(base, dtype=dtype, device=device)
    a = config.adapter
    lora_config, size = lora.add_lora(
        unet,
        rank=a.rank,
        alpha=a.effective_alpha,
        rslora=a.rslora,
        dora=a.dora,
        targets=a.targets,
        seed=config.train.seed,
    )
    t = config.train
    optimizer = make_optimizer(
        t.optimizer,
        lora.lora_parameters(unet),
        learning_rate=t.learning_rate,
        weight_decay=t.weight_decay,
        betas=t.betas,
        min_8bit_size=t.min_8bit_size,
    )
    schedule = make_schedule(t.schedule, optimizer, warmup=t.warmup, steps=t.steps)
    unet, optimizer = accelerator.prepare(unet, optimizer)
    accelerator.register_for_checkpointing(schedule)
    resume.save_only_the_adapter(accelerator)
    memory = BackOff(
        accelerator,
        unet,
        run.path / "memory.json",
        level=config.memory.gradient_checkpointing,
        batch=t.batch,
        save=lambda step: resume.save_checkpoint(accelerator, run.state, step, t.keep_checkpoints),
    )
    start = resume.load_newest(accelerator, run.state)
    rundir.trim_metrics(run.metrics, start)
    say(
        f"  {size.modules} modules, {size.parameters:,} parameters, rank {a.rank}; {len(examples)} examples on {device}"
    )
    if start:
        say(f"  going on from step {start} of {run.path.name}")
    rate = _run(
        accelerator, unet, optimizer, schedule, scheduler, examples, config, base, prepared, run, start, dtype, memory
    )
    if t.optimizer == "adamw8bit":
        say(f"  {eight_bit_share(optimizer):.0%} of the optimizer's state in 8 bits")
    accelerator.end_training()
    peak = peak_memory_mib(device)
    manifest = adapter_manifest(prepared, base, config, print_of, size.modules, size.parameters)
    state = lora.lora_state(accelerator.unwrap_model(unet))
    seconds = time.perf_counter() - began
    story = {"run": run.path.name, "seconds": round(seconds, 1), "steps_per_second": round(rate, 3)}
    version = write_version(workspace, prepared.sku, state, lora_config, manifest, story)
    run.finish()
    return TrainResult(version, made=True, seconds=seconds, steps_per_second=rate, peak_mib=peak)


def _accelerator(config: TrainConfig, run: rundir.RunFolder) -> tuple[Accelerator, str, torch.dtype]:
    """accelerate's Accelerator with its trackers, the device, and the dtype of the frozen base."""
    from accelerate import Accelerator
    from accelerate.utils import ProjectConfiguration

    device = pick_device()
    dtype = pick_dtype(config.memory.precision, device, batch=config.train.batch)
    name = {"torch.bfloat16": "bf16", "torch.float16": "fp16"}.get(str(dtype), "no")
    accelerator = Accelerator(
        gradient_accumulation_steps=config.train.accumulation,
        mixed_precision=name,
        log_with=list(config.train.trackers) or None,
        project_config=ProjectConfiguration(project_dir=str(run.path), logging_dir=str(run.path)),
        cpu=device == "cpu",
    )
    logging.getLogger("accelerate").setLevel(logging.ERROR)
    if config.train.trackers:
        accelerator.init_trackers("logs")
        if len(accelerator.trackers) != len(config.train.trackers):
            raise RunError("a tracker could not be started", "see train.trackers; accelerate drops those not installed")
    return accelerator, str(accelerator.device), dtype


def _load_examples(
    workspace: Workspace, prepared: PreparedSet, base: ResolvedBase, config: TrainConfig, device: str
) -> CachedExamples:
    """The training split of the prepared set, through Hugging Face datasets and the latent cache."""
    from datasets import load_dataset

    from finetune.cache import build_cache, row_from_dataset

    dataset = load_dataset(
        "imagefolder",
        data_dir=str(prepared.folder),
        split="train",
        cache_dir=str(workspace.cache / "datasets" / prepared.fingerprint),
    )
    rows = [row_from_dataset(item) for item in dataset if item["split"] == "train"]
    if not rows:
        raise RunError(
            f"the prepared set of '{prepared.sku}' has no training examples", "prepare it again with --force"
        )
    if prepared.kind == "brand":  # a style: the whole picture is what is to be learned
        rows = [replace(row, product=np.ones_like(row.product)) for row in rows]
    shapes = len({row.product.shape for row in rows})
    covered = sum(float(row.product.mean()) for row in rows) / len(rows)
    framed = f" in frames of {shapes} shapes" if shapes > 1 else ""
    say(f"  {len(rows)} training examples{framed}, product covers {covered:.0%} of a picture on average")
    last = [0.0]

    def progress(done: int, total: int) -> None:
        if done == total or time.monotonic() - last[0] > 10:
            last[0] = time.monotonic()
            say(f"  caching latents and text embeddings: {done}/{total}")

    return build_cache(workspace.cache, base, rows, ring_px=config.objective.ring_px, device=device, progress=progress)


def _run(
    accelerator: Accelerator,
    unet: Any,
    optimizer: Any,
    schedule: Any,
    scheduler: Any,
    examples: CachedExamples,
    config: TrainConfig,
    base: ResolvedBase,
    prepared: PreparedSet,
    run: rundir.RunFolder,
    start: int,
    dtype: torch.dtype,
    memory: BackOff,
) -> float:
    """Build the loop's parts from the config and run it; returns optimizer steps a second."""
    from finetune.batches import make_batch
    from finetune.loop import Objective, run_loop
    from finetune.observers import ProgressBar

    t, o = config.train, config.objective
    device = str(accelerator.device)
    settings = Objective(
        alphas=scheduler.alphas_cumprod.to(device),
        prediction_type=base.prediction_type,
        snr_gamma=o.snr_gamma,
        product_weight=o.product_weight,
        ring_weight=o.ring_weight,
        elsewhere_weight=o.elsewhere_weight,
    )
    with ProgressBar(t.steps, start) as bar, _stop_request(accelerator, config, run) as stop:
        observers = _observers(accelerator, unet, config, base, prepared, run, dtype)
        run_loop(
            accelerator,
            unet,
            optimizer,
            schedule,
            batch_at=lambda first, count: make_batch(
                examples,
                first=first,
                count=count,
                seed=t.seed,
                caption_dropout=o.caption_dropout,
                timesteps_total=len(settings.alphas),
                device=device,
            ),
            settings=settings,
            dtype=dtype,
            memory=memory,
            start=start,
            steps=t.steps,
            max_grad_norm=t.max_grad_norm,
            observers=[bar, *observers, stop],
        )
        return bar.rate


def _stop_request(accelerator: Accelerator, config: TrainConfig, run: rundir.RunFolder) -> StopRequest:
    """Ctrl-C for this run: any process that was asked stops all."""
    import torch

    from finetune import resume
    from finetune.watch import StopRequest

    def agree(asked: bool) -> bool:
        if accelerator.num_processes == 1:
            return asked
        flag = torch.tensor([float(asked)], device=accelerator.device)
        return bool(accelerator.gather(flag).max() > 0)

    keep = config.train.keep_checkpoints
    return StopRequest(lambda step: resume.save_checkpoint(accelerator, run.state, step, keep), agree)


def _observers(
    accelerator: Accelerator,
    unet: Any,
    config: TrainConfig,
    base: ResolvedBase,
    prepared: PreparedSet,
    run: rundir.RunFolder,
    dtype: torch.dtype,
) -> list[Observer]:
    """What looks at every step, in this order: divergence before anything is kept, metrics, checkpoints, previews."""
    from finetune import resume
    from finetune.observers import Every, Metrics
    from finetune.preview import Previewer
    from finetune.watch import Divergence

    t = config.train
    observers: list[Observer] = [
        Divergence(scaled=accelerator.mixed_precision == "fp16"),
        Metrics(run.metrics, accelerator),
        Every(
            t.checkpoint_every, lambda step: resume.save_checkpoint(accelerator, run.state, step, t.keep_checkpoints)
        ),
    ]
    if config.preview.every and accelerator.is_main_process:
        prompts = [p.format(token=prepared.token, class_noun=prepared.class_noun) for p in config.preview.prompts]
        previewer = Previewer(
            base,
            accelerator.unwrap_model(unet),
            run.previews,
            prompts=prompts,
            steps=config.preview.steps,
            seed=config.preview.seed,
            dtype=dtype,
        )
        observers.append(Every(config.preview.every, previewer.draw))
    return observers


def workspace_path(path: Path, workspace: Workspace) -> str:
    """A path as the user would type it from the workspace."""
    return str(path.relative_to(workspace.root)) if path.is_relative_to(workspace.root) else str(path)
