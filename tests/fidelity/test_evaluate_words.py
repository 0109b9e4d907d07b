"""What `packshot evaluate` says at its end: whose adapter was judged as whom, the verdict, where the pictures are."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from drawn_products import draw_bottle, write_set
from made_once import prepare_once
from published_adapters import published

from finetune.core.basemodel.resolve import resolve_base
from finetune.core.commands import main
from finetune.core.config import validate
from finetune.core.products.catalog import Workspace
from finetune.settings import TrainConfig

pytestmark = pytest.mark.tiny
ONE = ["pictures.scenes=[on oak]", "pictures.seeds=[1]", "pictures.steps=1"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Workspace:
    """Two prepared products, and an adapter of the first."""
    workspace = Workspace(tmp_path_factory.mktemp("shop"))
    config = validate(TrainConfig, {"data": {"size": 64, "variants": 2}}, "tiny")
    for sku, colour in (("bottle01", (150, 40, 60)), ("bottle02", (40, 90, 160))):
        write_set(workspace.root, sku, {"front": draw_bottle(colour=colour)})
        prepare_once(workspace, sku, config.data)
    published(workspace, resolve_base(str(tiny_base)))
    return workspace


def evaluate(shop: Workspace, sku: str, *arguments: str) -> Result:
    settings = [part for override in ONE for part in ("--set", override)]
    return CliRunner().invoke(main, ["evaluate", sku, *settings, *arguments, "--workspace", str(shop.root)])


@pytest.mark.parametrize(("judged", "code"), [("bottle01", 0), ("bottle02", 0), ("bottle01", 3)])
def test_the_last_line_names_owner_judged_verdict_and_pictures(judged: str, code: int, shop: Workspace) -> None:
    adapter = ["--adapter", str(shop.adapters / "bottle01" / "0001")]
    bar = "1000" if code == 0 else "0.001"
    rules = f"rules={{palette: {{bar: {bar}}}}}"
    done = evaluate(shop, judged, *adapter, "--set", rules)
    assert done.exit_code == code, done.output
    (line,) = (line for line in done.stderr.splitlines() if "judged as" in line)
    verdict = "limited" if code == 0 else "fail"
    assert ("limited: no bar is missed, but shape and structure and colour could not be judged" in done.stderr) == (
        code == 0
    )
    assert line.startswith(f"adapter 0001 of 'bottle01' judged as '{judged}': {verdict}; pictures: ")
    sheet, page = map(Path, line.partition("pictures: ")[2].split(", page: "))
    assert "between the base alone" in page.read_text(encoding="utf-8").lower()
    assert sheet.name == "fidelity.png"
    assert sheet.is_file()
