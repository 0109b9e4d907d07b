"""Placing warns where little of the placed photo is opaque, unless set.yaml says that it is glass."""

from __future__ import annotations

from pathlib import Path

import pytest
from drawn_glass import bottle, photograph, white
from drawn_products import draw_bottle, write_set

from finetune.core.products.catalog import Workspace
from finetune.prepare import prepare_set
from finetune.settings import DataSection
from inference.place import resolve_request
from inference.request import DrawnWith
from inference.settings import PlaceConfig

pytestmark = pytest.mark.tiny


def said(root: Path, base: Path, capsys: pytest.CaptureFixture[str]) -> str:
    workspace = Workspace(root)
    prepare_set(workspace, "x1", data=DataSection(size=64, variants=1))
    capsys.readouterr()
    resolve_request(workspace, "x1", "on oak", config=PlaceConfig(size=256), means=DrawnWith("none", str(base)))
    return capsys.readouterr().err


def test_clear_glass_is_warned_of(tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    glass = photograph(bottle((0.93, 0.93, 0.92), lined=True), white())
    write_set(tmp_path / "auto", "x1", {"front": glass})
    told = said(tmp_path / "auto", tiny_base, capsys)
    assert "of the product on 'front' is opaque and kept pixel for pixel" in told
    assert "glass: yes" in told
    write_set(tmp_path / "yes", "x1", {"front": glass}, glass="yes")
    assert "pixel for pixel" not in said(tmp_path / "yes", tiny_base, capsys)


def test_an_opaque_product_is_not(tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_set(tmp_path, "x1", {"front": draw_bottle()})
    assert "pixel for pixel" not in said(tmp_path, tiny_base, capsys)
