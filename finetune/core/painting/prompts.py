"""Templates of the prompts with which products are placed, drawn and evaluated: one per mode, the same everywhere."""

from __future__ import annotations

import string

from pydantic import field_validator

from finetune.core.config import Strict

PROMPT_FIELDS = ("token", "class_noun", "prompt")


class PromptSection(Strict):
    """Templates of the prompts. `{prompt}` is the text you give; `{token}` and `{class_noun}` are the product's."""

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
            raise ValueError(f"this is not a template: {error}") from error
        if strangers := [name for name in fields if name not in PROMPT_FIELDS]:
            raise ValueError(f"unknown field {{{strangers[0]}}}; the fields are {{token}}, {{class_noun}}, {{prompt}}")
        if "prompt" not in fields:
            raise ValueError("{prompt} is missing: the scene you describe would not be painted")
        return value

    def resolve(self, *, token: str, class_noun: str, prompt: str) -> dict[str, str]:
        """The filled templates by name: `place`, `scene`, `insert`."""
        return {
            name: resolve_prompt(template, token=token, class_noun=class_noun, prompt=prompt) for name, template in self
        }


def resolve_prompt(template: str, *, token: str, class_noun: str, prompt: str) -> str:
    """Fill a template and collapse whitespace. `prompt` may hold any characters, braces included."""
    return " ".join(template.format(token=token, class_noun=class_noun, prompt=prompt).split())
