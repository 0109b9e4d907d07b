"""The house's own rules, held: who imports whom, what `--help` costs, how long a module may be."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from finetune.core.commands import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted([*ROOT.glob("finetune/**/*.py"), *ROOT.glob("inference/**/*.py")])
VAGUE = {"utils", "util", "common", "helpers", "helper", "misc", "shared", "base"}


def imports_of(path: Path) -> set[str]:
    """Every module a file imports, anywhere in it; also those it names as "package.module:attribute" strings."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_there_are_modules_to_look_at() -> None:
    assert len(MODULES) > 30


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_import_rule(path: Path) -> None:
    name = name_of(path)
    for imported in imports_of(path):
        inside_core = imported == "finetune.core" or imported.startswith("finetune.core.")
        if name.startswith("inference") and imported.startswith("finetune"):
            assert inside_core or imported == "finetune", f"{name} imports {imported}"
        if name.startswith("finetune"):
            assert not imported.startswith("inference"), f"{name} imports {imported}"
        if name.startswith("finetune.core") and imported.startswith("finetune"):
            assert inside_core or imported == "finetune", f"{name} imports {imported}"


def test_only_what_both_sides_use_stands_in_core() -> None:
    graph = {name_of(path): {i for i in imports_of(path) if i.startswith("finetune")} for path in MODULES}

    def reached(side: str) -> set[str]:
        seen: set[str] = set()
        waiting = [i for name, found in graph.items() if _side(name) == side for i in found]
        while waiting:
            module = waiting.pop()
            if module in graph and module not in seen:
                seen.add(module)
                waiting += graph[module] if module.startswith("finetune.core") else []
        return seen

    both = reached("finetune") & reached("inference")
    core = {name for name in graph if name.startswith("finetune.core.")} - {"finetune.core.commands"}
    assert core - both == set()


def _side(name: str) -> str:
    return "core" if name.startswith("finetune.core") else name.split(".")[0]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_size_and_name(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 380, "a module is at most about 350 lines"
    assert path.stem not in VAGUE
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a module opens with what it is"
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert (node.end_lineno or 0) - node.lineno < 75, f"{node.name} is too long"


def test_the_packages_import_nothing() -> None:
    for package in ("finetune", "inference"):
        assert imports_of(ROOT / package / "__init__.py") == set()


def test_datasets_folder_holds_data_only() -> None:
    assert (ROOT / "datasets").is_dir()
    assert list((ROOT / "datasets").rglob("*.py")) == []


def _run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    assert done.stderr == ""
    return done.stdout


def test_every_help_comes_up_without_torch() -> None:
    code = f"""
import sys
from click.testing import CliRunner
from finetune.core.commands import main
for line in {[[name] for name in COMMANDS] + [[]]!r}:
    result = CliRunner().invoke(main, [*line, "--help"])
    assert result.exit_code == 0, (line, result.output)
    assert result.output.startswith("Usage:"), line
heavy = {{"torch", "diffusers", "transformers", "peft", "accelerate", "datasets"}} & set(sys.modules)
print(sorted(heavy))
"""
    assert _run(code).strip() == "[]"


def test_every_command_has_help_and_common_options() -> None:
    from click.testing import CliRunner

    from finetune.core.commands import main

    assert len(COMMANDS) >= 9
    for name in COMMANDS:
        output = CliRunner().invoke(main, [name, "--help"]).output
        assert "Commands:" in output or ("--workspace" in output and "--debug" in output), name


def test_stderr_is_clean_of_the_libraries_chatter(tmp_path: Path) -> None:
    """`doctor` imports torch, diffusers and the hub; nothing of theirs may reach stderr."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("TRANSFORMERS_", "DIFFUSERS_", "PYTHONW"))}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "finetune.core.commands", "doctor", "--json", "--workspace", str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
