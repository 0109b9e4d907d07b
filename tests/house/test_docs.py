"""The documentation is held against the code: the tree, the commands, the configuration keys it names, its links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from finetune.core.commands import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted(p for p in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "datasets" / "README.md"])


def test_the_tree_names_every_module() -> None:
    modules = [p for side in ("finetune", "inference") for p in (ROOT / side).rglob("*.py") if p.stem != "__init__"]
    tree = README.split("## The tree")[1].split("\n## ")[0]
    named = re.findall(r"^ {6,8}(\S+\.py)\s+\S", tree, flags=re.M)
    assert len(modules) > 30
    assert sorted(named) == sorted(p.name for p in modules)


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
