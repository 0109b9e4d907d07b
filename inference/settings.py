"""The settings of a placing: where the product stands, how its scene is painted, what the prompts look like.

Precedence: default < YAML < `--set` < flag. A YAML file of these settings is a scene preset (`configs/scenes/*.yaml`).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from finetune.core.compositing.frame import Size, read_ratio, read_size
from finetune.core.compositing.light import read_light
from finetune.core.compositing.placement import ANCHOR, BOX_MARGIN, GROUND
from finetune.core.config import Strict
from finetune.core.errors import ConfigError
from finetune.core.painting.prompts import PromptSection


class PlacementSection(Strict):
    """Where the product stands in the frame."""

    anchor: float = Field(default=ANCHOR, ge=0, le=1)
    """Centre of the product along the width: 0 left edge, 1 right edge."""
    scale: float | None = Field(default=None, gt=0, le=1)
    """Height of the product as a share of the frame; if left out, 0.55, or less where a wide product would not fit."""
    ground: float = Field(default=GROUND, gt=0, le=1)
    """The ground line on which the product stands: 0 top edge, 1 bottom edge."""


class SamplingSection(Strict):
    """How the base is sampled."""

    steps: int = Field(default=20, ge=1, le=200)
    """Sampler steps."""
    guidance: float = Field(default=5.0, ge=0, le=30)
    """Classifier-free guidance scale; 1 or less turns it off."""
    strength: float = Field(default=1.0, gt=0, le=1)
    """Share of the noise schedule that is run; below 1 some of the pre-filled ground shows through."""
    negative: str = ""
    """Negative prompt: what the picture should not show."""

    @model_validator(mode="after")
    def _at_least_one_step(self) -> SamplingSection:
        if int(self.steps * self.strength) < 1:
            raise ValueError(
                f"{self.steps} steps at strength {self.strength:g} are less than one step; raise steps or strength"
            )
        return self


class ShadowSection(Strict):
    """The product's shadow on the ground (preserve mode and plates)."""

    strength: float = Field(default=1.0, ge=0, le=1)
    """Darkness of the whole shadow: 1 as computed, 0 none."""
    contact: float = Field(default=1.0, ge=0, le=1)
    """Of the dark line at the foot and the darkening beneath the product."""
    cast: float = Field(default=1.0, ge=0, le=1)
    """Of the shadow that the main light casts."""
    softness: float | None = Field(default=None, ge=0, le=1)
    """Width of its penumbra: 0 hard light, 1 overcast; the light's own if left out."""


class BlendSection(Strict):
    """How the painted scene is brought to the delivery size (preserve mode)."""

    fringe: float = Field(default=3.0, ge=0, le=16)
    """Width, in pixels of the base, of the seam around the product in which the painted, softened copy of its edge is
    replaced by the ground beyond; 0 leaves the seam."""
    grain: float = Field(default=1.5, ge=0, le=16)
    """Standard deviation of the film grain on the scene in 8-bit steps; it hides that the scene was upscaled. 0 adds
    none."""


class PlaceConfig(Strict):
    """All settings of a placing."""

    REFERENCE = "the settings of a placing are described in docs/settings.md, section 'Placing'"

    mode: Literal["preserve", "blend", "insert"] = "preserve"
    """`preserve` keeps the product's own pixels; `blend` relights them with the scene's light, within `blend_budget`;
    `insert` has the adapter draw the product."""
    blend_budget: float = Field(default=6.0, ge=0, le=30)
    """Blend mode: largest 95th percentile of the colour change (CIEDE2000) on the product's core; 0 changes nothing."""
    size: str = "1024"
    """Size of the delivered picture in pixels: the side of a square one, or WIDTHxHEIGHT as in `1080x1350`, from 64 to
    4096 a side. It is painted at the base's nearest training size and delivered exactly, without stretching."""
    ratio: str = ""
    """Shape of the picture as WIDTH:HEIGHT, as in `4:5`; `size` is its longer side then."""
    candidates: int = Field(default=1, ge=1, le=64)
    """Number of pictures, with the seeds seed, seed + 1, ..."""
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    """Seed of the first candidate."""
    adapter_scale: float = Field(default=1.0, ge=0, le=2)
    """Strength of the adapter; 0 paints with the base alone."""
    mask_grow: int | None = Field(default=None, ge=0, le=8)
    """Latent cells (8 px of the base) by which the painted ground extends into the product's edge, under the cutout. If
    left out, one on a base of 1024 px and none on a small base, where a cell is much of a product and the product
    would be painted again, larger."""
    retries: int = Field(default=3, ge=0, le=50)
    """Preserve and blend mode: other seeds that are tried where a second product is being painted; 0 takes what
    comes."""
    box_margin: float = Field(default=BOX_MARGIN, ge=0, le=0.5)
    """Insert mode: margin of the painted box around the product, as a share of the frame."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Precision of the base while painting."""
    placement: PlacementSection = PlacementSection()
    sampling: SamplingSection = SamplingSection()
    shadow: ShadowSection = ShadowSection()
    blend: BlendSection = BlendSection()
    light: str = ""
    """The main light as DIRECTION[,HEIGHT][,KIND], as in `back-left,low,hard`; what prompt or plate say if
    left out."""
    pose: Literal["auto", "standing", "lying", "hanging", "floating"] = "auto"
    """How the product rests; `auto` follows set.yaml, then the class noun."""
    reflection: float = Field(default=1.0, ge=0, le=2)
    """Strength of the product's mirror image on a glossy ground: 1 as computed, 0 none."""
    prompts: PromptSection = PromptSection()

    @field_validator("size", mode="before")
    @classmethod
    def _size(cls, value: object) -> object:
        if isinstance(value, int | str):
            read_size(str(value))
            return str(value)
        return value

    @model_validator(mode="after")
    def _frame(self) -> PlaceConfig:
        if self.ratio:
            across, down = read_size(self.size)
            if across != down:
                raise ValueError(f"ratio {self.ratio} and size {self.size} both say the shape: give one of them")
            read_ratio(self.ratio, across)
        return self

    @property
    def frame(self) -> Size:
        """Width and height of the delivered picture in pixels."""
        across, down = read_size(self.size)
        return read_ratio(self.ratio, across) if self.ratio else (across, down)

    @field_validator("light")
    @classmethod
    def _light(cls, value: str) -> str:
        if value:
            try:
                read_light(value)
            except ConfigError as error:
                raise ValueError(f"{error.message.removeprefix('--light ')} ({error.hint})") from error
        return value
