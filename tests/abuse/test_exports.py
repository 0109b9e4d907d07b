"""A fixed sample of the random orders of exports, and that their judge sees what must not happen."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from published_adapters import published

from benchmarks.abuse import exports
from finetune import export
from finetune.adapters import export_files
from finetune.core.adapters import token_embeddings
from finetune.core.basemodel.resolve import resolve_base
from finetune.core.products.catalog import Workspace

pytestmark = pytest.mark.tiny
ORDERS, LENGTH = 3, 4
SKU, WORD = "bottle01", "bttl01"


@pytest.fixture(scope="module")
def shop(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Three versions: two with tokens of their own, which differ, and one without."""
    found, base = Workspace(tmp_path_factory.mktemp("shop")), resolve_base(str(tiny_base))
    rows = {key: torch.linspace(-0.5, 0.5, 64).reshape(2, 32) for key in token_embeddings.ENCODERS}
    for tokens in (rows, {key: -value for key, value in rows.items()}, None):
        published(found, base, tokens)
    return found


def run(shop: Workspace, folder: Path, number: int) -> exports.Order:
    return exports.run_order(shop, SKU, WORD, folder, random.Random(number), LENGTH)


def test_in_random_orders_nothing_is_replaced_unless_that_is_asked_for(shop: Workspace, tmp_path: Path) -> None:
    done = [run(shop, tmp_path / "order", number) for number in range(ORDERS)]
    assert [fault for order in done for fault in order.faults] == []
    ended = sum((order.ended for order in done), exports.Counter[str]())
    assert ended["written"] + ended["refused"] == ORDERS * LENGTH
    assert ended["written"] > ORDERS
    assert ended["refused"] > ORDERS
    assert ended["replaced"] > 0
    assert not (tmp_path / "order").exists()


def test_an_export_that_replaces_something_would_be_seen(
    shop: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_files, "_check_free", lambda _: None)
    monkeypatch.setattr(export, "compare", lambda *_, **__: (0.0, 1.0))  # what is written does not matter here
    assert any("was replaced" in fault for number in range(2) for fault in run(shop, tmp_path / "o", number).faults)
