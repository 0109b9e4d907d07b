"""New tokens that belong to an adapter (pivotal tuning): their file, and how a pipeline learns to read them.

`embeddings.safetensors` beside the adapter holds `clip_l` (N, 768) and `clip_g` (N, 1280), the layout that A1111 and
ComfyUI read. In a prompt the trigger word is then replaced by N tokens of each text encoder. The encoders' other
embeddings are never changed. diffusers' own expansion of prompts (seen in 0.42.1) is not used: it also replaces inside
longer words, and misses other spellings of upper and lower case.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.core import fingerprint
from finetune.core.errors import AdapterError, AdapterMismatch

if TYPE_CHECKING:
    from diffusers import StableDiffusionXLInpaintPipeline
    from torch import Tensor

FILE = "embeddings.safetensors"
ENTRY = "token_embeddings"
"""Of an adapter's manifest: file, token, count and content."""
ENCODERS = {"clip_l": ("tokenizer", "text_encoder"), "clip_g": ("tokenizer_2", "text_encoder_2")}
OLD_END = 2
"""`eos_token_id` in the configuration of OpenAI's and SDXL's text encoders; it is wrong, see `_find_the_end`."""


def token_names(token: str, count: int) -> list[str]:
    """Names of a trigger word's tokens. None is the word itself, which the base alone so reads as before."""
    return [f"{token}_{number}" for number in range(count)]


def manifest_entry(token: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """What the adapter's manifest says of its tokens."""
    return {"file": FILE, "token": token, "count": len(tensors["clip_l"]), "content": content(tensors)}


def content(tensors: dict[str, Tensor]) -> str:
    """Fingerprint of the numbers."""
    rows = {key: tensors[key].detach().float().cpu().contiguous() for key in sorted(tensors)}
    return fingerprint.of_value(
        [[key, list(t.shape), fingerprint.of_bytes(t.numpy().tobytes())] for key, t in rows.items()]
    )


def read_embeddings(weights: Path, manifest: dict[str, Any]) -> tuple[str, dict[str, Tensor]] | None:
    """Trigger word and embeddings of an adapter, `clip_l` and `clip_g` (N, D) fp32; None for one without.

    Args:
        weights: The adapter file; its embeddings lie beside it.
        manifest: The adapter's.

    Raises:
        AdapterError: The manifest names embeddings, and their file is missing, damaged, or of another training.
    """
    entry = manifest.get(ENTRY)
    if entry is None:
        return None
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = weights.with_name(str(entry["file"]))
    hint = "copy it with the adapter, or train it again"
    if not path.is_file():
        raise AdapterError(
            f"the adapter's token embeddings are missing: there is no {path.name} beside {weights.name}", hint
        )
    try:
        tensors = {key: tensor.float() for key, tensor in load_file(str(path)).items()}
    except (OSError, SafetensorError, ValueError) as error:
        raise AdapterError(f"{path.name} beside {weights.name} is damaged", hint) from error
    if set(tensors) != set(ENCODERS) or content(tensors) != entry["content"]:
        raise AdapterError(
            f"{path.name} does not belong to {weights.name}: its content is not what the manifest records", hint
        )
    return str(entry["token"]), tensors


class Tokens:
    """An adapter's tokens in a pipeline; on, the trigger word in a prompt stands for them."""

    def __init__(self, token: str, count: int) -> None:
        self.names = " ".join(token_names(token, count))
        self.word = re.compile(rf"(?<!\w){re.escape(token)}(?!\w)", re.IGNORECASE)
        self.on = True

    def expand(self, prompt: str) -> str:
        """The prompt with the trigger word, as a whole word and in any case, replaced by its tokens."""
        return self.word.sub(lambda _: self.names, prompt) if self.on else prompt


def add_tokens(pipeline: StableDiffusionXLInpaintPipeline, token: str, tensors: dict[str, Tensor]) -> Tokens:
    """Teach a pipeline's tokenizers and text encoders an adapter's tokens.

    Args:
        pipeline: Its tokenizers and text encoders are changed.
        token: The trigger word.
        tensors: `clip_l` and `clip_g`, (N, D) each.

    Returns:
        What expands the trigger word in prompts.

    Raises:
        AdapterMismatch: The base's text encoders have another width, or such tokens already.
    """
    for key, (tokenizer, encoder) in ENCODERS.items():
        _add(getattr(pipeline, tokenizer), getattr(pipeline, encoder), token, tensors[key])
    return Tokens(token, len(tensors["clip_l"]))


def _add(tokenizer: Any, encoder: Any, token: str, rows: Tensor) -> None:
    import torch
    from tokenizers import AddedToken

    old = encoder.get_input_embeddings().weight
    if old.shape[1] != rows.shape[1]:
        raise AdapterMismatch(
            f"the adapter's token embeddings are {rows.shape[1]} wide, those of the base {old.shape[1]}",
            "it was trained on another architecture",
        )
    names = token_names(token, len(rows))
    if tokenizer.add_tokens([AddedToken(name, single_word=True, normalized=False) for name in names]) != len(names):
        raise AdapterMismatch(
            f"the base already has a token '{names[0]}'", "train again with another token in set.yaml"
        )
    ids = tokenizer.convert_tokens_to_ids(names)
    with torch.random.fork_rng(devices=[]):  # new rows are drawn at random first
        encoder.resize_token_embeddings(max(max(ids) + 1, len(old)), mean_resizing=False)
    weight = encoder.get_input_embeddings().weight
    weight.requires_grad_(False)
    weight.data[ids] = rows.to(weight)
    _find_the_end(tokenizer, encoder)


def _find_the_end(tokenizer: Any, encoder: Any) -> None:
    """Make sure that the pooled embedding is the one at the prompt's end token.

    OpenAI's configuration names a wrong end token (2); transformers (seen in 5.23.0) then takes the token with the
    highest id. That is the end token until new tokens get higher ids: the pooled embedding would be one of theirs.
    """
    for module in encoder.modules():
        if getattr(module, "eos_token_id", None) == OLD_END:
            module.eos_token_id = tokenizer.eos_token_id
