"""Writes docs/settings.md from the configuration classes: every key, its default, its limits, its meaning.

python -m tools.docs.settings_reference          # writes it
python -m tools.docs.settings_reference --check  # exit 1 when it is stale (a test runs the same)
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo

from finetune.core.config import Strict
from finetune.core.fidelity.gate import GateConfig
from finetune.core.products.catalog import SetConfig
from finetune.nightly import NightlyConfig
from finetune.settings import TrainConfig
from inference.settings import PlaceConfig

PAGE = Path(__file__).resolve().parents[2] / "docs" / "settings.md"
CLASSES: tuple[tuple[str, str, type[Strict]], ...] = (
    ("Training", "`configs/train/*.yaml`, `packshot train --config FILE --set train.steps=500`", TrainConfig),
    ("Placing", "`configs/scenes/*.yaml`, `packshot place --config FILE`", PlaceConfig),
    ("A product set", "`datasets/SKU/set.yaml`", SetConfig),
    ("The night job", "`configs/nightly.yaml`", NightlyConfig),
    ("The gate", "`configs/gate.yaml`", GateConfig),
)


def rows(model: type[Strict], prefix: str = "") -> list[str]:
    """A table row for every key of a configuration class, sections first by their own name."""
    found = []
    for name, field in model.model_fields.items():
        key = f"{prefix}{name}"
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Strict):
            found += rows(kind, f"{key}.")
            continue
        cells = (f"`{key}`", _default(field), _limits(field), _one_line(field.description or ""))
        found.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return found


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    return f"`{_plain(value)}`" if value not in ("", (), [], {}, None) else "none"


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_plain(v) for v in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {_plain(v)}" for k, v in value.items()) + "}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _limits(field: FieldInfo) -> str:
    """Choices, or the bounds of a number."""
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(field.annotation))
    signs = {annotated_types.Ge: ("ge", ">="), annotated_types.Gt: ("gt", ">"),
             annotated_types.Le: ("le", "<="), annotated_types.Lt: ("lt", "<")}  # fmt: skip
    bounds = []
    for constraint in field.metadata:
        if type(constraint) in signs:
            attribute, sign = signs[type(constraint)]
            bounds.append(f"{sign} {_plain(getattr(constraint, attribute))}")
    return ", ".join(bounds)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def page() -> str:
    """The whole page."""
    lines = [
        "# Settings",
        "",
        "Written by `python -m tools.docs.settings_reference` from the classes' own docstrings; do not edit.",
        "Unknown keys are errors. A key is set in YAML under its section, or by `--set key=value`;",
        "`packshot config show` prints what holds.",
    ]
    for title, where, model in CLASSES:
        lines += ["", f"## {title}", "", where, "", "| key | default | limits | meaning |", "|---|---|---|---|"]
        lines += rows(model)
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the page, or say that it is stale."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        if not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != page():
            sys.exit("Error: docs/settings.md is stale\nhint: python -m tools.docs.settings_reference")
        return
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
