"""What `packshot evaluate` says at its end: whose adapter was judged as whom, the verdict, where the pictures are."""

from __future__ import annotations

import csv
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


def test_all_products_make_one_table_worst_first(shop: Workspace) -> None:
    done = CliRunner().invoke(main, ["evaluate", "--all", *_settings("-5"), "--workspace", str(shop.root)])
    assert done.exit_code == 3, done.output
    assert "Error: 1 of 1 adapter did not pass: bottle01" in done.stderr
    (head, row) = done.stdout.splitlines()
    assert head.split()[:4] == ["sku", "version", "verdict", "drawn"]
    assert row.split()[:3] == ["bottle01", "0001", "fail"]
    table = CliRunner().invoke(main, ["evaluate", "--all", "--csv", *_settings("1000"), "--workspace", str(shop.root)])
    assert table.exit_code == 0, table.output
    (found,) = csv.DictReader(table.stdout.splitlines())
    assert (found["sku"], found["verdict"]) == ("bottle01", "limited")
    assert Path(found["page"]).is_file()


@pytest.mark.parametrize(
    "line",
    [(), ("bottle01", "--all"), ("--all", "--adapter", "1"), ("bottle01", "--csv"), ("--all", "--csv", "--json")],
)
def test_options_that_contradict_each_other_are_usage_errors(shop: Workspace, line: tuple[str, ...]) -> None:
    assert CliRunner().invoke(main, ["evaluate", *line, "--workspace", str(shop.root)]).exit_code == 2


def _settings(bar: str) -> list[str]:
    settings = [*ONE, f"rules={{palette: {{bar: {bar}}}}}"]
    return [part for override in settings for part in ("--set", override)]
