"""Trains the segmenter: a frozen beginning, a trained rest, checkpoints, held-out figures."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from finetune.core.segmentation.network import ProductNetwork, to_input
from tools.product_segmenter.examples import Source, make_batch
from tools.product_segmenter.start import start_network

FROZEN_BLOCKS = 5
"""Blocks that keep ImageNet's weights: edges and textures; training them costs half of a step's time."""
DECODER_RATE, ENCODER_RATE = 2e-3, 2e-4
"""Learning rates of AdamW at the top of the schedule."""
WARMUP = 40
"""Steps until the top."""


def train(source: Source, *, steps: int, batch: int, seed: int, checkpoint: Path) -> ProductNetwork:
    """Train a network, going on from the checkpoint if there is one.

    Args:
        source: Pictures.
        steps: Optimizer steps in all; the schedule is a cosine over them.
        batch: Examples a step.
        seed: Of the decoder and the examples.
        checkpoint: File of the state; written every 100 steps.
    """
    torch.manual_seed(seed)
    network = start_network()
    network.stem.requires_grad_(False)
    network.blocks[:FROZEN_BLOCKS].requires_grad_(False)
    encoder = list(network.blocks[FROZEN_BLOCKS:].parameters())
    decoder = [p for name, p in network.named_parameters() if not name.startswith(("stem", "blocks"))]
    optimizer = torch.optim.AdamW(
        [{"params": encoder, "top": ENCODER_RATE}, {"params": decoder, "top": DECODER_RATE}], weight_decay=1e-2
    )
    first = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        first = int(state["step"])
    since, total = time.monotonic(), 0.0
    for step in range(first, steps):
        share = min((step + 1) / WARMUP, 0.5 + 0.5 * math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = group["top"] * share
        pictures, masks = make_batch(source, np.random.default_rng((seed, step)), batch)
        loss = region_loss(network(to_input(torch.from_numpy(pictures))), torch.from_numpy(masks).float() / 255)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([*encoder, *decoder], 1.0)
        optimizer.step()
        total += float(loss.detach())
        if (step + 1) % 20 == 0:
            print(f"step {step + 1}: loss {total / 20:.4f}, {time.monotonic() - since:.0f} s", flush=True)
            total = 0.0
        if (step + 1) % 100 == 0:
            part = checkpoint.with_suffix(".part")
            torch.save({"network": network.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}, part)
            part.replace(checkpoint)
    return network.eval()


def region_loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """Binary cross-entropy plus soft Dice (Milletari et al., "V-Net", 3DV 2016), so that small products count too."""
    plain = functional.binary_cross_entropy_with_logits(logits, wanted)
    found = logits.sigmoid()
    both = (found * wanted).sum((1, 2))
    dice = 1 - (2 * both + 16) / (found.sum((1, 2)) + wanted.sum((1, 2)) + 16)
    return plain + 0.5 * dice.mean()


def save_weights(network: ProductNetwork, path: Path) -> None:
    """Write the weights as fp16 safetensors."""
    part = path.with_suffix(".part")
    save_file({name: tensor.half().contiguous() for name, tensor in network.state_dict().items()}, part)
    part.replace(path)
