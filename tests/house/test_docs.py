"""The documentation is held against the code: the tree, the commands, the configuration keys it names, its links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from finetune.core.commands import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted(p for p in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "datasets" / "README.md"])


def rooms(side: str) -> list[Path]:
    """Packages of a side, without those of the embedded base and of other data."""
    return sorted(path.parent.relative_to(ROOT / side) for path in (ROOT / side).rglob("__init__.py"))


def test_the_readme_is_short_and_its_tree_names_every_room() -> None:
    assert len(README.splitlines()) <= 200
    tree = README.split("## The tree")[1].split("\n## ")[0]
    lines = [line for line in tree.splitlines() if line.startswith("    ")]
    assert len(lines) <= 40
    named = [line.split()[0].rstrip("/") for line in lines if line.startswith("      ")]
    wanted = [path.name for side in ("finetune", "inference") for path in rooms(side) if path.name]
    assert len(wanted) > 20
    assert sorted(named) == sorted([*wanted, "embedded"])


def test_the_architecture_describes_every_room() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    table = page.split("## The rooms")[1].split("\n## ")[0]
    described = set(re.findall(r"^\| `([a-z/]+?)/?` \|", table, flags=re.M))
    wanted = {path.as_posix() for path in rooms("finetune") if path.name not in ("", "cli")}
    assert wanted <= described, wanted - described
    drawing = page.split("## The floors")[1].split("\n## ")[0]
    assert {name for name in wanted if name != "core" and name not in drawing} == set()


def test_every_command_is_in_the_readme() -> None:
    for name in COMMANDS:
        assert f"packshot {name}" in README, name


def test_the_readmes_two_commands_are_make_targets() -> None:
    block = README.split("```sh\n")[1].split("```")[0]
    lines = block.strip().splitlines()
    assert lines == ['make scenes SKU=perfume01 PROMPT="on a white marble vanity, soft daylight"', "make test"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for line in lines:
        assert re.search(rf"^{line.split()[1]}: setup", makefile, flags=re.M), line
    assert "make check" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert re.search(r"^check: .*\btest\b", makefile, flags=re.M)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} -> {target}"


def test_the_changelog_has_the_packages_version_or_an_unreleased_part() -> None:
    assert "## Unreleased" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_settings_page_is_fresh() -> None:
    from tools.docs.settings_reference import PAGE, page

    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m tools.docs.settings_reference"
