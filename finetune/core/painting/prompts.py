"""Templates of the prompts with which products are placed, drawn and evaluated: one per mode, the same everywhere."""

from __future__ import annotations

import re
import string

from pydantic import field_validator

from finetune.core.config import Strict

PLACES = "on|in|at|by|under|over|beside|behind|before|near|next|among|against|with|standing|lying|placed|surrounded"
"""Words after which a place follows: a class noun before one, at a prompt's beginning, is the product."""
PROMPT_FIELDS = ("token", "class_noun", "prompt")


class PromptSection(Strict):
    """Templates of the prompts. `{prompt}` is the text you give; `{token}` and `{class_noun}` are the product's."""

    place: str = "an empty scene, {prompt}"
    """Preserve mode: paints the surroundings of the product. They do not contain it: a template that names the product
    has it painted a second time."""
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
    """Fill a template and collapse whitespace. `prompt` may hold any characters, braces included.

    A prompt that names the product itself, as in "a photo of prfm01 perfume bottle on slate", names it once, or not at
    all in an empty scene: what the template says of the product is taken out of the prompt. The template `{prompt}`
    leaves every word to the user.
    """
    fields = {name for _, name, _, _ in string.Formatter().parse(template)}
    words = " ".join(prompt.split())
    if ("token" in fields) == ("class_noun" in fields) and template.strip() != "{prompt}":
        words = _without_product(words, token, class_noun)
    return " ".join(template.format(token=token, class_noun=class_noun, prompt=words).split())


def _without_product(prompt: str, token: str, class_noun: str) -> str:
    """A prompt without the trigger word, and without the class noun after it or at the prompt's beginning.

    A class noun elsewhere may be another thing: "beside a green perfume bottle" stays.
    """
    before = r"(?:\b(?:a|the)\s+(?:product\s+)?photo\s+of\s+)?(?:\b(?:an?|the)\s+)?"
    noun = r"\s+".join(map(re.escape, class_noun.split()))
    named = rf"{before}(?<!\w){re.escape(token)}(?!\w)(?:\s+{noun}(?!\w))?,?"
    begun = rf"^{before}{noun}(?=,|$|\s+(?:{PLACES})\b),?"
    rest = re.sub(named, " ", prompt, flags=re.IGNORECASE)
    rest = re.sub(begun, " ", rest.strip(), flags=re.IGNORECASE)
    return " ".join(rest.split()).replace(" ,", ",").strip(" ,")
