"""What each part of SDXL's UNet keeps for its backward pass, and what computing it again would cost; no GPU needed.

    python -m benchmarks.memory.checkpointing [--size 1024] [--rank 32] [--targets attention+feedforward]

A forward pass on tensors without data (`finetune.memory.step_trace`): bytes by watching storages, FLOPs by torch's
FlopCounterMode. The table is the reason for what `memory.gradient_checkpointing: partial` recomputes.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from finetune.core.basemodel.resolve import single_file_config
from finetune.core.console import quiet_libraries
from finetune.core.tracing.storages import StorageWatch
from finetune.memory import step_trace
from finetune.training.loop import predict
from finetune.unet import checkpointing

ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # FlopCounterMode leaves it out


def attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """FLOPs of fused attention from the shapes of its inputs."""
    return int(sdpa_flop_count(query, key, value))


def measure(unet: Any, size: int) -> list[tuple[str, bool, float, float]]:
    """For every group of one flag: (name, recomputed by partial, MiB kept, TFLOP of its forward pass)."""
    counter = FlopCounterMode(display=False, custom_mapping={ATTENTION: attention_flops})
    watches: list[StorageWatch] = []
    kept: dict[str, int] = {}
    flops: dict[str, int] = {}
    starts: dict[int, tuple[int, int]] = {}

    def before(module: Any, _: Any) -> None:
        starts[id(module)] = (watches[0].live, counter.get_total_flops())

    def after(group: str) -> Any:
        def hook(module: Any, _: Any, output: Any) -> None:
            live, done = starts[id(module)]
            out = output[0] if isinstance(output, tuple) else output
            kept[group] = kept.get(group, 0) + watches[0].live - live - out.untyped_storage().nbytes()
            flops[group] = flops.get(group, 0) + counter.get_total_flops() - done

        return hook

    partial = checkpointing.recomputed_in_part(unet)
    chosen = {}
    for name, flagged in checkpointing.flagged(unet):
        layers = getattr(flagged, "transformer_blocks", None)
        group = name.rsplit(".", 1)[0] if layers is not None else f"{name}.resnets"
        chosen[group] = name in partial
        for layer in layers if layers is not None else list(flagged.resnets):
            layer.register_forward_pre_hook(before)
            layer.register_forward_hook(after(group))
    with step_trace.run_without_data(unet, dtype=torch.bfloat16, checkpoint="none", cuda=True) as computing:
        batch = step_trace.fake_batch(unet, size=size, batch=1)
        watches.append(
            StorageWatch(cuda=True, known=[*unet.parameters(), *filter(torch.is_tensor, vars(batch).values())])
        )
        with computing, counter, watches[0]:
            predict(unet, batch, batch.latents, torch.bfloat16)
    return [(g, chosen[g], kept[g] / 2**20, flops[g] / 1e12) for g in kept]


def main() -> None:
    """Print the table as Markdown, best bytes a FLOP first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=1024, help="side of the picture in pixels")
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--targets", default="attention+feedforward", choices=["attention", "attention+feedforward"])
    given = parser.parse_args()
    quiet_libraries()
    config = UNet2DConditionModel.load_config(str(single_file_config(9, "sdxl") / "unet"))
    unet = step_trace.unet_without_data(
        config, dtype=torch.bfloat16, rank=given.rank, targets=given.targets, dora=False
    )
    rows = sorted(measure(unet, given.size), key=lambda row: -row[2] / row[3])
    print("| part | MiB kept | TFLOP again | MiB per TFLOP | partial |\n|---|---|---|---|---|")
    for group, part, mib, tera in rows:
        print(f"| `{group}` | {mib:,.0f} | {tera:.3f} | {mib / tera:,.0f} | {'yes' if part else ''} |")
    for title, some in (("partial", [r for r in rows if r[1]]), ("all", rows)):
        mib, tera = sum(r[2] for r in some), sum(r[3] for r in some)
        print(f"| **{title}** | {mib:,.0f} | {tera:.3f} | {mib / tera:,.0f} | |")


if __name__ == "__main__":
    main()
