"""Fixtures every test may ask for; what they are made of stands in tests/support."""

from __future__ import annotations

import gc
import os
import re
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from drawn_products import draw_bottle, write_set
from made_once import ENTRIES, collect_entries, made_once, open_at, share_entries
from small_gates import write_checkout
from tiny_base import make_tiny_base

from finetune.core import console
from finetune.core.basemodel.resolve import ResolvedBase, resolve_base
from finetune.core.products.catalog import Workspace

gc.disable()  # until all is collected: what is imported stays, and looking for garbage in it takes a tenth of the time
console.quiet_libraries()
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # else torch's compiler starts processes that import torch


@pytest.fixture(autouse=True)
def one_torch_thread() -> None:
    """Two threads may sum in another order and move a pixel by one step; equality here means equality."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def fresh_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each text is warned of once a process; here a test is a process."""
    monkeypatch.setattr(console, "_EARLIER_WARNINGS", set())


@pytest.fixture(autouse=True)
def fresh_accelerate() -> Iterator[None]:
    """accelerate keeps a process's first precision; here a test is a process."""
    yield
    if state := sys.modules.get("accelerate.state"):
        state.AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(autouse=True, scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Where the workers of this run share what they make (`made_once`)."""
    own = tmp_path_factory.getbasetemp()
    open_at((own.parent if os.environ.get("PYTEST_XDIST_WORKER") else own) / "made-once")


@pytest.fixture
def cold_workspace(tmp_path: Path) -> Workspace:
    """A workspace with one drawn product, `bottle01`, in two views, and a cache of its own that is empty."""
    write_set(tmp_path, "bottle01", {"front": draw_bottle(), "side": draw_bottle(shift=6)})
    for kind in ENTRIES:
        (tmp_path / ".cache" / kind).mkdir(parents=True)
    return Workspace(tmp_path)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with one drawn product, `bottle01`, in two views; what other tests have encoded is in its cache."""
    write_set(tmp_path, "bottle01", {"front": draw_bottle(), "side": draw_bottle(shift=6)})
    share_entries(tmp_path)
    return Workspace(tmp_path)


@pytest.fixture(scope="session")
def tiny_base() -> Path:
    """Folder of the tiny SDXL with a 9-channel UNet."""
    return made_once("tiny9", make_tiny_base) / "base"


@pytest.fixture(scope="session")
def tiny_base_4() -> Path:
    """Folder of the tiny SDXL with a plain 4-channel UNet."""
    return made_once("tiny4", lambda folder: make_tiny_base(folder, channels=4)) / "base"


@pytest.fixture(scope="session")
def checkout_with_a_small_gate() -> Path:
    """PYTHONPATH of processes that are to judge two small pictures instead of the shipped gate's six."""
    return made_once("checkout", write_checkout)


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed."""
    return np.random.default_rng(7)


@pytest.fixture
def base(tiny_base: Path) -> ResolvedBase:
    """The tiny SDXL, resolved."""
    return resolve_base(str(tiny_base))


TIERS = ("e2e", "slow", "tiny")
UNITS_ALONE = "not (tiny or e2e or slow or gpu)"
"""What `make test-fast` selects."""
OF_A_TIER = re.compile(r"^pytestmark = \[?pytest\.mark\.(tiny|e2e|slow|gpu)\b", re.MULTILINE)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """For the unit tier alone, files of another tier are not imported: their libraries take longer than its tests."""
    if config.option.markexpr == UNITS_ALONE and collection_path.suffix == ".py":
        return bool(OF_A_TIER.search(collection_path.read_text(encoding="utf-8"))) or None
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with tests of the heavier tiers go first, so that no worker is left alone with one at the end."""
    heaviest: dict[Path, int] = {}
    for item in items:
        tier = next((n for n, name in enumerate(TIERS) if item.get_closest_marker(name)), len(TIERS))
        heaviest[item.path] = min(tier, heaviest.get(item.path, len(TIERS)))
    items.sort(key=lambda item: heaviest[item.path])


def pytest_collection_finish() -> None:
    """The modules that are imported by now live to the end: no later collection of garbage has to look at them."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """What a test has encoded is there for the next one, before its folder may be removed."""
    collect_entries(again=nextitem is None or nextitem.path != item.path)


def pytest_sessionfinish() -> None:
    """No server of forked commands outlives the tests."""
    if commands := sys.modules.get("started_commands"):
        commands.stop_server()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """CPU time of the run: of this process and of all it has waited for, workers and commands."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    minutes, seconds = divmod(sum(usage.ru_utime + usage.ru_stime for usage in used), 60)
    terminalreporter.write_line(f"CPU time (user + sys): {minutes:.0f} min {seconds:.0f} s")
