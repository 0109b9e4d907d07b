"""The house's rules: the floors of the rooms, who sees a configuration, what `--help` costs, how long a module is."""

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

FLOORS = [
    ["core"],
    ["core/storage"],
    ["core/pictures", "core/basemodel", "core/pages", "core/tracing", "settings"],
    ["core/products", "core/compositing", "core/segmentation", "core/label_ocr", "core/embedding", "runs"],
    ["core/adapters", "matting"],
    ["core/painting", "checks", "examples", "adapters"],
    ["core/fidelity", "dataset", "latents", "unet"],
    ["training", "inference"],
    ["validation", "memory"],
    ["plan", "prepare", "check", "cutout", "export", "doctor", "place", "plate_scene", "evaluate"],
    ["train"],
    ["nightly"],
    ["cli", "inference/cli"],
]
"""The rooms from the ground up: a room imports from its own floor's modules of the same room and from lower floors.
Names without a folder are recipes and single modules; `core` is what stands directly in it."""

CONFIG_MODULES = {"finetune.settings", "inference.settings"}
SEE_CONFIG = {"finetune.training.session", "inference.grounding"}
"""Modules besides the settings, recipes and command lines that import a configuration class: each puts a recipe's parts
together and hands them plain values."""
RECIPES = {
    "plan",
    "prepare",
    "check",
    "cutout",
    "export",
    "doctor",
    "train",
    "nightly",
    "place",
    "plate_scene",
    "evaluate",
}
AWAITED = {
    "finetune.core.embedding": "fidelity measures identity with it",
    "finetune.core.label_ocr": "fidelity reads print with it",
    "finetune.core.segmentation.learned": "fidelity names what it finds beside the shipped segmenter",
    "finetune.core.segmentation.second_objects": "fidelity counts second products with it",
    "finetune.core.storage.locks": "batches of scenes are going to hold them",
}
"""Modules of core that one side does not use yet, and what it will use them for."""


def imports_of(path: Path) -> set[str]:
    """Every module a file imports, anywhere in it."""
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


def room_of(module: str) -> str | None:
    """The room a module stands in, as `FLOORS` names it; None for what is not ours, and for the packages themselves."""
    side, *parts = module.split(".")
    if side not in ("finetune", "inference") or not parts:
        return None
    names = [name for floor in FLOORS for name in floor]
    if side == "inference":
        if parts[0] == "cli":
            return "inference/cli"
        return parts[0] if parts[0] in ("place", "plate_scene", "evaluate") else "inference"
    for length in (2, 1):
        if (room := "/".join(parts[:length])) in names:
            return room
    return None


def floor_of(room: str) -> int:
    return next(number for number, floor in enumerate(FLOORS) if room in floor)


def wrong_imports(module: str, imported: set[str]) -> list[str]:
    """The rooms that a module may not import from, and does."""
    own = room_of(module)
    if own is None:
        return []
    rooms = {room for name in imported if (room := room_of(name)) and room != own}
    wrong = [f"{module} imports {room}" for room in sorted(rooms) if floor_of(room) >= floor_of(own)]
    if own.startswith("core"):
        wrong += [f"{module} imports {room}" for room in sorted(rooms) if not room.startswith("core")]
    if module.startswith("inference"):
        ours = {"inference", "inference/cli", "place", "plate_scene", "evaluate"}
        wrong += [
            f"{module} imports {room}" for room in sorted(rooms) if not room.startswith("core") and room not in ours
        ]
    if module.startswith("finetune"):
        wrong += [f"{module} imports {name}" for name in sorted(imported) if name.startswith("inference")]
    return wrong


def test_there_are_modules_to_look_at() -> None:
    assert len(MODULES) > 130


def test_every_module_stands_in_a_room() -> None:
    packages = {"finetune", "inference", "finetune.core"}
    homeless = [name_of(path) for path in MODULES if room_of(name_of(path)) is None and name_of(path) not in packages]
    assert homeless == []
    rooms = {room_of(name_of(path)) for path in MODULES}
    assert rooms - {None} == {room for floor in FLOORS for room in floor}, "the table names rooms that are there"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_room_imports_from_lower_floors_only(path: Path) -> None:
    assert wrong_imports(name_of(path), imports_of(path)) == []


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("finetune.unet.lora", "finetune.training.loop"),
        ("finetune.runs.report", "finetune.validation.loss"),
        ("finetune.checks.measures", "finetune.dataset.records"),
        ("finetune.prepare", "finetune.check"),
        ("finetune.core.pictures.images", "finetune.core.painting.prompts"),
        ("finetune.core.config", "finetune.settings"),
        ("finetune.train", "inference.place"),
        ("inference.place", "finetune.train"),
        ("inference.place", "inference.cli.place"),
    ],
)
def test_a_planted_import_against_the_order_is_found(module: str, imported: str) -> None:
    assert wrong_imports(module, {imported}) != []


