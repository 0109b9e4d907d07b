"""Fixtures every test may ask for; what they are made of stands in tests/support."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from drawn_products import draw_bottle, write_set
from tiny_base import make_tiny_base

from finetune.core import console
from finetune.core.basemodel.resolve import ResolvedBase, resolve_base
from finetune.core.products.catalog import Workspace

console.quiet_libraries()


@pytest.fixture(autouse=True)
def one_torch_thread() -> None:
    """Two threads may sum in another order and move a pixel by one step; equality here means equality."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def fresh_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each text is warned of once a process; here a test is a process."""
    monkeypatch.setattr(console, "_EARLIER_WARNINGS", set())


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with one drawn product, `bottle01`, in two views."""
    write_set(tmp_path, "bottle01", {"front": draw_bottle(), "side": draw_bottle(shift=6)})
    return Workspace(tmp_path)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the tiny SDXL with a 9-channel UNet."""
    return make_tiny_base(tmp_path_factory.mktemp("tiny9"))


@pytest.fixture(scope="session")
def tiny_base_4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the tiny SDXL with a plain 4-channel UNet."""
    return make_tiny_base(tmp_path_factory.mktemp("tiny4"), channels=4)


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed."""
    return np.random.default_rng(7)


@pytest.fixture
def base(tiny_base: Path) -> ResolvedBase:
    """The tiny SDXL, resolved."""
    return resolve_base(str(tiny_base))
