"""The one reader of JSON: a document becomes a pydantic model, or an error in one line that names the file.

pydantic's own parser (Rust) is used: it bounds depth, so a document nested 20,000 deep is an error and no crash.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, RootModel, ValidationError
from pydantic_core import from_json

from finetune.core.console import warn
from finetune.core.errors import PackshotError
from finetune.core.text_files import read_text

MAX_BYTES = 64 << 20
"""Bytes of a document Packshot writes; a catalogue's metadata.jsonl of 10,000 rows has about 5 MiB."""

Model = TypeVar("Model", bound=BaseModel)


def _inside(path: str) -> str:
    parts = path.replace("\\", "/").split("/")
    if path and (parts[0] == "" or ".." in parts or "\0" in path or ":" in parts[0]):
        raise ValueError("the path leads out of its folder")
    return path


RelativePath = Annotated[str, AfterValidator(_inside)]
"""A path below the document's own folder, or empty; one that is absolute or holds `..` is refused, not followed."""


class Document(BaseModel):
    """Base of what Packshot writes and reads back: values don't change, unknown keys of newer versions are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=True)


class _Object(RootModel[dict[str, Any]]):
    """Any JSON object."""


def read_json(
    path: Path, model: type[Model], error: type[PackshotError], *, what: str = "", hint: str = "", version: int = 0
) -> Model:
    """Read a JSON file into a model.

    Args:
        path: the file.
        model: what the document holds.
        error: class of the errors raised.
        what: what the file is, for messages; its name by default.
        hint: the cure.
        version: the `format` this Packshot reads; 0 for documents without one.

    Raises:
        PackshotError: of class `error`: the file can't be read, is of another format version, or does not fit the
            model; the message names the first problem with its place.
    """
    text = read_text(path, error, limit=MAX_BYTES, what=what, hint=hint)
    return parse_json(
        text, model, error, what=what or path.name, hint=hint or f"delete or restore {path}", version=version
    )


def parse_json(
    text: str, model: type[Model], error: type[PackshotError], *, what: str, hint: str, version: int = 0
) -> Model:
    """A JSON text as a model; arguments and errors as for `read_json`."""
    try:
        if version:
            _check_version(text, error, what, hint, version)
        return model.model_validate_json(text)
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        told = " ".join(first["msg"].removeprefix("Value error, ").split())
        raise error(f"{what} is damaged: {place + ': ' if place else ''}{told}", hint) from problem


def read_json_lines(
    path: Path, model: type[Model], error: type[PackshotError], *, what: str = "", hint: str = ""
) -> list[Model]:
    """Read a file of one JSON document a line; empty lines are skipped. Arguments and errors as for `read_json`."""
    text = read_text(path, error, limit=MAX_BYTES, what=what, hint=hint)
    name, cure = what or path.name, hint or f"delete or restore {path}"
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    return [parse_json(line, model, error, what=f"{name}, line {number},", hint=cure) for number, line in lines]


def read_object(
    path: Path, error: type[PackshotError], *, shape: type[BaseModel] | None = None, what: str = "", hint: str = ""
) -> dict[str, Any]:
    """Read a JSON file as the mapping it holds; for documents of other programs, and those whose every key counts.

    Args:
        path: the file.
        error: class of the errors raised.
        shape: what the mapping has to fit.
        what: what the file is, for messages; its name by default.
        hint: the cure.

    Raises:
        PackshotError: of class `error`: as for `read_json`.
    """
    text = read_text(path, error, limit=MAX_BYTES, what=what, hint=hint)
    return parse_object(text, error, shape=shape, what=what or path.name, hint=hint or f"delete or restore {path}")


def parse_object(
    text: str, error: type[PackshotError], *, shape: type[BaseModel] | None = None, what: str, hint: str
) -> dict[str, Any]:
    """A JSON text as the mapping it holds; arguments and errors as for `read_object`."""
    if shape is not None:
        parse_json(text, shape, error, what=what, hint=hint)
    return parse_json(text, _Object, error, what=what, hint=hint).root


def read_cache(path: Path, model: type[Model], *, what: str = "") -> Model | None:
    """Read a document that can be made again: None without one, and for a damaged one, which a warning reports.

    Args:
        path: the file.
        model: what it holds.
        what: what the file is, for the warning; its name by default.
    """
    if not path.exists():
        return None
    try:
        return read_json(path, model, PackshotError, what=what or path.name)
    except PackshotError as error:
        warn(f"{error.message}; it is made again ({path})")
        return None


def _check_version(text: str, error: type[PackshotError], what: str, hint: str, version: int) -> None:
    """Name another format version as such, before its fields are found wrong."""
    try:
        found: Any = from_json(text)
    except ValueError:
        return  # the model's own parser says what is wrong
    number = found.get("format") if isinstance(found, dict) else None
    if isinstance(number, int) and number != version:
        age = "an older" if number < version else "a newer"
        raise error(f"{what} was written by {age} Packshot (format {number}, this one reads {version})", hint)