def test_no_cycle_between_modules() -> None:
    names = {name_of(path) for path in MODULES}
    graph = {name_of(path): {i for i in imports_of(path) if i in names} for path in MODULES}
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " -> ".join([*above[above.index(module) :], module])
        if module not in done:
            for imported in graph[module] - {module}:
                visit(imported, (*above, module))
            done.add(module)

    for module in sorted(graph):
        visit(module, ())
    assert done == names


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
    packages = {name_of(path) for path in MODULES if path.stem == "__init__"}
    core = {name for name in graph if name.startswith("finetune.core.")} - packages - {"finetune.core.commands"}
    assert core - both - set(AWAITED) == set()
    assert set(AWAITED) <= core - both, "what both sides use by now is awaited no longer"


def _side(name: str) -> str:
    return "core" if name.startswith("finetune.core") else name.split(".")[0]


PARSERS = {
    "json": {"load", "loads", "JSONDecoder"},
    "yaml": {"load", "load_all", "safe_load", "safe_load_all", "full_load", "compose", "parse", "scan"},
    "pydantic_core": {"from_json"},
    "struct": {"unpack", "unpack_from", "iter_unpack"},
}
DOORS = {"finetune.core.json_files": {"pydantic_core"}, "finetune.core.yaml_files": {"yaml"}}
"""The modules that may call a parser, and whose."""


def parsers_called(source: str) -> set[str]:
    """Calls and imports of parsers in a module, also under another name: `json.loads`, `map(json.loads, ...)`."""
    tree, names, found = ast.parse(source), {}, set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname or alias.name: alias.name for alias in node.names if alias.name in PARSERS}
        elif isinstance(node, ast.ImportFrom) and node.module in PARSERS:
            found |= {f"{node.module}.{alias.name}" for alias in node.names if alias.name in PARSERS[node.module]}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in names:
            module = names[node.value.id]
            found |= {f"{module}.{node.attr}"} if node.attr in PARSERS[module] else set()
    return found


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_documents_are_parsed_at_one_door(path: Path) -> None:
    allowed = DOORS.get(name_of(path), set())
    called = parsers_called(path.read_text(encoding="utf-8"))
    assert {name for name in called if name.split(".")[0] not in allowed} == set()


@pytest.mark.parametrize(
    "source",
    [
        "import json\njson.loads(text)",
        "import json as j\nlist(map(j.loads, lines))",
        "from json import load",
        "import yaml\nyaml.safe_load(text)",
        "from pydantic_core import from_json",
        "import struct\nstruct.unpack('<Q', head)",
    ],
)
def test_a_planted_parser_is_found(source: str) -> None:
    assert parsers_called(source) != set()


def test_headers_are_read_by_safetensors_alone() -> None:
    readers = {name_of(p) for p in MODULES if "safe_open" in p.read_text(encoding="utf-8")}
    known = {"finetune.core.storage.safetensors_header", "finetune.core.adapters.foreign", "finetune.latents.entries"}
    assert readers == known


def test_no_room_hides_a_recipe() -> None:
    """Python takes a package before a module of the same name."""
    for side in ("finetune", "inference"):
        folders = {path.name for path in (ROOT / side).iterdir() if path.is_dir()}
        assert folders & {path.stem for path in (ROOT / side).glob("*.py")} == set()


def test_configuration_is_seen_by_recipes_and_command_lines_only() -> None:
    strangers = []
    for path in MODULES:
        module, room = name_of(path), room_of(name_of(path))
        allowed = module in CONFIG_MODULES or room in {*RECIPES, "cli", "inference/cli"} or module in SEE_CONFIG
        seen = {name for name in imports_of(path) if name.rsplit(".", 1)[0] in CONFIG_MODULES}
        classes = {name for name in seen if name.rsplit(".", 1)[1].endswith(("Config", "Section"))}
        if classes and not allowed:
            strangers.append((module, sorted(classes)))
    assert strangers == []


def test_train_knows_at_most_twenty_modules() -> None:
    names = {name_of(path) for path in MODULES if path.stem != "__init__"}
    assert len(imports_of(ROOT / "finetune" / "train.py") & names) <= 20


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_size_and_name(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 350, "a module has at most 350 lines"
    assert path.stem not in VAGUE
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a module opens with what it is"
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= 60, f"{node.name} has {length} lines, 60 at most"


def test_packages_import_nothing() -> None:
    packages = [path for path in MODULES if path.stem == "__init__"]
    assert len(packages) > 20
    for package in packages:
        assert imports_of(package) == set(), name_of(package)


def test_datasets_folder_holds_data_only() -> None:
    assert (ROOT / "datasets").is_dir()
    assert list((ROOT / "datasets").rglob("*.py")) == []


def _run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    assert done.stderr == ""
    return done.stdout


@pytest.mark.slow
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


@pytest.mark.slow
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
