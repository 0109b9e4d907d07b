"""CLIP's tokenizers for checkpoints that are a single file and therefore have no vocabulary.

The vocabulary is OpenAI's list of byte pairs as open_clip ships it (`sdxl/README.md` names the source and licence).
SDXL's two tokenizers differ only in the padding token, which is in their `tokenizer_config.json`. The network is never
asked.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.core.errors import BaseModelError
from finetune.core.json_files import Document, read_object

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

MERGES_FILE = Path(__file__).resolve().parent / "sdxl" / "clip_vocabulary" / "bpe_simple_vocab_16e6.txt.gz"
VOCABULARY_SIZE = 49408
OWN_VOCABULARY = ("tokenizer.json", "vocab.json")
CONFIG = "tokenizer_config.json"
END_OF_WORD = "</w>"
START, END = "<|startoftext|>", "<|endoftext|>"


def load_tokenizer(folder: Path, standard: Path | None = None) -> CLIPTokenizer:
    """The tokenizer that `folder` configures: with its own vocabulary where it has one, else with CLIP's.

    Args:
        folder: has a `tokenizer_config.json`, and where the model has a vocabulary of its own a `tokenizer.json`,
            or `vocab.json` with `merges.txt`.
        standard: folder of SDXL's own `tokenizer_config.json`, whose length and padding hold where `folder` has none.

    Raises:
        OSError: A file is missing.
        BaseModelError: The configuration is missing or damaged.
    """
    from transformers import CLIPTokenizer

    if any((folder / name).is_file() for name in OWN_VOCABULARY):
        return CLIPTokenizer.from_pretrained(str(folder), local_files_only=True, **_unsaid(folder, standard))
    config = read_object(folder / CONFIG, BaseModelError, shape=_Tokenizer)
    merges = read_merges()
    return CLIPTokenizer(
        vocab={token: index for index, token in enumerate(vocabulary(merges))},
        merges=merges,
        pad_token=config["pad_token"],
        model_max_length=int(config["model_max_length"]),
    )


class _Tokenizer(Document):
    """What is needed of a `tokenizer_config.json`."""

    pad_token: str | dict[str, Any]
    model_max_length: int


def _unsaid(folder: Path, standard: Path | None) -> dict[str, Any]:
    """What a `tokenizer_config.json` that is missing would have said."""
    if standard is None or (folder / CONFIG).is_file():
        return {}
    config = read_object(standard / CONFIG, BaseModelError, shape=_Tokenizer)
    return {"model_max_length": int(config["model_max_length"]), "pad_token": config["pad_token"]}


def read_merges() -> list[tuple[str, str]]:
    """CLIP's byte pairs in order of rank: as many of the file's as fill a vocabulary of 49,408 tokens."""
    with gzip.open(MERGES_FILE, "rt", encoding="utf-8") as lines:
        next(lines)  # a version note
        wanted = VOCABULARY_SIZE - 2 * len(byte_symbols()) - len((START, END))
        pairs = (line.split() for line, _ in zip(lines, range(wanted), strict=False))
        return [(first, second) for first, second in pairs]


def vocabulary(merges: list[tuple[str, str]]) -> list[str]:
    """All tokens in order of id: 256 byte symbols, the same at a word's end, the merged pairs, start and end.

    Source: OpenAI CLIP, `simple_tokenizer.py` (MIT).
    """
    symbols = byte_symbols()
    return [*symbols, *(s + END_OF_WORD for s in symbols), *(a + b for a, b in merges), START, END]


def byte_symbols() -> list[str]:
    """A visible sign for each of the 256 bytes: printable Latin-1 as itself and first, the others from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = 256 - len(printable)
    return [chr(code) for code in printable] + [chr(256 + index) for index in range(others)]
