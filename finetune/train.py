"""The training recipe: prepared set + base + config -> adapter version. The only part of training that sees the config.

Everything that can be wrong with the request is said before a model loads. A run that died goes on by itself; a run
whose outcome is there already is not made again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from finetune.adapters.init_from import Parent, Shape, find_parent
from finetune.adapters.publish import TRAIN_FORMAT, TrainedWeights, adapter_manifest, write_version
from finetune.core import fingerprint
from finetune.core.adapters import versions
from finetune.core.adapters.token_embeddings import ENTRY, manifest_entry
from finetune.core.basemodel.resolve import ResolvedBase, resolve_base
from finetune.core.config import dump_yaml, with_recorded_names
from finetune.core.console import is_main_process, say, warn
from finetune.core.device import is_out_of_memory, peak_memory_mib, pick_device, pick_dtype
from finetune.core.errors import BaseModelError, ConfigError, OutOfMemory, PackshotError, RunError
from finetune.core.products.catalog import Workspace
from finetune.core.products.prepared import PreparedSet
from finetune.core.storage.durable import check_writable
from finetune.memory import phases
from finetune.runs import folder as rundir
from finetune.settings import TrainConfig
from finetune.training import distributed
from finetune.training.optimizers import check_optimizer
from finetune.training.trackers import check_trackers
from finetune.unet import execution
from finetune.unet.lora import TARGETS

if TYPE_CHECKING:
    from finetune.latents.batches import Batch
    from finetune.training.loop import Observer
    from finetune.training.session import Session
    from finetune.training.stopping import StopRequest
    from finetune.validation.loss import Validator


@dataclass(frozen=True)
class TrainResult:
    """An adapter version and whether this call made it."""

    version: versions.AdapterVersion
    made: bool
    seconds: float
    steps_per_second: float
    peak_mib: float
    report: Path | None = None
    """The page of the run that made it, where it is on disk."""


def training_fingerprint(prepared: str, base: ResolvedBase, config: TrainConfig, parent: str = "") -> str:
    """What an adapter depends on: the prepared set, the base's content, and every setting that changes weights.

    Args:
        prepared: fingerprint of the prepared set.
        parent: fingerprint of the adapter it starts from; empty for none. It stands for `adapter.init_from`.
    """
    from finetune.validation.selection import weight_settings

    settings = with_recorded_names(config.model_dump(mode="json", exclude={"preview", "base", "data", "validation"}))
    settings["validation"] = weight_settings(config)
    for silent in ("trackers", "checkpoint_every", "keep_checkpoints"):
        settings["train"].pop(silent)
    for silent in ("gradient_checkpointing", "check"):  # what is computed again is the same
        settings["memory"].pop(silent)
    if distributed.count() > 1:  # each takes `train.batch` samples a step
        settings["processes"] = distributed.count()
    if not config.objective.prior_weight:
        for idle in ("prior_weight", "prior_pictures"):
            settings["objective"].pop(idle)
    settings["adapter"].pop("init_from")
    if parent:
        settings["adapter"]["origin"] = parent
    return fingerprint.of_value([TRAIN_FORMAT, prepared, base.fingerprint, settings])


def check_request(config: TrainConfig) -> ResolvedBase:
    """Resolve the base and hold the config against it.

    Raises:
        BaseModelError: the base is not on disk, no SDXL model, or its schedule can't be trained.
        ConfigError: the config asks for something this base can't do.
    """
    base = resolve_base(config.base.model, config.base.revision)
    check_optimizer(config.train.optimizer)
    check_schedule(base)
    kinds = {k for k, share in config.data.mask_shares.items() if share}
    if base.channels == 4 and kinds != {"full"}:
        say("  base has 4 channels: plain objective, inpainting masks are not used in training")
    if config.data.size != base.size:
        warn(f"examples of {config.data.size} px on a base made for {base.size} px")
    if config.memory.precision == "fp16":
        pick_dtype("fp16", pick_device())
    if config.train.compile:
        execution.check_compiler()
    if config.adapter.token_embeddings and distributed.count() > 1:
        raise ConfigError("adapter.token_embeddings trains in one process", "start one, or set it to 0")
    check_trackers(config.train.trackers)
    return base


def check_schedule(base: ResolvedBase) -> None:
    """Refuse a base whose noise schedule and prediction can't be trained together.

    Raises:
        BaseModelError: it predicts neither noise nor v, or noise where its schedule ends in pure noise.
    """
    if base.prediction_type not in ("epsilon", "v_prediction"):
        raise BaseModelError(
            f"base '{base.name}' predicts '{base.prediction_type}'; Packshot trains epsilon and v_prediction",
            "use a base of SDXL's kind",
        )
    if base.zero_snr and base.prediction_type == "epsilon":
        single = "the empty tensor `v_pred` in the checkpoint"
        where = single if base.layout == "single-file" else "prediction_type: v_prediction in scheduler_config.json"
        raise BaseModelError(
            f"base '{base.name}' predicts noise, but its schedule ends in pure noise (zero terminal SNR), "
            "where the noise tells nothing of the picture",
            f"if its UNet predicts v, say so ({where}); else take "
            f"{'`ztsnr` out of the checkpoint' if base.layout == 'single-file' else 'rescale_betas_zero_snr out'}",
        )


def find_training_parent(
    workspace: Workspace,
    sku: str,
    config: TrainConfig,
    base: ResolvedBase,
    *,
    hash_of: Callable[[Path], str] = fingerprint.of_file,
) -> Parent | None:
    """The adapter that a SKU's starts from by `adapter.init_from`, held against the config; None for none.

    Args:
        hash_of: gives a file's fingerprint.

    Raises:
        PackshotError: as `finetune.adapters.init_from.find_parent`.
    """
    a = config.adapter
    targets = tuple(sorted(TARGETS[a.targets]))
    shape = Shape(rank=a.rank, alpha=a.effective_alpha, rslora=a.rslora, dora=a.dora, targets=targets)
    return find_parent(workspace, sku, a.init_from, base, shape, tokens=a.token_embeddings, hash_of=hash_of)


def train_adapter(
    workspace: Workspace, prepared: PreparedSet, config: TrainConfig, *, base: ResolvedBase, now: datetime
) -> TrainResult:
    """Train, or find, the adapter of a prepared set.

    Args:
        base: From `check_request`.
        now: Names a new run.
    """
    parent = find_training_parent(workspace, prepared.sku, config, base)
    identity = training_fingerprint(prepared.fingerprint, base, config, parent.fingerprint if parent else "")
    for version in distributed.main_only(lambda: list(reversed(versions.list_versions(workspace, prepared.sku)))):
        if version.manifest.get("fingerprint") == identity:
            pages = sorted((workspace.runs / prepared.sku).glob(f"*-{identity[:6]}/report.html"))
            found = pages[-1] if pages else None  # a run's folder may have been tidied away
            return TrainResult(version, made=False, seconds=0, steps_per_second=0, peak_mib=0, report=found)
    distributed.main_only(lambda: check_writable("the adapter", workspace.adapters / prepared.sku))
    say(f"training {prepared.sku} on {base.name}")
    if config.memory.check:
        distributed.main_first(lambda: _check_memory(workspace, prepared, config, base))
    run_id = f"{now:%Y%m%d-%H%M%S}-{identity[:6]}"
    runs = workspace.runs / prepared.sku
    run = distributed.main_only(lambda: rundir.open_run(runs, identity, dump_yaml(config), run_id))
    try:
        return _train(workspace, prepared, config, base, run, identity, parent)
    except PackshotError:
        if is_main_process():
            run.forget_unless_begun()
        raise
    except (RuntimeError, MemoryError) as error:
        if distributed.lost_another(error):
            raise RunError("another process of this run has ended", "it says why; the same command goes on") from error
        if is_out_of_memory(error):
            raise OutOfMemory(
                "the device's memory does not suffice for this run",
                "`packshot plan` shows what fits; a smaller preset, adapter.rank or data.size needs less",
            ) from error
        raise


def _check_memory(workspace: Workspace, prepared: PreparedSet, config: TrainConfig, base: ResolvedBase) -> None:
    from finetune.latents.class_images import missing_pictures

    wanted = config.objective.prior_pictures if config.objective.prior_weight else 0
    missing = missing_pictures(workspace.cache / "class", base, prepared.class_noun, wanted)
    phases.check_memory(config, base, workspace.cache, draw_class=bool(missing))


def _train(
    workspace: Workspace,
    prepared: PreparedSet,
    config: TrainConfig,
    base: ResolvedBase,
    run: rundir.RunFolder,
    identity: str,
    parent: Parent | None,
) -> TrainResult:
    from finetune.runs.report import reported_if_stopped, write_report
    from finetune.training.optimizers import eight_bit_share
    from finetune.training.session import open_session
    from finetune.unet import lora
    from finetune.validation.session import choose_step, open_validator

    began = time.perf_counter()
    session = open_session(workspace, prepared, config, base, run, parent=parent)
    validator = open_validator(session)
    with reported_if_stopped(run, main=session.accelerator.is_main_process):
        rate = _run(session, validator)
        peak = peak_memory_mib(session.device)
        choice = choose_step(session, validator, workspace.cache / "evaluate")
    if config.train.optimizer == "adamw8bit":
        say(f"  {eight_bit_share(session.optimizer):.0%} of the optimizer's state in 8 bits")
    session.close_trackers()
    size = session.size
    weights = TrainedWeights(size.modules, size.parameters, choice.step, distributed.count())
    recorded = with_recorded_names(config.model_dump(mode="json"))
    manifest = adapter_manifest(prepared, base, recorded, fingerprint=identity, weights=weights, parent=parent)
    state = lora.lora_state(session.bare_unet)
    seconds = time.perf_counter() - began
    run_summary = {"run": run.path.name, "seconds": round(seconds, 1), "steps_per_second": round(rate, 3)}
    run_summary |= {"choice": choice.as_dict()}

    tokens = session.tokens.tensors() if session.tokens else None
    if tokens:
        manifest[ENTRY] = manifest_entry(prepared.token, tokens)

    def publish() -> versions.AdapterVersion:
        version = write_version(workspace, prepared.sku, state, session.lora_config, manifest, run_summary, tokens)
        write_report(run, f"adapter {version.number}, {seconds:.0f} s, {rate:.2f} steps/s")
        run.finish()
        return version

    version = distributed.main_only(publish)
    return TrainResult(version, made=True, seconds=seconds, steps_per_second=rate, peak_mib=peak, report=run.report)


def _run(session: Session, validator: Validator | None) -> float:
    """Build the loop's parts from the session and run it; returns optimizer steps a second."""
    from finetune.examples.composite import derive_seed
    from finetune.latents.batches import make_batch
    from finetune.training.loop import run_loop
    from finetune.training.observers import ProgressBar
    from finetune.validation.session import until_stale

    t, o = session.config.train, session.config.objective
    settings = session.objective()

    def batch_at(first: int, count: int) -> Batch:
        chosen = partial(
            make_batch, first=first, count=count, timesteps_total=len(settings.alphas), device=session.device
        )
        batch = chosen(session.examples, seed=t.seed, caption_dropout=o.caption_dropout)
        if session.class_examples is None:
            return batch
        own = derive_seed(t.seed, "class pictures")
        return replace(batch, prior=chosen(session.class_examples, seed=own, caption_dropout=0))

    with (
        ProgressBar(t.steps, session.start, session.device) as bar,
        _stop_request(session) as stop,
        until_stale(session, validator) as early,
    ):
        for rule in early:
            rule.check(session.start)
        run_loop(
            session.accelerator,
            session.unet,
            session.optimizer,
            session.schedule,
            batch_at=session.tokens.fill(batch_at) if session.tokens else batch_at,
            settings=settings,
            dtype=session.dtype,
            memory=session.memory,
            start=session.start,
            steps=t.steps,
            max_grad_norm=t.max_grad_norm,
            observers=[bar, *_observers(session, validator), *early, stop],
        )
    return bar.rate


