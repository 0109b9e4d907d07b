"""A run's pace: learning rate over samples, wall clock, randomness of a step, running averages, checkpoints, log.

A run's budget counts samples. The wall clock only says when a checkpoint is due, and when a start with a limit ends:
a run that is paused for an hour, or ended and started again, goes on with the same rate.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

COOLING = 0.2
"""Last part of a start with a limit in minutes in which the rate goes down to nothing."""


COMPUTED = 1 / 6
"""Share of `save_minutes` that must have been computed before the next checkpoint."""


class Clock:
    """When one start saves and when it ends, by the wall clock.

    A run that other work leaves next to nothing of the processor does not spend it on checkpoints.
    """

    def __init__(self, save_minutes: float, end_minutes: float | None = None) -> None:
        self._save_seconds = 60 * save_minutes
        self._end_seconds = 60 * end_minutes if end_minutes else math.inf
        self._start = self._saved = time.monotonic()
        self._computed = time.process_time()

    def save_due(self) -> bool:
        """True once every `save_minutes`, later where little was computed; the next time counts from here."""
        now, computed = time.monotonic(), time.process_time()
        if now - self._saved < self._save_seconds or computed - self._computed < COMPUTED * self._save_seconds:
            return False
        self._saved, self._computed = now, computed
        return True

    @property
    def share(self) -> float:
        """Part of this start's time that is over: 0 to 1, always 0 without a limit."""
        return min(1.0, (time.monotonic() - self._start) / self._end_seconds)


def learning_rate(peak: float, step: int, share: float, warmup: int = 200, floor: float = 0.03) -> float:
    """Linear warm-up by step, then a cosine over the budget's share down to `floor` of the peak."""
    warm = min(1.0, (step + 1) / warmup)
    return peak * warm * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * share)))


def cooled(rate: float, clock_share: float) -> float:
    """The rate near the end of a start with a limit: linear to 0, so that what it leaves is good to use."""
    return rate * min(1.0, (1 - clock_share) / COOLING)


def step_randomness(seed: int, step: int, rank: int) -> np.random.Generator:
    """The randomness of one step, torch's included: a run that was ended draws what it would have drawn."""
    rng = np.random.default_rng((seed, step, rank))
    torch.manual_seed(int(rng.integers(2**31)))
    return rng


class Average:
    """An exponential moving average of a module's parameters, warmed up."""

    def __init__(self, module: torch.nn.Module, decay: float) -> None:
        self.decay = decay
        self.shadow = {k: v.detach().clone() for k, v in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: torch.nn.Module, step: int) -> None:
        """Moves the average towards the module's weights of now."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for key, value in module.state_dict().items():
            if value.is_floating_point():
                self.shadow[key].lerp_(value, 1 - decay)
            else:
                self.shadow[key].copy_(value)


class Meter:
    """Mean losses between two lines of a log; each line goes to the screen and to a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._sums: dict[str, float] = {}
        self._count = 0
        self._since = time.monotonic()

    def add(self, losses: dict[str, float]) -> None:
        """Adds one step's losses."""
        for key, value in losses.items():
            self._sums[key] = self._sums.get(key, 0.0) + value
        self._count += 1

    def write(self, facts: dict[str, Any], samples_per_step: int) -> None:
        """Writes the means since the last line, then starts anew."""
        seconds = time.monotonic() - self._since
        means = {k: round(v / max(1, self._count), 5) for k, v in self._sums.items()}
        rate = round(self._count * samples_per_step / seconds, 2)
        line = {**facts, **means, "samples_per_s": rate}
        with self.path.open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        print(" ".join(f"{k}={v}" for k, v in line.items()), flush=True)
        self._sums, self._count, self._since = {}, 0, time.monotonic()


def save_state(state: dict[str, Any], path: Path) -> None:
    """Writes a checkpoint of tensors and plain values, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".writing")
    torch.save(state, temporary)
    temporary.replace(path)


def load_state(path: Path) -> dict[str, Any] | None:
    """Reads a checkpoint, or None where there is none."""
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets every group's learning rate; a group may carry a `factor` of its own."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("factor", 1.0)


def clip(parameters: Iterable[torch.nn.Parameter], limit: float) -> float:
    """Clips the gradient's norm and returns what it was."""
    return float(torch.nn.utils.clip_grad_norm_(list(parameters), limit))
