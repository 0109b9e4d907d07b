"""Names of the files an export writes, what may stand in their places, and how their tokens are called elsewhere.

An adapter without tokens is one file; one with tokens is two, the second named after the first and the trigger word, so
that no two versions or layouts share a file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from finetune.core.adapters.file import MANIFEST
from finetune.core.errors import AdapterError
from finetune.core.storage.durable import may_become_file

SUFFIX = ".safetensors"


@dataclass(frozen=True)
class ExportTargets:
    """The files that one export writes."""

    adapter: Path
    tokens: Path | None
    """Beside the adapter's; None for one without tokens."""


def default_name(sku: str, version: str, layout: str) -> str:
    """`SKU-0001.safetensors` in kohya's layout, `SKU-0001-diffusers.safetensors` in diffusers'."""
    ending = "" if layout == "kohya" else f"-{layout}"
    return f"{sku}-{version.removesuffix(SUFFIX)}{ending}{SUFFIX}"


def export_targets(output: Path, word: str | None) -> ExportTargets:
    """The files of an export.

    Args:
        output: The adapter's file.
        word: The trigger word if it has tokens of its own.
    """
    if word is None:
        return ExportTargets(output, None)
    stem = output.name.removesuffix(SUFFIX)
    return ExportTargets(output, output.with_name(f"{stem}-{re.sub(r'[^A-Za-z0-9_-]', '-', word)}-tokens{SUFFIX}"))


def _check_free(targets: ExportTargets) -> None:
    """Refuse to replace what stands at the targets; a link counts, also one that leads nowhere."""
    there = [path.name for path in (targets.adapter, targets.tokens) if path and (path.is_symlink() or path.exists())]
    if there:
        raise AdapterError(
            f"the export would replace {' and '.join(there)} in {targets.adapter.parent.absolute()}",
            "give another --output, or --force to replace " + ("them" if len(there) > 1 else "it"),
        )


def check_places(targets: ExportTargets, *, force: bool) -> None:
    """Refuse targets on this disk that may not be written.

    Raises:
        AdapterError: A file stands there and `force` is not given, or a folder, or they are in a version's own folder.
    """
    if (targets.adapter.parent / MANIFEST).exists():
        raise AdapterError(
            f"{targets.adapter.parent} is the folder of an adapter version; an export could replace the version itself",
            "give another --output",
        )
    for path in (targets.adapter, targets.tokens):
        if path and path.is_dir():
            raise AdapterError(f"{path} is a folder", "give the path of a file as --output")
        if path and not may_become_file(path):
            raise AdapterError(f"{path} is a device or a pipe, not a file", "give the path of a file as --output")
    if not force:
        _check_free(targets)


def diffusers_lines(tokens: Path, word: str) -> tuple[str, ...]:
    """Lines of Python that teach a diffusers SDXL pipeline, called `pipeline`, the trigger word's tokens.

    The last one is needed because SDXL's configuration names a wrong end token (2): with new tokens, transformers (seen
    in 5.23.0) would take the pooled embedding from one of them.

    Args:
        tokens: The tokens' file.
        word: The trigger word.
    """
    load = "pipeline.load_textual_inversion"
    first, second = (
        f'{load}(tokens["{key}"], {word!r}, text_encoder=pipeline.text_encoder{n}, tokenizer=pipeline.tokenizer{n})'
        for key, n in (("clip_l", ""), ("clip_g", "_2"))
    )
    return (
        f"from safetensors.torch import load_file; tokens = load_file({str(tokens)!r})",
        first,
        second,
        "pipeline.text_encoder_2.text_model.eos_token_id = pipeline.tokenizer_2.eos_token_id",
    )