def _stop_request(session: Session) -> StopRequest:
    """Ctrl-C for this run: any process that was asked stops all."""
    import torch

    from finetune.training.stopping import StopRequest

    accelerator = session.accelerator

    def agree(asked: bool) -> bool:
        if accelerator.num_processes == 1:
            return asked
        flag = torch.tensor([float(asked)], device=accelerator.device)
        return bool(accelerator.gather(flag).max() > 0)

    return StopRequest(session.save, agree)


def _observers(session: Session, validator: Validator | None) -> list[Observer]:
    """What looks at every step, in this order: divergence before anything is kept, metrics, checkpoints, previews.

    Validation comes before the checkpoint of its step: a run that goes on from there has its record.
    """
    from finetune.training.observers import Every, Metrics
    from finetune.training.stopping import Divergence
    from finetune.training.trackers import log_pictures
    from finetune.validation.previews import Previewer, packshot_of

    accelerator, config, prepared = session.accelerator, session.config, session.prepared
    watching: list[Observer] = [validator] if validator else []
    if session.tokens:
        watching = [session.tokens, *session.tokens.after_pivot(validator)]
    observers: list[Observer] = [
        Divergence(scaled=accelerator.mixed_precision == "fp16", last_good=session.last_good),
        Metrics(session.run.metrics, accelerator),
        *watching,
        Every(config.train.checkpoint_every, session.save),
    ]
    if config.preview.every and accelerator.is_main_process:
        previewer = Previewer(
            session.base,
            session.bare_unet,
            session.run.previews,
            packshot=packshot_of(prepared),
            token=prepared.token,
            class_noun=prepared.class_noun,
            scenes=config.preview.scenes,
            steps=config.preview.steps,
            seed=config.preview.seed,
            dtype=session.dtype,
            log=partial(log_pictures, accelerator),
            tokens=session.tokens.put_into if session.tokens else None,
        )
        observers.append(Every(config.preview.every, previewer.draw))
    return observers


def workspace_path(path: Path, workspace: Workspace) -> str:
    """A path as the user would type it from the workspace."""
    return str(path.relative_to(workspace.root)) if path.is_relative_to(workspace.root) else str(path)
