# SPDX-License-Identifier: GPL-3.0-or-later
"""Materials of the sample products: glass with absorption, metals, glaze, print, stone, velvet.

This module imports ``bpy`` and is therefore licensed GPL-compatible.
"""

from __future__ import annotations

import math
from typing import Any

import bpy
import numpy as np
from PIL import Image

Colour = tuple[float, float, float]


def from_hex(code: str) -> Colour:
    """Linear colour of an sRGB hex code such as ``c4262c``."""
    levels = [int(code[k : k + 2], 16) / 255 for k in (0, 2, 4)]
    red, green, blue = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in levels)
    return red, green, blue


class Graph:
    """A new material and the few calls its node graph needs."""

    def __init__(self, name: str) -> None:
        self.material = bpy.data.materials.new(name)
        self.material.use_nodes = True
        self.tree = self.material.node_tree
        self.tree.nodes.clear()
        self.output = self.tree.nodes.new("ShaderNodeOutputMaterial")

    def node(self, kind: str, settings: dict[str, Any] | None = None, **inputs: Any) -> bpy.types.Node:
        """Add a node; inputs are named with underscores for spaces, or ``_0`` for the first input."""
        made = self.tree.nodes.new("ShaderNode" + kind)
        for key, value in (settings or {}).items():
            setattr(made, key, value)
        for key, value in inputs.items():
            position: int | str = int(key[1:]) if key[0] == "_" else key.replace("_", " ")
            self.connect(value, made.inputs[position])
        return made

    def connect(self, value: Any, socket: bpy.types.NodeSocket) -> None:
        """Feed a socket from a node, another socket or a constant."""
        if isinstance(value, bpy.types.Node):
            self.tree.links.new(value.outputs[0], socket)
        elif isinstance(value, bpy.types.NodeSocket):
            self.tree.links.new(value, socket)
        else:
            socket.default_value = (*value, 1.0) if socket.type == "RGBA" and len(value) == 3 else value

    def mix(self, share: Any, first: Any, second: Any, blend: str = "MIX") -> bpy.types.NodeSocket:
        """Mix two colours."""
        made = self.node("Mix", {"data_type": "RGBA", "blend_type": blend})
        for index, value in ((0, share), (6, first), (7, second)):
            self.connect(value, made.inputs[index])
        return made.outputs[2]

    def ramp(self, share: Any, stops: list[tuple[float, Colour]]) -> bpy.types.NodeSocket:
        """Colour ramp over ``share``."""
        made = self.node("ValToRGB", _0=share)
        elements = made.color_ramp.elements
        while len(elements) < len(stops):
            elements.new(0.5)
        for element, (position, colour) in zip(elements, stops, strict=True):
            element.position, element.color = position, (*colour, 1.0)
        return made.outputs[0]

    def math(self, operation: str, *values: Any) -> bpy.types.Node:
        """Arithmetic on one to three numbers; ``operation`` is Blender's name (``ADD``, ``MULTIPLY_ADD``...)."""
        made = self.node("Math", {"operation": operation})
        for value, socket in zip(values, made.inputs, strict=False):
            self.connect(value, socket)
        return made

    def noise(
        self, place: Any, scale: float, detail: float = 4.0, roughness: float = 0.55, distortion: float = 0.0
    ) -> Any:
        """Fractal noise from 0 to 1 at ``place``."""
        made = self.node(
            "TexNoise", Vector=place, Scale=scale, Detail=detail, Roughness=roughness, Distortion=distortion
        )
        return made.outputs[0]

    def bump(self, height: Any, distance: float, strength: float = 1.0) -> Any:
        """Normal that makes a smooth surface look uneven by ``distance``."""
        return self.node("Bump", Height=height, Distance=distance, Strength=strength).outputs[0]

    def finish(self, surface: Any, volume: Any | None = None) -> bpy.types.Material:
        """Connect the output and hand over the material."""
        self.connect(surface, self.output.inputs["Surface"])
        if volume is not None:
            self.connect(volume, self.output.inputs["Volume"])
        return self.material


def glass(name: str, ior: float, through: Colour | None = None, thickness: float = 1.0) -> bpy.types.Material:
    """Clear interface with index ``ior`` (inside against outside).

    ``through`` is the colour white light has after ``thickness`` units inside the body.
    """
    graph = Graph(name)
    surface = graph.node("BsdfGlass", Color=(1.0, 1.0, 1.0), Roughness=0.0, IOR=ior)
    if through is None:
        return graph.finish(surface)
    absorbed = [-math.log(max(level, 1e-4)) / thickness for level in through]
    density = max(absorbed)
    colour = tuple(1 - level / density for level in absorbed)
    return graph.finish(surface, graph.node("VolumeAbsorption", Color=colour, Density=density))


def plain(name: str, colour: Colour, roughness: float, **more: Any) -> bpy.types.Material:
    """Principled surface of one colour; ``more`` goes to the shader (``Metallic``, ``Coat_Weight``...)."""
    graph = Graph(name)
    return graph.finish(graph.node("BsdfPrincipled", Base_Color=colour, Roughness=roughness, **more))


def brushed_metal(name: str, colour: Colour, roughness: float = 0.28) -> bpy.types.Material:
    """Metal with the faint noise of a brushed finish."""
    graph = Graph(name)
    place = graph.node("TexCoord").outputs["Object"]
    stretched = graph.node("Mapping", Vector=place, Scale=(6.0, 6.0, 220.0))
    noise = graph.node("TexNoise", Vector=stretched, Scale=3.0, Detail=2.0)
    rough = graph.node("MapRange", _0=noise, _3=roughness * 0.8, _4=roughness * 1.2)
    return graph.finish(graph.node("BsdfPrincipled", Base_Color=colour, Metallic=1.0, Roughness=rough))


