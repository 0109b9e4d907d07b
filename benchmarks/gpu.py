"""SDXL's training step on a CUDA device, every preset inside the memory of its card: time, memory, use of the device.

    python -m benchmarks.gpu                       # make bench-gpu: under 8 minutes
    python -m benchmarks.gpu --peer SCRIPT         # beside diffusers' DreamBooth script too (benchmarks.train)
    python -m benchmarks.gpu --device cpu --tiny   # the same code on a small UNet, to see that it works

The UNet has SDXL's public configuration and random weights: neither speed nor memory depends on their values. Each
preset runs in a process of its own under `torch.cuda.set_per_process_memory_fraction`, as if the card had its size.
Beside the peak stands the planner's prediction. Then, on the whole device, the batch with the most FLOPs a second: as
it is, and with compiled blocks (`train.compile`). MFU: FLOPs of the step (torch's FlopCounterMode) a second, over the
device's own bf16 matrix multiplication. Results go to benchmarks/results/*.json with device and versions.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.checkpointing import ATTENTION, attention_flops
from finetune import checkpointing, execution, lora, memory, plan, quantize
from finetune.core.config import apply_overrides, find_config, read_yaml, validate
from finetune.core.console import quiet_libraries
from finetune.loop import Objective, batch_loss
from finetune.optimizers import make_optimizer
from finetune.rundir import environment
from finetune.settings import TrainConfig
from finetune.tracing import TIMESTEPS, fake_batch

PRESETS = {"sdxl-8gb-nf4": 8, "sdxl-8gb": 8, "sdxl-12gb": 12, "sdxl-16gb": 16, "sdxl-24gb": 24}
"""Name -> nominal size of its card in GB."""
WARM, TIMED = 2, 5
BEST = "best-batch"
BATCHES = (1, 2, 4, 8, 16)
TINY = {
    "block_out_channels": [32, 64, 64], "attention_head_dim": [2, 4, 4], "layers_per_block": 1, "norm_num_groups": 16,
    "transformer_layers_per_block": [1, 1, 2], "cross_attention_dim": 64, "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 80,
}  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """Some optimizer steps on a device."""

    seconds: float
    """A step, the mean."""
    peak: int | None
    """Bytes of torch's allocator at most; None on a CPU."""
    teraflop: float
    """A step, by torch's FlopCounterMode."""
    parameters: int
    compiling: float
    """Seconds of the first step more than of a later one, blocks compiled; 0 where they are not."""


def measured_step(
    setup: memory.Setup,
    config: TrainConfig | None = None,
    *,
    device: str = "cuda",
    seconds: float = 30,
    compiled: bool = False,
) -> Measured:
    """Train TIMED steps, or as many as go into `seconds`, after WARM that don't count."""
    cuda = device == "cuda"
    config = config or TrainConfig()
    unet, optimizer = _trainable(setup, config, device)
    step = _step(unet, optimizer, setup, config, device)
    formulas = {ATTENTION: attention_flops, torch.ops.bitsandbytes.gemm_4bit: four_bit_flops}
    counter = FlopCounterMode(display=False, custom_mapping=formulas)
    with counter:  # before compiling: it sees single operations
        step()
    if compiled:
        execution.compile_blocks(unet)
    first = _timed(step, 1, seconds, cuda)
    for _ in range(WARM - 1):
        step()
    _wait(cuda)
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    each = _timed(step, TIMED, seconds, cuda)
    return Measured(
        seconds=each,
        peak=torch.cuda.max_memory_allocated() if cuda else None,
        teraflop=counter.get_total_flops() / 1e12,
        parameters=sum(p.numel() * (1 + (p.dtype == torch.uint8)) for p in unet.parameters() if not p.requires_grad),
        compiling=max(0.0, first - each) if compiled else 0.0,
    )


def _timed(step: Callable[[], None], steps: int, seconds: float, cuda: bool) -> float:
    """Mean seconds of some steps."""
    began = time.perf_counter()
    done = 0
    while done < steps and (not done or time.perf_counter() - began < seconds):
        step()
        _wait(cuda)
        done += 1
    return (time.perf_counter() - began) / done


def preset_setup(preset: str, device: str, tiny: bool) -> tuple[TrainConfig, memory.Setup, plan.Device]:
    """A preset's config, what decides its memory, and its card."""
    path = find_config(preset, "train")
    overrides = ["data.size=64", "adapter.rank=4"] if tiny else []
    config = validate(TrainConfig, apply_overrides(read_yaml(path), overrides), path.name)
    card = plan.named_device(f"{PRESETS[preset]}GB")
    where = card if device == "cuda" else plan.Device("CPU", card.memory, cuda=False, context=0)
    shape = memory.unet_config(plan.base_folder(config)[0]) | (TINY if tiny else {})
    return config, plan.setup_of(config, shape, where), where


