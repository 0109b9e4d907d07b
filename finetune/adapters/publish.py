"""A trained adapter becomes a version on disk: weights, manifest, card. Called by the training recipe alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from finetune.adapters import modelspec
from finetune.adapters.init_from import Origin
from finetune.core.adapters import file as adapter_file
from finetune.core.adapters import token_embeddings, versions
from finetune.core.basemodel.resolve import ResolvedBase
from finetune.core.environment import environment, tool
from finetune.core.products.catalog import Workspace
from finetune.core.products.prepared import PreparedSet
from finetune.core.storage.durable import fsync_tree, state_errors, temporary_folder
from finetune.settings import TrainConfig
from finetune.training import distributed

if TYPE_CHECKING:
    import torch

TRAIN_FORMAT = 1
"""Raised when the same settings would give other weights."""


def adapter_manifest(
    prepared: PreparedSet,
    base: ResolvedBase,
    config: TrainConfig,
    print_of: str,
    modules: int,
    parameters: int,
    chosen_step: int,
    origin: Origin | None = None,
) -> dict[str, Any]:
    """Everything needed to make the adapter again. No times: the same inputs give the same bytes.

    Args:
        chosen_step: the optimizer step whose weights these are; `train.steps` of the config is the run's length.
    """
    return {
        "format": TRAIN_FORMAT,
        "tool": tool(),
        "fingerprint": print_of,
        "sku": prepared.sku,
        "kind": prepared.kind,
        "class_noun": prepared.class_noun,
        "token": prepared.token,
        "prepared": prepared.fingerprint,
        "examples": prepared.examples,
        "processes": distributed.count(),
        "base": base.summary(),
        "objective": "inpainting" if base.channels == 9 else "text-to-image",
        "init_from": origin.summary() if origin else None,
        "modules": modules,
        "parameters": parameters,
        "chosen_step": chosen_step,
        "config": config.model_dump(mode="json"),
        "environment": environment(),
    }


def write_version(
    workspace: Workspace,
    sku: str,
    state: dict[str, torch.Tensor],
    lora_config: dict[str, Any],
    manifest: dict[str, Any],
    story: dict[str, Any],
    tokens: dict[str, torch.Tensor] | None = None,
) -> versions.AdapterVersion:
    """Write the version's files in a hidden folder and give it its number.

    Args:
        tokens: embeddings of the adapter's own tokens, which the manifest names too.

    Raises:
        StateWriteError: the disk did not take them.
    """
    place = workspace.adapters / sku / "version"
    with state_errors("the adapter", place), temporary_folder(place) as part:
        labels = modelspec.labels(manifest, state, lora_config)
        adapter_file.write_adapter(part / adapter_file.WEIGHTS, state, lora_config, manifest, labels)
        if tokens:
            adapter_file.write_tensors(part / token_embeddings.FILE, tokens, {"format": "pt"})
        text = json.dumps(manifest | {"training": story}, indent=1, ensure_ascii=False)
        (part / adapter_file.MANIFEST).write_text(text + "\n", encoding="utf-8")
        (part / "README.md").write_text(_card(manifest, story), encoding="utf-8")
        fsync_tree(part)
        return versions.add_version(workspace, sku, part)


def _tokens_row(manifest: dict[str, Any]) -> str:
    entry = manifest.get(token_embeddings.ENTRY)
    return (
        f"\n| tokens | {entry['count']} for the trigger word, in `{entry['file']}`: copy both files |" if entry else ""
    )


def _card(manifest: dict[str, Any], story: dict[str, Any]) -> str:
    config, base, origin = manifest["config"], manifest["base"], manifest["init_from"]
    started = f"the adapter of `{origin['name']}`, version {origin['version']}" if origin else "nothing"
    rank, tokens = config["adapter"]["rank"], _tokens_row(manifest)
    return f"""# {manifest["sku"]}: a Packshot adapter

| | |
|---|---|
| product | {manifest["class_noun"]}, trigger word `{manifest["token"]}` |
| base | `{base["model"]}` ({base["channels"]} channels, {base["size"]} px, content {base["fingerprint"]}) |
| objective | {manifest["objective"]} |
| LoRA | rank {rank}, {manifest["modules"]} modules, {manifest["parameters"]:,} parameters |{tokens}
| starts from | {started} |
| training | {config["train"]["steps"]} steps in {story["seconds"]} s ({story["steps_per_second"]} steps/s) |
| weights of | step {manifest["chosen_step"]}{_chosen(story)} |
| made by | {manifest["tool"]}, run {story["run"]} |

It fits that base and no other. Place the product with `packshot place {manifest["sku"]} --prompt "..."`, load
`adapter.safetensors` in diffusers with `pipeline.load_lora_weights(...)`, or write a file for A1111 and ComfyUI with
`packshot adapters export {manifest["sku"]} --format kohya`.
"""


def _chosen(story: dict[str, Any]) -> str:
    """Why that step, as the card says it; what the choice measured is no claim of fidelity."""
    choice = story.get("choice")
    return f": {choice['why']}" if choice and choice["rule"] != "last" else ""
