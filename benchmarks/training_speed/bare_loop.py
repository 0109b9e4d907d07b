"""The floor: forward, mean squared error, backward, optimizer, on tensors that are in memory already. Nothing else.

    python -m benchmarks.training_speed.bare_loop OUT.json --base DIR --size 256 --rank 8 --steps 60 [--device cuda]

No data, no region, no weighting, no clipping, no logging, no accelerate: what any loop must spend on a step. The
latents and embeddings are random; neither decides how long a step takes.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel

from finetune.unet import lora


def main(out: Path, base: Path, size: int, rank: int, steps: int, device: str, bf16: bool) -> None:
    """Run the loop and write when each backward pass began."""
    torch.manual_seed(0)
    dtype = torch.bfloat16 if bf16 else torch.float32
    unet = UNet2DConditionModel.from_pretrained(base, subfolder="unet", torch_dtype=dtype).requires_grad_(False)
    unet.to(device)
    lora.add_lora(unet, rank=rank, alpha=rank, rslora=False, dora=False, targets="attention", seed=0)
    unet.train()
    trained = lora.lora_parameters(unet)
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True)
    config = unet.config
    side, pooled = size // 8, config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
    with torch.device(device):
        latents = torch.randn(8, 1, 4, side, side)
        alphas = torch.linspace(0.999, 0.005, 1000)
        embeds = torch.randn(1, 77, config.cross_attention_dim, dtype=dtype)
        sizes = torch.tensor([[size, size, 0, 0, size, size]], dtype=dtype)
        conditions = {"text_embeds": torch.randn(1, pooled, dtype=dtype), "time_ids": sizes}
    began = []
    for step in range(steps):
        clean = latents[step % len(latents)]
        noise = torch.randn_like(clean)
        timestep = torch.randint(0, 1000, (1,), device=device)
        share = alphas[timestep].view(-1, 1, 1, 1)
        noisy = (share.sqrt() * clean + (1 - share).sqrt() * noise).to(dtype)
        with torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=bf16):
            predicted = unet(
                noisy, timestep, encoder_hidden_states=embeds, added_cond_kwargs=conditions, return_dict=False
            )[0]
        loss = torch.nn.functional.mse_loss(predicted.float(), noise)
        began.append((time.perf_counter(), time.process_time()))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        float(loss.detach())  # a loop that shows its loss waits for the device once a step
    out.write_text(json.dumps({"began": began, "threads": torch.get_num_threads()}), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--base", type=Path, required=True)
    for option in ("--size", "--rank", "--steps"):
        parser.add_argument(option, type=int, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bf16", action="store_true")
    a = parser.parse_args()
    main(a.out, a.base, a.size, a.rank, a.steps, a.device, a.bf16)