def one_preset(preset: str, device: str, tiny: bool, seconds: float) -> dict[str, Any]:
    """Train some steps of a preset inside its card's memory and return its row."""
    config, setup, card = preset_setup(preset, device, tiny)
    said = memory.budget(setup, context=0).torch_peak
    if device == "cuda":
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, (card.memory - card.context) / total))
    found = measured_step(setup, config, device=device, seconds=seconds)
    return _row(preset, setup, card, found) | {
        "predicted_peak_mib": round(said / 2**20, 1),
        "off_by": round(said / found.peak - 1, 4) if found.peak else None,
    }


def _row(name: str, setup: memory.Setup, card: plan.Device, found: Measured) -> dict[str, Any]:
    return {
        "preset": name,
        "settings": [*plan.Verdict(setup, memory.Budget(0, 0, 0, 0, 0, 0, 0), card).settings(), setup.dtype],
        "seconds_a_step": round(found.seconds, 4),
        "samples_a_second": round(setup.batch * setup.accumulation / found.seconds, 3),
        "teraflop_a_step": round(found.teraflop, 4),
        "measured_peak_mib": round(found.peak / 2**20, 1) if found.peak is not None else None,
        "predicted_peak_mib": None,
        "off_by": None,
        "parameters": found.parameters,
        "compile_seconds": round(found.compiling, 1),
    }


def best_batch(device: str, tiny: bool, seconds: float) -> list[dict[str, Any]]:
    """Rows of the batch with the most FLOPs a second on the whole device: as it is, and with compiled blocks."""
    config, setup, card = preset_setup("sdxl-24gb", device, tiny)
    setup = replace(setup, checkpoint="none", rank=4 if tiny else 16, targets="attention", accumulation=1)
    best: tuple[float, memory.Setup, Measured] | None = None
    for batch in (1, 2) if tiny else BATCHES:
        candidate = replace(setup, batch=batch)
        try:
            found = measured_step(candidate, config, device=device, seconds=seconds / 4)
        except torch.OutOfMemoryError:
            break
        if best is None or found.teraflop / found.seconds > best[0]:
            best = found.teraflop / found.seconds, candidate, found
    assert best is not None
    _, chosen, found = best
    name = f"best batch {chosen.batch}"
    compiled = measured_step(chosen, config, device=device, seconds=seconds, compiled=True)
    return [_row(name, chosen, card, found), _row(f"{name}, compiled", chosen, card, compiled)]


def _trainable(setup: memory.Setup, config: TrainConfig, device: str) -> tuple[Any, Any]:
    """The UNet with random weights and its adapter on the device, and the preset's optimizer."""
    from diffusers import UNet2DConditionModel

    dtype = getattr(torch, setup.dtype)
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(setup.unet).to(dtype)
    unet = unet.to_empty(device=device).requires_grad_(False)
    for parameter in unet.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    if setup.nf4:
        quantize.quantize_linears(unet, dtype=dtype, device=device)
    lora.add_lora(unet, rank=setup.rank, alpha=1, rslora=False, dora=setup.dora, targets=setup.targets, seed=0)
    checkpointing.set_level(unet, setup.checkpoint)
    unet.train()
    t = config.train
    options: dict[str, Any] = {"weight_decay": t.weight_decay, "betas": t.betas, "min_8bit_size": t.min_8bit_size}
    return unet, make_optimizer(t.optimizer, lora.lora_parameters(unet), learning_rate=t.learning_rate, **options)


def _step(unet: Any, optimizer: Any, setup: memory.Setup, config: TrainConfig, device: str) -> Any:
    """One optimizer step through accelerate, as training does it, on a batch that stays."""
    from accelerate import Accelerator

    mixed = {"bfloat16": "bf16", "float16": "fp16"}.get(setup.dtype, "no")
    accelerator = Accelerator(
        mixed_precision=mixed, gradient_accumulation_steps=setup.accumulation, cpu=device == "cpu"
    )
    with torch.device(device):
        batch = fake_batch(unet, size=setup.size, batch=setup.batch)
        alphas = torch.linspace(0.999, 0.005, TIMESTEPS)
    for value in filter(torch.is_tensor, vars(batch).values()):
        value.fill_(1)
    unet, optimizer = accelerator.prepare(unet, optimizer)
    o = config.objective
    settings = Objective(alphas, "epsilon", o.snr_gamma, o.product_weight, o.ring_weight, o.elsewhere_weight)

    def step() -> None:
        for _ in range(setup.accumulation):
            with accelerator.accumulate(unet):
                accelerator.backward(batch_loss(unet, batch, settings, getattr(torch, setup.dtype)))
                optimizer.step()
                optimizer.zero_grad()

    return step


