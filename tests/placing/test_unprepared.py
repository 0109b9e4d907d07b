"""Placing a product that was never prepared: it is prepared first, after everything else was looked at."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from drawn_products import draw_bottle, write_set

from finetune.core.commands import main
from finetune.core.products.prepared import read_prepared

pytestmark = pytest.mark.tiny


def place(root: Path, *arguments: str) -> Result:
    line = ["place", "bottle01", "--prompt", "on oak", "--size", "128", "--steps", "1", *arguments]
    return CliRunner().invoke(main, [*line, "--workspace", str(root)])


def test_it_is_prepared_first_and_that_is_said(tmp_path: Path, tiny_base: Path) -> None:
    write_set(tmp_path, "bottle01", {"front": draw_bottle(120)})
    done = place(tmp_path, "--adapter", "none", "--base", str(tiny_base), "--json")
    assert done.exit_code == 0, done.output
    assert "bottle01 is not prepared yet: preparing it first" in done.stderr
    (picture,) = json.loads(done.stdout)["pictures"]
    assert Path(picture["path"]).is_file()
    again = place(tmp_path, "--adapter", "none", "--base", str(tiny_base))
    assert again.exit_code == 0
    assert "preparing" not in again.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "'bottle01' has no adapter yet"),
        (("--adapter", "none", "--base", "no/where/at all"), "no base at"),
        (("--adapter", "none", "--size", "40"), "is out of range (64 to 4096)"),
        (("--adapter", "none", "--prompt", " "), "the prompt is empty"),
    ],
)
def test_nothing_is_prepared_for_a_request_that_is_wrong(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    write_set(tmp_path, "bottle01", {"front": draw_bottle(120)})
    done = place(tmp_path, *arguments)
    assert done.exit_code == 1
    assert says in done.stderr
    assert read_prepared(tmp_path / "datasets" / "bottle01" / "prepared") is None


def test_a_set_that_cannot_be_prepared_says_why(tmp_path: Path, tiny_base: Path) -> None:
    write_set(tmp_path, "bottle01", {"front": draw_bottle(120)})
    (tmp_path / "datasets" / "bottle01" / "photos" / "front.png").write_bytes(b"no picture")
    done = place(tmp_path, "--adapter", "none", "--base", str(tiny_base))
    assert done.exit_code == 1
    assert done.stdout == ""
    assert len([line for line in done.stderr.splitlines() if line.startswith("Error: ")]) == 1
