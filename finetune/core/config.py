"""The mechanics of configuration: strict pydantic models, YAML, `--set a.b=c`, every problem at once.

The classes themselves live beside their owners (`finetune.settings`, `inference.settings`). Precedence, weakest first:
class default < YAML file < `--set` < named flag. A setting that was renamed is read under its old name too.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from finetune.core.console import warn
from finetune.core.errors import ConfigError, did_you_mean, nearest
from finetune.core.yaml_files import parse_yaml

RENAMED = {"objective.elsewhere_weight": "objective.base_preservation_weight"}
"""Old name -> present name of a setting, in the same section. Files and `--set` may use the old name for one release,
with a warning. Fingerprints and the headers of adapters keep it, so that no adapter becomes stale by a name."""


class Strict(BaseModel):
    """Base of every configuration class: unknown keys are errors, values don't change, docstrings are the manual.

    YAML hands over every value as text (`core.yaml_files`), and the field's type reads it: `00123` stays text in a text
    field, `1e-4` is a number in a number's, `yes` a truth value in a boolean's.
    """

    REFERENCE: ClassVar[str] = "docs/settings.md describes every key"
    """Hint of errors: where the keys of this class's file are described."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        coerce_numbers_to_str=True,
    )


Model = TypeVar("Model", bound=BaseModel)


def presets_dir() -> Path:
    """Folder of the shipped YAML presets: `configs/` of a checkout, `finetune/presets` of an installed wheel."""
    package = Path(__file__).resolve().parents[1]
    checkout = package.parent / "configs"
    return checkout if (checkout / "train").is_dir() else package / "presets"


def gate_path(path: str | None = None) -> Path:
    """The gate file given, or the shipped `gate.yaml`."""
    return Path(path) if path else presets_dir() / "gate.yaml"


def find_config(name: str, kind: str) -> Path:
    """Find a configuration file by path, or a shipped preset by name (`embedded` -> `configs/train/embedded.yaml`).

    Raises:
        ConfigError: nothing of that name; the hint lists the presets of that kind.
    """
    as_path = Path(name)
    if as_path.is_file():
        return as_path
    folder = presets_dir() / kind
    for candidate in (folder / name, folder / f"{name}.yaml"):
        if candidate.is_file():
            return candidate
    known = sorted(p.stem for p in folder.glob("*.yaml"))
    hint = did_you_mean(name, known) or f"give a file, or one of the presets: {', '.join(known)}"
    raise ConfigError(f"no config file '{name}'", hint)


def apply_overrides(data: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Return `data` with `a.b=c` overrides applied; values are YAML, so `true`, `1e-4` and `[1, 2]` work.

    Raises:
        ConfigError: An override has no `=` or is not YAML, or its path leads through something that is not a mapping.
    """
    result = with_present_names(data)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key.strip():
            raise ConfigError(
                f"--set needs section.key=value, but got '{override}'", "for example: --set train.steps=200"
            )
        node = result
        *parents, last = present_name(key.strip()).split(".")
        for parent in parents:
            child = node.setdefault(parent, {})
            if not isinstance(child, dict):
                raise ConfigError(
                    f"--set {override}: '{parent}' is a value, not a section",
                    "a setting is named section.key, for example train.steps",
                )
            node = child
        node[last] = parse_yaml(text, f"--set {key.strip()}")
    return result


def present_name(key: str) -> str:
    """The dotted name a setting has today; a warning says so where an old one was given."""
    if key not in RENAMED:
        return key
    warn(f"the setting {key} is now called {RENAMED[key]}; the old name will stop working in the next release")
    return RENAMED[key]


def with_present_names(data: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a configuration's values in which settings with an old name have their present one.

    Raises:
        ConfigError: A setting is given under both.
    """
    result = _deep_copy(data)
    for old in RENAMED:
        section, name = _section_of(result, old)
        if name in section:
            new = present_name(old).rpartition(".")[2]
            if new in section:
                raise ConfigError(f"{old} and {RENAMED[old]} are one setting, and both are given", f"remove {old}")
            _rename(section, name, new)
    return result


def with_recorded_names(data: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a configuration's values under the names that fingerprints and the headers of adapters use."""
    result = _deep_copy(data)
    for old, new in RENAMED.items():
        section, name = _section_of(result, new)
        if name in section:
            _rename(section, name, old.rpartition(".")[2])
    return result


def _section_of(data: dict[str, Any], key: str) -> tuple[dict[str, Any], str]:
    """The mapping that a dotted key stands in (empty if there is none) and the key's last part."""
    *sections, last = key.split(".")
    node: Any = data
    for name in sections:
        node = node.get(name) if isinstance(node, dict) else None
    return (node if isinstance(node, dict) else {}), last


def _rename(section: dict[str, Any], name: str, new: str) -> None:
    """Rename a key in its place, so that written files keep their order."""
    items = [(new if key == name else key, value) for key, value in section.items()]
    section.clear()
    section.update(items)


def _deep_copy(data: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _deep_copy(v) if isinstance(v, Mapping) else v for k, v in data.items()}


def validate(model: type[Model], data: Mapping[str, Any], source: str, *, overrides: Iterable[str] = ()) -> Model:
    """Build `model` from `data`, or report everything that is wrong with it at once.

    Args:
        model: The configuration class.
        data: Values by key, nested as the class is.
        source: Where the data came from, for messages.
        overrides: The `--set` overrides among the data; their problems are reported as theirs.

    Raises:
        ConfigError: It names every problem with its dotted path, and suggests a name for misspelt keys.
    """
    try:
        return model.model_validate(with_present_names(data))
    except ValidationError as error:
        problems = error.errors(include_url=False)
    given = {present_name(override.partition("=")[0].strip()) for override in overrides}
    by_source: dict[str, list[str]] = {}
    hints = []
    for problem in problems:
        dotted = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            line = f"unknown key '{dotted}'"
            hints += [found] if (found := _nearest_key(model, problem["loc"])) else []
        else:
            message = problem["msg"].removeprefix("Value error, ")
            value = problem["input"]
            plain = not problem["type"].startswith("value_error") and isinstance(value, (str, int, float))
            line = (
                (f"{dotted}: " if dotted else "")
                + message
                + (f" (it is {value if value != '' else 'empty'})" if plain else "")
            )
        own = any(key == dotted or key.startswith(f"{dotted}.") for key in given if dotted)
        by_source.setdefault("--set" if own else source, []).append(line)
    raise ConfigError(
        "; ".join(f"{name}: " + "; ".join(lines) for name, lines in by_source.items()),
        "; ".join(dict.fromkeys(hints)) or getattr(model, "REFERENCE", "see docs/settings.md"),
    )


def _nearest_key(model: type[BaseModel], location: tuple[int | str, ...]) -> str:
    """`did you mean 'section.key'?` for an unknown key: its very name in another section, else the nearest sibling."""
    *parents, last = (str(part) for part in location)
    moved = [f"'{section}.{last}'" for section in _keys_at(model, ()) if last in _keys_at(model, (section,))]
    if moved:
        return f"did you mean {' or '.join(moved)}?"
    found = nearest(last, _keys_at(model, location[:-1]))
    return f"did you mean '{'.'.join([*parents, found])}'?" if found else ""


def _keys_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Names a mapping may have at `location` of `model`."""
    current: type[BaseModel] = model
    for part in location:
        field = current.model_fields.get(str(part))
        annotation = getattr(field, "annotation", None)
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        current = annotation
    return list(current.model_fields)


def dump_yaml(model: BaseModel) -> str:
    """The resolved configuration as YAML, in the order of the fields."""
    return yaml.safe_dump(model.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=sys.maxsize)