def matmul_rate(device: str, side: int) -> float:
    """The device's own TFLOP a second on bf16 matrices of that side, best of ten."""
    left = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    best = float("inf")
    for _ in range(10):
        _wait(device == "cuda")
        began = time.perf_counter()
        left @ left
        _wait(device == "cuda")
        best = min(best, time.perf_counter() - began)
    return 2 * side**3 / best / 1e12


def four_bit_flops(picture: Any, packed: Any, shape: Any, *_: Any, **__: Any) -> int:
    """FLOPs of a matrix product with 4-bit weights, from the shapes of its inputs; unpacking not counted."""
    return 2 * math.prod(picture) * int(shape[0])


def _wait(cuda: bool) -> None:
    if cuda:
        torch.cuda.synchronize()


def table(result: dict[str, Any]) -> str:
    """Rows as Markdown."""
    columns = ("preset", "s/step", "samples/s", "peak MiB", "predicted MiB", "off by", "MFU", "compile s")
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for row in result["rows"]:
        if "error" in row:
            lines.append(f"| {row['preset']} | {row['error']} |" + " |" * (len(columns) - 2))
            continue
        peak, off, said = row["measured_peak_mib"], row["off_by"], row["predicted_peak_mib"]
        lines.append(
            f"| {row['preset']} | {row['seconds_a_step']:.3f} | {row['samples_a_second']:.2f} "
            f"| {f'{peak:,.0f}' if peak else 'not measured'} | {f'{said:,.1f}' if said else ''} "
            f"| {f'{off:+.1%}' if off is not None else ''} | {row['mfu']:.1%} | {row['compile_seconds'] or ''} |"
        )
    return "\n".join(lines)


def beside_the_peer(script: Path, flags: str) -> dict[str, Any]:
    """`benchmarks.train` at full size: its table, and its rows."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.json"
        command = [sys.executable, "-m", "benchmarks.train", "--full-size", "--peer", str(script), "--json", str(file)]
        done = subprocess.run([*command, f"--peer-flags={flags}"], capture_output=True, text=True, check=True)
        return {"table": done.stdout, "rows": json.loads(file.read_text(encoding="utf-8"))}


def main() -> None:
    """Run every preset and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--tiny", action="store_true", help="a small UNet: to see that the script works")
    parser.add_argument("--preset", choices=[*PRESETS, BEST], help="one row or two, in this process, as JSON")
    parser.add_argument("--presets-only", action="store_true", help="without the best batch and its compiling")
    parser.add_argument("--peer", type=Path, help="diffusers' train_dreambooth_lora_sdxl.py, to be run beside")
    parser.add_argument("--peer-flags", default="--use_8bit_adam --allow_tf32", help="its own fastest")
    parser.add_argument("--seconds", type=float, default=30, help="longest timed run of a preset")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        sys.exit("Error: there is no CUDA device here (--device cpu --tiny runs the same code on a small model)")
    if given.device == "cpu" and not given.tiny:
        sys.exit("Error: SDXL at full size needs a CUDA device; on a CPU add --tiny")
    quiet_libraries()
    if given.preset == BEST:
        print(json.dumps(best_batch(given.device, given.tiny, given.seconds)))
        return
    if given.preset:
        print(json.dumps([one_preset(given.preset, given.device, given.tiny, given.seconds)]))
        return
    rate = matmul_rate(given.device, 256 if given.tiny else 8192)
    rows = []
    for preset in PRESETS if given.presets_only else (*PRESETS, BEST):
        command = [sys.executable, "-m", "benchmarks.gpu", "--preset", preset, "--device", given.device]
        command += ["--seconds", str(given.seconds), *(["--tiny"] if given.tiny else [])]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            rows.append({"preset": preset, "error": reason})
            continue
        found = json.loads(done.stdout.strip().splitlines()[-1])
        rows += [row | {"mfu": row["teraflop_a_step"] / row["seconds_a_step"] / rate} for row in found]
    name = torch.cuda.get_device_name() if given.device == "cuda" else "CPU"
    result = {"device": name, "tiny": given.tiny, "matmul_teraflop_a_second": round(rate, 3), "rows": rows}
    result |= {"versions": environment(), "date": datetime.now(UTC).date().isoformat()}
    beside = beside_the_peer(given.peer, given.peer_flags) if given.peer else None
    result |= {"beside_the_peer": beside["rows"]} if beside else {}
    given.out.mkdir(parents=True, exist_ok=True)
    file = given.out / f"gpu-{name.replace(' ', '-')}{'-tiny' if given.tiny else ''}.json"
    file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(table(result))
    if beside:
        print(beside["table"])
    print(f"written: {file}", file=sys.stderr)
    sys.exit(1 if any("error" in row for row in rows) else 0)


if __name__ == "__main__":
    main()
