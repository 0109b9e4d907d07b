"""What the tensors of one layer of a LoRA file are, and whether they fit the layer's weight."""

from __future__ import annotations

from finetune.core.adapters import lycoris_products

DOWN, UP, ALPHA, MAGNITUDE, KOHYA_MAGNITUDE = "down", "up", "alpha", "magnitude", "kohya magnitude"
ENDINGS = lycoris_products.ENDINGS | {
    ".lora_down.weight": DOWN,
    ".lora_up.weight": UP,
    ".lora_A.weight": DOWN,
    ".lora_B.weight": UP,
    ".lora.down.weight": DOWN,
    ".lora.up.weight": UP,
    "_lora.down.weight": DOWN,
    "_lora.up.weight": UP,
    ".alpha": ALPHA,
    ".lora_magnitude_vector": MAGNITUDE,
    ".lora_magnitude_vector.weight": MAGNITUDE,
    ".dora_scale": KOHYA_MAGNITUDE,
}
FIRST_LAYER, PLAIN_INPUTS, INPAINTING_INPUTS = "conv_in", 4, 9

Shape = tuple[int, ...]


def method_of(parts: dict[str, str]) -> str:
    """`LoRA`, `LoHa` or `LoKr`, by the matrices of a layer; empty where some are missing, or of two methods.

    Args:
        parts: Part -> key, of one layer; the same in every function here.
    """
    if DOWN in parts and UP in parts and not any(f".{part}" in lycoris_products.ENDINGS for part in parts):
        return "LoRA"
    return lycoris_products.method_of(parts)


def rank_of(parts: dict[str, str], shapes: dict[str, Shape]) -> int:
    """What a layer's alpha is divided by; 0 where nothing is, in a LoKr of two whole factors.

    Args:
        parts: Of a layer that has a method.
        shapes: Shape of each tensor by key.
    """
    return shapes[parts[DOWN]][0] if DOWN in parts else lycoris_products.rank_of(parts, shapes)


def trained_shape(name: str, parts: dict[str, str], shapes: dict[str, Shape], weight: Shape) -> Shape:
    """Shape of the weight that a layer's matrices are for: of an inpainting base's first layer it may be SDXL's own.

    Such a layer acts on the noisy latents, which are the first 4 of 9 inputs. DoRA's magnitudes are of all inputs.

    Args:
        name: diffusers' name of the layer.
        parts: Of a layer that has a method.
        shapes: Shape of each tensor by key.
        weight: Shape of the layer's weight in the base.
    """
    plain = (weight[0], PLAIN_INPUTS, *weight[2:])
    padded = name == FIRST_LAYER and weight[1] == INPAINTING_INPUTS and fits(parts, shapes, plain)
    return plain if padded and MAGNITUDE not in parts and KOHYA_MAGNITUDE not in parts else weight


def fits(parts: dict[str, str], shapes: dict[str, Shape], weight: Shape) -> bool:
    """Do the matrices multiply to the weight's shape: (r, in[, kernel]) and (out, r[, 1, 1])?

    Args:
        parts: Of a layer that has a method.
        shapes: Shape of each tensor by key.
        weight: Shape of the weight.
    """
    scalars = all(shapes[parts[part]] in ((), (1,)) for part in parts if part == ALPHA)
    if DOWN not in parts:
        return scalars and lycoris_products.fits(parts, shapes, weight)
    down, up = shapes[parts[DOWN]], shapes[parts[UP]]
    wanted: tuple[Shape, Shape]
    if len(weight) == 2:  # a linear layer may be stored as a 1 x 1 convolution
        down, up = (s[:2] if s[2:] == (1, 1) else s for s in (down, up))
        wanted = (down[0], weight[1]), (weight[0], down[0])
    else:
        wanted = (down[0], *weight[1:]), (weight[0], down[0], 1, 1)
    return (down, up) == wanted and scalars