def picture(name: str, drawing: Image.Image) -> bpy.types.Image:
    """Hand a Pillow drawing to Blender."""
    image = bpy.data.images.new(name, drawing.width, drawing.height, alpha=True)
    pixels = np.asarray(drawing.convert("RGBA"), np.float32)[::-1] / 255
    image.pixels.foreach_set(pixels.ravel())
    image.update()
    image.pack()
    return image


def printed(
    name: str, drawing: Image.Image, roughness: float, *, coat: float = 0.0, transparent: bool = False
) -> bpy.types.Material:
    """A drawing printed on the surface; with ``transparent`` its alpha lets the ground show."""
    graph = Graph(name)
    texture = graph.node("TexImage", {"extension": "EXTEND", "interpolation": "Cubic"})
    texture.image = picture(name, drawing)
    inputs: dict[str, Any] = {"Roughness": roughness, "Coat_Weight": coat, "Coat_Roughness": 0.05}
    if transparent:
        inputs["Alpha"] = texture.outputs[1]
    return graph.finish(graph.node("BsdfPrincipled", Base_Color=texture.outputs[0], **inputs))


def glaze(name: str, colour: Colour, speck: Colour, roughness: float = 0.16) -> bpy.types.Material:
    """Stoneware glaze: a colour with fine specks under a clear coat."""
    graph = Graph(name)
    place = graph.node("TexCoord").outputs["Object"]
    grain = graph.node("TexNoise", Vector=place, Scale=95.0, Detail=2.0, Roughness=0.6)
    specks = graph.ramp(grain, [(0.66, (0.0, 0.0, 0.0)), (0.74, (0.75, 0.75, 0.75))])
    cloud = graph.node("TexNoise", Vector=place, Scale=3.0, Detail=3.0)
    shade = graph.ramp(cloud, [(0.3, tuple(0.9 * c for c in colour)), (0.7, tuple(1.06 * c for c in colour))])
    body = graph.mix(specks, shade, speck)
    return graph.finish(
        graph.node("BsdfPrincipled", Base_Color=body, Roughness=0.4, Coat_Weight=0.8, Coat_Roughness=roughness)
    )


def marble(name: str, ground: Colour, vein: Colour, scale: float, roughness: float = 0.12) -> bpy.types.Material:
    """Polished stone with thin veins."""
    graph = Graph(name)
    place = graph.node("TexCoord").outputs["Object"]
    base = graph.node("TexNoise", Vector=place, Scale=scale, Detail=7.0, Roughness=0.6, Distortion=1.6)
    distance = graph.node(
        "Math", {"operation": "ABSOLUTE"}, _0=graph.node("Math", {"operation": "SUBTRACT"}, _0=base, _1=0.5)
    )
    veins = graph.ramp(distance, [(0.0, (1.0, 1.0, 1.0)), (0.008, (0.35, 0.35, 0.35)), (0.04, (0.0, 0.0, 0.0))])
    patches = graph.ramp(
        graph.node("TexNoise", Vector=place, Scale=scale * 0.7, Detail=3.0),
        [(0.42, (0.0, 0.0, 0.0)), (0.62, (1.0, 1.0, 1.0))],
    )
    share = graph.mix(1.0, veins, patches, "MULTIPLY")
    cloud = graph.node("TexNoise", Vector=place, Scale=scale * 2.2, Detail=5.0)
    shade = graph.ramp(cloud, [(0.35, tuple(0.6 * c for c in ground)), (0.7, tuple(1.7 * c for c in ground))])
    colour = graph.mix(share, shade, vein)
    return graph.finish(graph.node("BsdfPrincipled", Base_Color=colour, Roughness=roughness))


def velvet(name: str, colour: Colour, sheen: Colour) -> bpy.types.Material:
    """Pile fabric: dark when seen along the pile, light at grazing angles."""
    graph = Graph(name)
    return graph.finish(
        graph.node(
            "BsdfPrincipled",
            Base_Color=colour,
            Roughness=0.9,
            Sheen_Weight=1.0,
            Sheen_Roughness=0.35,
            Sheen_Tint=sheen,
            Specular_IOR_Level=0.1,
        )
    )


def softbox(name: str, strength: float, falloff: float, colour: Colour = (1.0, 1.0, 1.0)) -> bpy.types.Material:
    """Light panel, brightest in its middle; ``falloff`` 0 is even, 1 fades to black at the edge."""
    graph = Graph(name)
    uv = graph.node("TexCoord").outputs["UV"]
    centred = graph.node("VectorMath", {"operation": "SUBTRACT"}, _0=uv, _1=(0.5, 0.5, 0.0))
    radius = graph.node("VectorMath", {"operation": "LENGTH"}, _0=centred).outputs[1]
    level = graph.node(
        "MapRange",
        {"interpolation_type": "SMOOTHSTEP"},
        _0=radius,
        _1=0.1,
        _2=0.55,
        _3=strength,
        _4=strength * (1 - falloff),
    )
    return graph.finish(graph.node("Emission", Color=colour, Strength=level.outputs[0]))


def flame(name: str, colour: Colour, strength: float) -> bpy.types.Material:
    """Glow of one colour."""
    graph = Graph(name)
    return graph.finish(graph.node("Emission", Color=colour, Strength=strength))
