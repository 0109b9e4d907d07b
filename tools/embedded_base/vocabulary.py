"""Makes the two tokenizers: byte-pair encoding in CLIP's form, small vocabulary.

The vocabulary starts with CLIP's 256 byte symbols, each with and without `</w>`,
so that any text has tokens. The unknown token therefore never occurs; it is a
token of its own all the same, because an unknown token that is the end token cuts
a prompt at the first strange letter.
"""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path

from .architecture import MAX_TOKENS
from .words import known_words

VOCABULARY_SIZE = 2048
UNKNOWN, START, END = "<|unknown|>", "<|startoftext|>", "<|endoftext|>"
SECOND_PAD = "!"
WORD_END = "</w>"


def byte_symbols() -> list[str]:
    """The 256 printable stand-ins for bytes, in CLIP's order (so that "!" is first)."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [b for b in range(256) if b not in plain]
    return [chr(b) for b in plain] + [chr(256 + i) for i in range(len(others))]


def merge_word(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    """A word's symbols with every occurrence of the pair joined, left to right."""
    out: list[str] = []
    i = 0
    while i < len(word):
        if word[i : i + 2] == pair:
            out.append(pair[0] + pair[1])
            i += 2
        else:
            out.append(word[i])
            i += 1
    return tuple(out)


def learn_merges(words: list[str], count: int) -> list[tuple[str, str]]:
    """At most `count` merges, most frequent pair first, ties by spelling; all words weigh the same."""
    spelled = [(*w[:-1], w[-1] + WORD_END) for w in words]
    merges: list[tuple[str, str]] = []
    while len(merges) < count:
        pairs = Counter(pair for w in spelled for pair in pairwise(w))
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], p))
        merges.append(best)
        spelled = [merge_word(w, best) if best[0] in w else w for w in spelled]
    return merges


@cache
def make_vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Token to id (ids without gaps, the end token last) and the merges in order."""
    symbols = byte_symbols()
    base = symbols + [s + WORD_END for s in symbols]
    merges = learn_merges(known_words(), VOCABULARY_SIZE - len(base) - 3)
    joined = list(dict.fromkeys(a + b for a, b in merges))
    tokens = [*base, *joined]
    tokens += [f"<|reserved{i}|>" for i in range(VOCABULARY_SIZE - len(tokens) - 3)]
    tokens += [UNKNOWN, START, END]
    return {token: i for i, token in enumerate(tokens)}, merges


def write_tokenizer(folder: Path, pad_token: str) -> None:
    """Writes a folder that `CLIPTokenizer.from_pretrained` opens."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary, merges = make_vocabulary()
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges)]
    named = {"unk_token": UNKNOWN, "bos_token": START, "eos_token": END, "pad_token": pad_token}
    config = {
        **named,
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": MAX_TOKENS,
        "do_lower_case": True,
        "clean_up_tokenization_spaces": False,
    }
    files = {"vocab.json": vocabulary, "special_tokens_map.json": named, "tokenizer_config.json": config}
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
