"""The recipe `packshot train`: prepared set + base + config -> adapter version.

Everything that can be wrong with the request is reported before a model loads. A run that died is resumed; a version
that exists already is not made again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from finetune.adapters.init_from import Parent, Shape, find_parent
from finetune.adapters.publish import (
    TrainedWeights,
    adapter_manifest,
    check_place,
    close_run,
    with_tokens,
    write_version,
)
from finetune.core.adapters import versions
from finetune.core.basemodel.resolve import ResolvedBase, resolve_base
from finetune.core.config import dump_yaml, with_recorded_names
from finetune.core.console import pace, say, warn
from finetune.core.errors import ConfigError
from finetune.core.fingerprint import of_file
from finetune.core.products.catalog import Workspace
from finetune.core.products.prepared import PreparedSet
from finetune.plan import check_memory
from finetune.runs.folder import RunFolder, find_report, name_run, open_run
from finetune.settings import TrainConfig
from finetune.training import distributed
from finetune.training.failures import mapped_errors
from finetune.training.requirements import check_libraries, check_schedule
from finetune.unet.lora import TARGETS


@dataclass(frozen=True)
class TrainResult:
    """An adapter version and whether this call made it."""

    version: versions.AdapterVersion
    made: bool
    seconds: float = 0.0
    steps_per_second: float = 0.0
    peak_mib: float = 0.0
    """Peak memory of the steps in MiB."""
    report: Path | None = None
    """The page of the run that made it, where it is on disk."""


def training_fingerprint(prepared: str, base: ResolvedBase, config: TrainConfig, parent: str = "") -> str:
    """Fingerprint of the adapter that a training makes.

    Args:
        prepared: fingerprint of the prepared set.
        base: the base it trains on.
        config: every setting.
        parent: fingerprint of the adapter it starts from; empty for none.
    """
    from finetune.training.fingerprint import of_training

    settings, processes = with_recorded_names(config.model_dump(mode="json")), distributed.count()
    return of_training(prepared, base.fingerprint, settings, processes=processes, parent=parent)


def check_request(config: TrainConfig) -> ResolvedBase:
    """Resolve the base and check the config against it and this machine.

    Raises:
        BaseModelError: the base is not on disk, no SDXL model, or its schedule can't be trained.
        ConfigError: the config asks for something that this base or this machine can't do.
    """
    base = resolve_base(config.base.model, config.base.revision, config.base.vae)
    check_schedule(base)
    kinds = {k for k, share in config.data.mask_shares.items() if share}
    if base.channels == 4 and kinds != {"full"}:
        say("  the base has 4 channels: training uses the plain objective, without inpainting masks")
    if config.data.size != base.size:
        warn(f"data.size is {config.data.size} px, the base's native size is {base.size} px")
    if config.adapter.token_embeddings and distributed.count() > 1:
        raise ConfigError(
            "adapter.token_embeddings trains in one process", "start one process, or set adapter.token_embeddings=0"
        )
    t = config.train
    check_libraries(optimizer=t.optimizer, trackers=t.trackers, precision=config.memory.precision, compiled=t.compile)
    return base


def find_training_parent(
    workspace: Workspace,
    sku: str,
    config: TrainConfig,
    base: ResolvedBase,
    *,
    hash_of: Callable[[Path], str] | None = None,
) -> Parent | None:
    """The adapter that training starts from (`adapter.init_from`), checked against the config; None for none.

    Args:
        workspace: holds the adapters.
        sku: whose training it is.
        config: rank, alpha and targets have to be the same.
        base: has to be the same.
        hash_of: gives a file's fingerprint; by default it reads the file.

    Raises:
        PackshotError: as `finetune.adapters.init_from.find_parent`.
    """
    a = config.adapter
    targets = tuple(sorted(TARGETS[a.targets]))
    shape = Shape(rank=a.rank, alpha=a.effective_alpha, rslora=a.rslora, dora=a.dora, targets=targets)
    return find_parent(workspace, sku, a.init_from, base, shape, tokens=a.token_embeddings, hash_of=hash_of or of_file)


def why_stale(
    manifest: dict[str, Any], content: str, base: ResolvedBase, config: TrainConfig, *, photos: str = ""
) -> str:
    """Why an adapter is not the one that training would make now.

    Args:
        manifest: the adapter's.
        content: fingerprint the prepared set has now.
        base: the base now.
        config: every setting.
        photos: what changed in the product set since it was prepared; empty for nothing.
    """
    from finetune.training import fingerprint

    settings = with_recorded_names(config.model_dump(mode="json"))
    return fingerprint.why_stale(manifest, content, base.fingerprint, settings, photos=photos)


def ineffective_settings(version: versions.AdapterVersion, config: TrainConfig) -> list[str]:
    """Settings that differ from those of an up-to-date version and change no weight: `preview.every=50`."""
    from finetune.training import fingerprint

    settings = with_recorded_names(config.model_dump(mode="json"))
    return fingerprint.ineffective_settings(version.manifest.get("config", {}), settings)


def train_adapter(
    workspace: Workspace,
    prepared: PreparedSet,
    config: TrainConfig,
    *,
    base: ResolvedBase,
    now: datetime,
    force: bool = False,
) -> TrainResult:
    """Train, or find, the adapter of a prepared set.

    Args:
        workspace: holds caches, runs and adapters.
        prepared: the examples to train on.
        config: every setting.
        base: from `check_request`.
        now: names a new run.
        force: train again where a version is up to date.
    """
    parent = find_training_parent(workspace, prepared.sku, config, base)
    wanted = training_fingerprint(prepared.fingerprint, base, config, parent.fingerprint if parent else "")
    known = distributed.main_only(lambda: list(reversed(versions.list_versions(workspace, prepared.sku))))
    for version in known:
        if version.manifest.get("fingerprint") == wanted and not force:
            return TrainResult(version, made=False, report=find_report(workspace.runs / prepared.sku, wanted))
    distributed.main_only(lambda: check_place(workspace, prepared.sku))
    since = ""
    if known and known[0].manifest.get("fingerprint") != wanted:
        since = (
            f" (since version {known[0].number}: {why_stale(known[0].manifest, prepared.fingerprint, base, config)})"
        )
    say(f"training {prepared.sku} on {base.name}{since}")
    if config.memory.check:
        distributed.main_first(lambda: check_memory(config, base, workspace.cache, prepared.class_noun))
    run = distributed.main_only(
        lambda: open_run(workspace.runs / prepared.sku, wanted, dump_yaml(config), name_run(now, wanted))
    )
    with mapped_errors(run):
        return _train(workspace, prepared, config, base, run, wanted, parent)


def _train(
    workspace: Workspace,
    prepared: PreparedSet,
    config: TrainConfig,
    base: ResolvedBase,
    run: RunFolder,
    wanted: str,
    parent: Parent | None,
) -> TrainResult:
    from finetune.training.session import open_session
    from finetune.validation.run import run_session

    session = open_session(workspace, prepared, config, base, run, parent=parent)
    trained = run_session(session, workspace.cache / "evaluate")
    size, choice = session.adapted.size, trained.choice
    weights = TrainedWeights(size.modules, size.parameters, choice.step, distributed.count())
    recorded = with_recorded_names(config.model_dump(mode="json"))
    manifest = adapter_manifest(prepared, base, recorded, fingerprint=wanted, weights=weights, parent=parent)
    manifest = with_tokens(manifest, prepared.token, trained.tokens)
    seconds, rate = trained.seconds, trained.steps_per_second
    summary = {"run": run.path.name, "seconds": round(seconds, 1), "steps_per_second": float(f"{rate:.3g}")}
    summary |= {"choice": choice.as_dict()}

    def publish() -> versions.AdapterVersion:
        version = write_version(
            workspace, prepared.sku, trained.weights, session.adapted.peft_config, manifest, summary, trained.tokens
        )
        close_run(run, f"adapter {version.number}, {seconds:.0f} s, {pace(rate)}")
        return version

    version = distributed.main_only(publish)
    return TrainResult(version, True, seconds, rate, trained.peak_mib, run.report)


def workspace_path(path: Path, workspace: Workspace) -> str:
    """A path as the user would type it from the workspace."""
    return str(path.relative_to(workspace.root)) if path.is_relative_to(workspace.root) else str(path)
