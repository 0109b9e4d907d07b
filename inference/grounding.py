"""How a product is grounded: its pose, its light and its shadow as settings, set.yaml and scene say."""

from __future__ import annotations

from dataclasses import replace

from finetune.core.compositing.cast_shadow import ShadowStrength
from finetune.core.compositing.grounding import Grounding, surface_of_prompt
from finetune.core.compositing.light import light_of_prompt, read_light
from finetune.core.compositing.placement import Placed
from finetune.core.compositing.volume import Pose
from finetune.core.console import say
from finetune.core.pictures.images import Floats
from finetune.core.products.catalog import SetConfig
from inference.pose import pose_of
from inference.settings import PlaceConfig


def choose_pose(config: PlaceConfig, product: SetConfig, matte: Floats) -> Pose:
    """How a product rests: as asked for, as set.yaml says, or as class noun and silhouette suggest."""
    for asked in (config.pose, product.pose):
        if asked != "auto":
            return asked
    return pose_of(product.class_noun, matte)


def grounding(config: PlaceConfig, found: Grounding) -> Grounding:
    """`found` (pose, surface, camera and light of a scene) with what the settings ask for."""
    light = read_light(config.light) if config.light else found.light
    shadow = config.shadow
    if shadow.softness is not None:
        light = replace(light, softness=shadow.softness)
    strength = ShadowStrength(shadow.strength * shadow.contact, shadow.strength * shadow.cast)
    return replace(found, light=light, strength=strength, reflection=config.reflection)


def painted_grounding(config: PlaceConfig, product: SetConfig, prompt: str, placed: Placed) -> Grounding:
    """How the ground of a painted scene takes the product: light and surface as the prompt's words describe them."""
    light, words = light_of_prompt(prompt)
    how = grounding(
        config, Grounding(light, pose=choose_pose(config, product, placed.matte), surface=surface_of_prompt(prompt))
    )
    tell(how, "as given" if config.light else f"by the prompt: {', '.join(words)}" if words else "--light changes it")
    return how


def tell(how: Grounding, source: str) -> None:
    """Print the light with where it is known from, and the pose."""
    say(f"  light: {how.light.text} ({source}); the product is {how.pose}")
