"""Pivotal tuning: new tokens for the trigger word, trained with the LoRA for the first half of the steps, then frozen.

The text encoders stay in memory for that half, frozen themselves: every caption is encoded with the tokens as they are,
and only their rows get gradients. At the pivot the captions are encoded once more, kept, and the encoders leave.
Source: Replicate's cog-sdxl; the idea is Roich et al., arXiv 2106.05744.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from finetune.core.adapters.token_embeddings import ENCODERS, Tokens, add_tokens, token_names
from finetune.core.basemodel.load import load_pipeline
from finetune.core.basemodel.resolve import ResolvedBase
from finetune.core.console import say
from finetune.latents.batches import Batch
from finetune.training.loop import StepReport

if TYPE_CHECKING:
    from diffusers import StableDiffusionXLInpaintPipeline
    from torch import Tensor

    from finetune.latents.examples import TrainingExamples


@dataclass(frozen=True)
class NewTokens:
    """The tokens that are added to the base's vocabulary."""

    token: str
    """The trigger word they stand for."""
    class_noun: str
    """Whose embeddings they start from."""
    count: int


class TokenTraining:
    """The new tokens of a run, the text encoders while they are needed, and the embeddings of its captions."""

    def __init__(
        self,
        base: ResolvedBase,
        examples: TrainingExamples,
        new: NewTokens,
        *,
        until: int,
        dtype: torch.dtype,
        device: str,
        begin: dict[str, Tensor] | None = None,
    ) -> None:
        """Load the text encoders and add the tokens.

        Args:
            base: the base whose text encoders are used.
            examples: their captions; the held-out ones are encoded with the tokens from the pivot on.
            new: the tokens; each starts from a token of the class noun.
            until: optimizer steps after which the tokens are frozen (the pivot).
            dtype: of the text encoders; the tokens are fp32.
            device: where the text encoders run.
            begin: `clip_l` and `clip_g` (count, D) of another adapter's tokens, to start from instead.
        """
        training = examples.training
        self.token, self.until, self.device = new.token, until, device
        self.held_out = examples.held_out
        self.null = {"embeds": training.embeds[-1:], "pooled": training.pooled[-1:]}
        self.kept: dict[str, Tensor] = {}
        pipeline = load_pipeline(base, dtype=dtype, device=device, without=("unet", "vae", "scheduler"))
        rows = begin or {key: _rows_of(pipeline, names, new.class_noun, new.count) for key, names in ENCODERS.items()}
        self.rows = torch.nn.ParameterDict(
            {key: torch.nn.Parameter(rows[key].to(device).float().clone()) for key in ENCODERS}
        )
        self.pipeline: StableDiffusionXLInpaintPipeline | None = pipeline
        tokens = add_tokens(pipeline, new.token, self.tensors())
        self.expand = tokens.expand
        self.captions = [tokens.expand(caption) for caption in training.captions]
        for key, (tokenizer, encoder) in ENCODERS.items():
            module = getattr(pipeline, encoder).requires_grad_(False).eval()
            first = getattr(pipeline, tokenizer).convert_tokens_to_ids(token_names(new.token, new.count)[0])
            module.get_input_embeddings().register_forward_hook(_put_in(self.rows[key], first))

    def tensors(self) -> dict[str, Tensor]:
        """The tokens as they are, `clip_l` and `clip_g` (N, D) fp32 on the CPU."""
        return {key: row.detach().float().cpu().clone() for key, row in self.rows.items()}

    def put_into(self, pipeline: StableDiffusionXLInpaintPipeline) -> Tokens:
        """Add the tokens, as they are now, to another pipeline."""
        return add_tokens(pipeline, self.token, self.tensors())

    def parameters(self) -> list[torch.nn.Parameter]:
        """The parameters to optimize."""
        return list(self.rows.values())

    def begin(self, start: int) -> None:
        """Resume at step `start`; the rows have been restored from the checkpoint."""
        if start >= self.until:
            self._freeze()

    def after_step(self, report: StepReport) -> None:
        """Observer: at the pivot the tokens are frozen and the text encoders are freed."""
        if report.step == self.until:
            self._freeze()
            say(f"  step {report.step}: froze the tokens of '{self.token}' and freed the text encoders")

    def fill(self, batch_at: Callable[[int, int], Batch]) -> Callable[[int, int], Batch]:
        """The same batches with captions encoded by the tokens, with gradients as long as they are trained."""

        def filled(first: int, count: int) -> Batch:
            batch = batch_at(first, count)
            assert batch.text is not None
            embeds, pooled = self._of(batch.text.tolist())
            return replace(batch, embeds=embeds.to(self.device), pooled=pooled.to(self.device))

        return filled

    def _of(self, text: list[int]) -> tuple[Tensor, Tensor]:
        """(B, 77, D) and (B, P) of captions by index; the index after the last is the base's null."""
        if self.kept:
            return self.kept["embeds"][text], self.kept["pooled"][text]
        named = [index for index in text if index < len(self.captions)]
        live = iter(()) if not named else zip(*self._encode([self.captions[index] for index in named]), strict=True)
        null = (self.null["embeds"][0].to(self.device), self.null["pooled"][0].to(self.device))
        both = [next(live) if index < len(self.captions) else null for index in text]
        return torch.stack([embeds for embeds, _ in both]), torch.stack([pooled for _, pooled in both])

    def _encode(self, captions: list[str]) -> tuple[Tensor, Tensor]:
        assert self.pipeline is not None
        embeds, _, pooled, _ = self.pipeline.encode_prompt(captions, do_classifier_free_guidance=False)
        return embeds.float(), pooled.float()

    def _freeze(self) -> None:
        self.rows.requires_grad_(False)
        self.kept = self._final(self.captions)
        if self.held_out is not None:
            final = self._final([self.expand(caption) for caption in self.held_out.captions])
            self.held_out = replace(self.held_out, embeds=final["embeds"], pooled=final["pooled"])
        self.pipeline = None
        gc.collect()
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()

    def _final(self, captions: list[str]) -> dict[str, Tensor]:
        """`embeds` (K + 1, 77, D) and `pooled` (K + 1, P) on the CPU, the null last."""
        with torch.no_grad():  # one by one, so that each is the same whatever the others are
            found = [self._encode([caption]) for caption in captions]
        return {
            name: torch.cat([*(pair[number].cpu() for pair in found), self.null[name]])
            for number, name in enumerate(("embeds", "pooled"))
        }


def _rows_of(pipeline: Any, names: tuple[str, str], class_noun: str, count: int) -> Tensor:
    """(count, D): the base's embeddings of the class noun's tokens, in turns."""
    tokenizer, encoder = (getattr(pipeline, name) for name in names)
    ids = tokenizer(class_noun, add_special_tokens=False).input_ids
    weight: Tensor = encoder.get_input_embeddings().weight
    return weight.detach()[[ids[number % len(ids)] for number in range(count)]]


def _put_in(rows: torch.nn.Parameter, first: int) -> Callable[[Any, Any, Tensor], Tensor]:
    """A hook on an embedding layer: tokens from number `first` on are the trained rows."""

    def hook(_: Any, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
        ids = arguments[0]
        new = (ids >= first)[..., None]
        return torch.where(new, rows[(ids - first).clamp(min=0)].to(output.dtype), output)

    return hook
