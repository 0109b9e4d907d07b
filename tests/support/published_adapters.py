"""Adapter versions published for the tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tiny_adapters import PLAIN, fresh_unet, output

from finetune.adapters.publish import TrainedWeights, adapter_manifest, write_version
from finetune.core.adapters.token_embeddings import ENTRY, manifest_entry
from finetune.core.adapters.versions import AdapterVersion
from finetune.core.basemodel.resolve import ResolvedBase
from finetune.core.config import validate, with_recorded_names
from finetune.core.products.catalog import Workspace
from finetune.core.products.prepared import PreparedSet
from finetune.settings import TrainConfig
from finetune.unet.lora import add_lora, lora_parameters, lora_state

if TYPE_CHECKING:
    import torch


STORY = {"run": "20260102-030405-abcdef", "seconds": 1.0, "steps_per_second": 2.0}


def published(
    workspace: Workspace, base: ResolvedBase, tokens: dict[str, torch.Tensor] | None = None, **options: Any
) -> tuple[AdapterVersion, torch.Tensor]:
    """A version as training leaves it, with all of its weights moved; and what the UNet predicts with it.

    Args:
        workspace: Where it is written.
        base: What it is trained on.
        tokens: Embeddings of its own tokens.
        options: Of `add_lora`, where they differ from `PLAIN`.
    """
    import torch

    choice = PLAIN | options
    unet = fresh_unet(base)
    lora_config, size = add_lora(unet, **choice)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        for weight in lora_parameters(unet):
            weight.add_(0.1 * torch.randn_like(weight))
    names = ("rank", "alpha", "rslora", "dora", "targets")
    config = validate(TrainConfig, {"data": {"size": 64}, "adapter": {k: choice[k] for k in names}}, "test")
    prepared = PreparedSet(
        folder=workspace.root,
        sku="bottle01",
        kind="sku",
        class_noun="perfume bottle",
        token="bttl01",
        fingerprint="0" * 16,
        content="0" * 16,
        size=64,
        examples=24,
        photos=(),
        settings={},
    )
    weights = TrainedWeights(size.modules, size.parameters, chosen_step=3, processes=1)
    recorded = with_recorded_names(config.model_dump(mode="json"))
    manifest = adapter_manifest(prepared, base, recorded, fingerprint="f" * 16, weights=weights)
    if tokens:
        manifest |= {ENTRY: manifest_entry(prepared.token, tokens)}
    version = write_version(workspace, "bottle01", lora_state(unet), lora_config, manifest, STORY, tokens)
    return version, output(unet.eval())
