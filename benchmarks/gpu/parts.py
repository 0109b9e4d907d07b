"""The parts of `benchmarks.gpu`, one after the other in a process of their own; a JSON line for each row as it is done.

python -m benchmarks.gpu.parts matmul sdxl-8gb loop --device cuda     # what benchmarks.gpu starts
python -m benchmarks.gpu.parts sdxl-8gb --predict                     # the planner's peak instead, no GPU needed
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from benchmarks.gpu.loops import loops
from benchmarks.gpu.setups import BEST, LOOP, MATMUL, Named, named
from benchmarks.gpu.steps import TIMED, Measured, one_setup, row, teraflop_of, timed, trainable, wait
from finetune.core.console import quiet_libraries
from finetune.core.device import is_out_of_memory, release_memory
from finetune.memory.budget import trace_budget
from finetune.unet import execution

BATCHES = (1, 2, 4, 8, 16)


def best_batch(chosen: Named, device: str, seconds: float, *, largest: int) -> Iterator[dict[str, Any]]:
    """Rows of each batch that fits the whole device, then of the fastest with compiled blocks."""
    made = trainable(chosen.setup, chosen.config, device)
    one = teraflop_of(made.step(replace(chosen.setup, batch=1)))
    best: tuple[float, int] | None = None
    for batch in (size for size in BATCHES if size <= largest):
        setup = replace(chosen.setup, batch=batch)
        try:
            step = made.step(setup)
            step()
            each = timed(step, TIMED, seconds / 4, device)
        except RuntimeError as error:
            if not is_out_of_memory(error) or best is None:
                raise
            break
        finally:
            made.forget()
        yield row(f"batch {batch}", setup, Measured(each, None, one * batch, made.parameters))
        best = max(best or (0.0, 0), (batch / each, batch))
    assert best is not None
    setup = replace(chosen.setup, batch=best[1])
    step = made.step(setup)
    execution.compile_blocks(made.unet)
    first = timed(step, 1, seconds, device)
    step()
    each = timed(step, TIMED, seconds, device)
    found = Measured(each, None, one * setup.batch, made.parameters, max(0.0, first - each))
    yield row(f"batch {setup.batch}, compiled", setup, found)


def matmul(device: str, side: int) -> dict[str, Any]:
    """The device's name and its own TFLOP a second on bf16 matrices of that side, best of ten."""
    left = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    best = float("inf")
    for _ in range(10):
        wait(device)
        began = time.perf_counter()
        left @ left
        wait(device)
        best = min(best, time.perf_counter() - began)
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    return {"part": MATMUL, "device": name, "teraflop_a_second": round(2 * side**3 / best / 1e12, 3)}


def rows_of(part: str, device: str, tiny: bool, seconds: float) -> Iterator[dict[str, Any]]:
    """The rows of a part."""
    if part == MATMUL:
        yield matmul(device, 256 if tiny else 8192)
        return
    chosen = named(part, cuda=device == "cuda", tiny=tiny)
    if part == LOOP:
        yield from loops(chosen, device)
    elif part == BEST:
        yield from best_batch(chosen, device, seconds, largest=2 if tiny else BATCHES[-1])
    else:
        yield one_setup(chosen, device, seconds)


def main() -> None:
    """Do the parts in turn; after an error that is not for want of memory the process ends, since CUDA may be lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="+")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--predict", action="store_true")
    parser.add_argument("--seconds", type=float, default=20, help="longest timed run of a row")
    given = parser.parse_args()
    quiet_libraries()
    for part in given.parts:
        if given.predict:
            budget = trace_budget(named(part, cuda=given.device == "cuda", tiny=given.tiny).setup, context=0)
            tell({"part": part, "predicted_peak_mib": round(budget.torch_peak / 2**20, 1)})
            continue
        try:
            for found in rows_of(part, given.device, given.tiny, given.seconds):
                tell(found)
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            tell({"part": part, "error": f"{type(error).__name__}: {reason}"[:300]})
            if not is_out_of_memory(error):
                raise
        tell({"done": part})
        release_memory(given.device)


def tell(found: dict[str, Any]) -> None:
    """A line for the process that reads."""
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    sys.exit(main())
