"""A trained adapter becomes a version on disk: weights, manifest, card."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from finetune.adapters import modelspec
from finetune.adapters.init_from import Parent
from finetune.core.adapters import file as adapter_file
from finetune.core.adapters import token_embeddings, versions
from finetune.core.basemodel.resolve import ResolvedBase
from finetune.core.console import pace
from finetune.core.environment import environment, tool
from finetune.core.products.catalog import Workspace
from finetune.core.products.prepared import PreparedSet
from finetune.core.storage.durable import check_writable, fsync_tree, state_errors, temporary_folder
from finetune.runs.folder import RunFolder

if TYPE_CHECKING:
    from torch import Tensor


TRAIN_FORMAT = 1
"""Bump when the same settings would produce other weights."""


@dataclass(frozen=True)
class TrainedWeights:
    """What the manifest says of the weights themselves."""

    modules: int
    """Modules of the UNet they adapt."""
    parameters: int
    """Trained numbers in all of them."""
    chosen_step: int
    """The optimizer step they are of; `train.steps` of the config is the run's length."""
    processes: int
    """Processes that trained together, each with `train.batch` examples a step."""


def adapter_manifest(
    prepared: PreparedSet,
    base: ResolvedBase,
    config: dict[str, Any],
    *,
    fingerprint: str,
    weights: TrainedWeights,
    parent: Parent | None = None,
) -> dict[str, Any]:
    """Everything needed to make the adapter again. No times: the same inputs give the same bytes.

    Args:
        prepared: The set it was trained on.
        base: The base it was trained on.
        config: The resolved training config as plain values, under the names that manifests record.
        fingerprint: Of all that decides the weights, `finetune.train.training_fingerprint`.
        weights: What is to be said of the weights.
        parent: The adapter it started from; None for none.

    Returns:
        JSON values.
    """
    return {
        "format": TRAIN_FORMAT,
        "tool": tool(),
        "fingerprint": fingerprint,
        "sku": prepared.sku,
        "kind": prepared.kind,
        "class_noun": prepared.class_noun,
        "token": prepared.token,
        "prepared": prepared.fingerprint,
        "examples": prepared.examples,
        "processes": weights.processes,
        "base": base.summary(),
        "objective": "inpainting" if base.channels == 9 else "text-to-image",
        "init_from": parent.summary() if parent else None,
        "modules": weights.modules,
        "parameters": weights.parameters,
        "chosen_step": weights.chosen_step,
        "config": config,
        "environment": environment(),
    }


def check_place(workspace: Workspace, sku: str) -> None:
    """Check, before training begins, that a version can be written.

    Raises:
        StateWriteError: the folder can't be written to.
    """
    check_writable("the adapter", workspace.adapters / sku)


def with_tokens(manifest: dict[str, Any], token: str, tokens: dict[str, Tensor] | None) -> dict[str, Any]:
    """The manifest with an entry for the trigger word's own tokens; unchanged without any."""
    return manifest | {token_embeddings.ENTRY: token_embeddings.manifest_entry(token, tokens)} if tokens else manifest


def close_run(run: RunFolder, state: str) -> None:
    """Write the run's page and mark the run as done.

    Args:
        run: a run whose version is written.
        state: one line on how it ended.
    """
    from finetune.runs.report import write_report

    write_report(run, state)
    run.finish()


def write_version(
    workspace: Workspace,
    sku: str,
    state: dict[str, Tensor],
    lora_config: dict[str, Any],
    manifest: dict[str, Any],
    run_summary: dict[str, Any],
    tokens: dict[str, Tensor] | None = None,
) -> versions.AdapterVersion:
    """Write the version's files (weights, manifest, card) in a hidden folder and give it its number.

    Args:
        workspace: Where `adapters/<sku>/` is.
        sku: Whose adapter it is.
        state: PEFT keys without prefix (`<module>.lora_A.weight`) -> tensors.
        lora_config: PEFT's LoraConfig as plain values.
        manifest: From `adapter_manifest`.
        run_summary: What `adapter.json` and the card say of the run: `run`, `seconds`, `steps_per_second`, `choice`.
        tokens: Embeddings of the adapter's own tokens, which the manifest names too; None for none.

    Raises:
        StateWriteError: The disk did not take them.
    """
    place = workspace.adapters / sku / "version"
    with state_errors("the adapter", place), temporary_folder(place) as part:
        labels = modelspec.labels(manifest, state, lora_config)
        adapter_file.write_adapter(part / adapter_file.WEIGHTS, state, lora_config, manifest, labels)
        if tokens:
            adapter_file.write_tensors(part / token_embeddings.FILE, tokens, {"format": "pt"})
        text = json.dumps(manifest | {"training": run_summary}, indent=1, ensure_ascii=False)
        (part / adapter_file.MANIFEST).write_text(text + "\n", encoding="utf-8")
        (part / "README.md").write_text(_card(manifest, run_summary), encoding="utf-8")
        fsync_tree(part)
        return versions.add_version(workspace, sku, part)


def _tokens_row(manifest: dict[str, Any]) -> str:
    entry = manifest.get(token_embeddings.ENTRY)
    return (
        f"\n| tokens | {entry['count']} for the trigger word, in `{entry['file']}`: copy both files |" if entry else ""
    )


def _card(manifest: dict[str, Any], run_summary: dict[str, Any]) -> str:
    config, base, parent = manifest["config"], manifest["base"], manifest["init_from"]
    started = f"the adapter of `{parent['name']}`, version {parent['version']}" if parent else "nothing"
    rank, tokens, rate = config["adapter"]["rank"], _tokens_row(manifest), run_summary["steps_per_second"]
    return f"""# {manifest["sku"]}: a Packshot adapter

| | |
|---|---|
| product | {manifest["class_noun"]}, trigger word `{manifest["token"]}` |
| base | `{base["model"]}` ({base["channels"]} channels, {base["size"]} px, content {base["fingerprint"]}) |
| objective | {manifest["objective"]} |
| LoRA | rank {rank}, {manifest["modules"]} modules, {manifest["parameters"]:,} parameters |{tokens}
| starts from | {started} |
| training | {config["train"]["steps"]} steps in {run_summary["seconds"]} s ({pace(rate)}) |
| weights of | step {manifest["chosen_step"]}{_chosen(run_summary)} |
| made by | {manifest["tool"]}, run {run_summary["run"]} |

It fits that base and no other. Place the product with `packshot place {manifest["sku"]} --prompt "..."`, load
`adapter.safetensors` in diffusers with `pipeline.load_lora_weights(...)`, or write a file for A1111 and ComfyUI with
`packshot adapters export {manifest["sku"]} --format kohya`.
"""


def _chosen(run_summary: dict[str, Any]) -> str:
    """Why that step, as the card says it; what the choice measured is no claim of fidelity."""
    choice = run_summary.get("choice")
    return f": {choice['why']}" if choice and choice["rule"] != "last" else ""
