"""The facts of a training example, as records that are JSON lines themselves.

`ExampleFacts` goes into the photo's record, `ExampleRow` is a line of the prepared set's metadata.jsonl: the same facts
with the example's file names, caption and split.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from finetune.core.json_files import RelativePath


class ExampleFacts(BaseModel):
    """What an example shows, and how it is trained with."""

    model_config = ConfigDict(frozen=True)

    variant: int
    """Number among the photo's examples."""
    original: bool
    """Whether it shows the photo itself, on its own ground."""
    mask_kind: str
    """The inpainting mask it is trained with: `background`, `product`, `box` or `full`."""
    seed: int
    """Of its backdrop, mask and caption template."""
    words: str
    """The ground, for the caption: `on white marble in front of a plain grey wall`; empty if unknown."""
    light: str
    """The light, for the caption: `soft daylight`; empty if unknown."""
    close_up: bool
    """Whether the product fills so much of the picture that the caption may say so."""
    original_width: int
    """Width of the picture at the photo's own resolution in pixels: SDXL's size conditioning."""
    original_height: int
    """Height at that resolution."""
    target_width: int
    """Width of the picture in pixels."""
    target_height: int
    """Height of the picture in pixels."""


class ExampleRow(BaseModel):
    """A line of metadata.jsonl. SDXL's crop conditioning is no part of it: products are never cropped."""

    model_config = ConfigDict(frozen=True)

    file_name: RelativePath
    mask_file_name: RelativePath
    matte_file_name: RelativePath
    text: str
    """The caption."""
    variant: int
    split: str
    """`train` or `validation`."""
    sku: str
    photo: str
    mask_kind: str
    seed: int
    original_width: int
    original_height: int
    target_width: int
    target_height: int

    @classmethod
    def of(cls, facts: ExampleFacts, *, name: str, sku: str, photo: str, split: str, text: str) -> ExampleRow:
        """The row of an example.

        Args:
            facts: of the example.
            name: of its photo in the prepared folder.
            sku: the product it shows.
            photo: its photo's name in `prepared.json`.
            split: `train` or `validation`.
            text: its caption.
        """
        ending = f"{name}-{facts.variant:02d}.png"
        return cls(
            file_name=f"images/{ending}",
            mask_file_name=f"masks/{ending}",
            matte_file_name=f"mattes/{ending}",
            text=text,
            split=split,
            sku=sku,
            photo=photo,
            **facts.model_dump(include=_SHARED),
        )


_SHARED = set(ExampleFacts.model_fields) & set(ExampleRow.model_fields)
