"""SDXL's two tokenizers out of the shipped vocabulary: the ids the published models were trained with."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from finetune.core.basemodel import clip_vocabulary
from finetune.core.basemodel.resolve import single_file_config

SHA256 = "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"


def test_vocabulary_is_the_published_file() -> None:
    assert hashlib.sha256(clip_vocabulary.MERGES_FILE.read_bytes()).hexdigest() == SHA256
    assert (clip_vocabulary.MERGES_FILE.parent / "LICENSE").is_file()
    tokens = clip_vocabulary.vocabulary(clip_vocabulary.read_merges())
    assert len(set(tokens)) == len(tokens) == 49408
    assert tokens[:2] + tokens[-3:] == ["!", '"', "jekyll</w>", "<|startoftext|>", "<|endoftext|>"]


@pytest.mark.tiny
def test_sdxl_tokenizers() -> None:
    for channels in (4, 9):
        config = single_file_config(channels, "x")
        one, two = (clip_vocabulary.load_tokenizer(config / part) for part in ("tokenizer", "tokenizer_2"))
        assert one("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
        assert two("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
        assert (len(one), len(two), one.model_max_length, two.model_max_length) == (49408, 49408, 77, 77)
        assert (one.pad_token_id, two.pad_token_id) == (49407, 0)
        padded = two("N°5, çà", padding="max_length", max_length=10).input_ids
        assert padded == [49406, 333, 6858, 276, 267, 10067, 21259, 49407, 0, 0]


@pytest.mark.tiny
def test_own_vocabulary_goes_first(tiny_base: Path) -> None:
    assert len(clip_vocabulary.load_tokenizer(tiny_base / "tokenizer")) == 191
