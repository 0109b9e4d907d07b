"""Templates of the prompts by which products are placed, drawn and judged: one a mode, the same wherever they are used.

Called by placing, evaluation, previews and the choice among a training run's candidates.
"""

from __future__ import annotations

import string

from pydantic import field_validator

from finetune.core.config import Strict

PROMPT_FIELDS = ("token", "class_noun", "prompt")


class PromptSection(Strict):
    """Templates of the prompts. `{prompt}` is what the user wrote; `{token}` and `{class_noun}` are the product's."""

    place: str = "a photo of {token} {class_noun} {prompt}"
    """Preserve mode: paints the surroundings of the product."""
    scene: str = "an empty scene, {prompt}"
    """Insert mode, first pass: paints the scene without the product."""
    insert: str = "a photo of {token} {class_noun} {prompt}"
    """Insert mode, second pass: draws the product into the box."""

    @field_validator("place", "scene", "insert")
    @classmethod
    def _known_fields(cls, value: str) -> str:
        try:
            fields = [name for _, name, _, _ in string.Formatter().parse(value) if name is not None]
        except ValueError as error:
            raise ValueError(f"not a template: {error}") from error
        if strangers := [name for name in fields if name not in PROMPT_FIELDS]:
            raise ValueError(f"unknown field {{{strangers[0]}}}; there are {{token}}, {{class_noun}} and {{prompt}}")
        if "prompt" not in fields:
            raise ValueError("{prompt} is missing: what the user asks for would not be painted")
        return value


def resolve_prompt(template: str, *, token: str, class_noun: str, prompt: str) -> str:
    """Fill a template; whitespace is collapsed. The user's words may hold any signs, braces too."""
    return " ".join(template.format(token=token, class_noun=class_noun, prompt=prompt).split())
