# SPDX-License-Identifier: GPL-3.0-or-later
"""What products are made of: plastic, metal, glaze, wood, glass that lets light through, print."""

from __future__ import annotations

from typing import Any

from . import names
from .blender import surfaces

Colour = tuple[float, float, float]
Material = Any  # bpy.types.Material
CLEAR: Colour = (0.985, 0.99, 0.99)
AIR = 1.0
GLASS, WATER = 1.45, 1.33
BOTTLE_GLASS: dict[str, Colour] = {
    "clear": (0.97, 0.99, 0.98),
    "green": (0.12, 0.34, 0.10),
    "amber": (0.42, 0.15, 0.02),
    "blue": (0.05, 0.14, 0.50),
    "black": (0.015, 0.02, 0.015),
}


def linear(name: str) -> Colour:
    """A colour's name as linear light."""
    colour: Colour = surfaces.from_hex(names.hex_of(name))
    return colour


def tint(name: str, depth: float) -> Colour:
    """What glass or liquid of a colour lets through: lightened, and pale where `depth` (0 to 1) is small."""
    if name == "clear":
        return CLEAR
    colour = linear(name)
    most = max(colour)
    lift = max(most, 0.55) / most
    red, green, blue = ((1 - depth) + depth * level * lift for level in colour)
    return red, green, blue


def paint(name: str, roughness: float, **more: Any) -> Material:
    """Plastic, lacquer or metal of a named colour; metals are metallic by themselves."""
    if name == "wood":
        return wood()
    if name in names.METALS:
        more = {"Metallic": 1.0} | more
    return surfaces.plain(name, linear(name), roughness, **more)


def gloss(name: str, roughness: float = 0.2) -> Material:
    """Plastic or ceramic under a clear coat."""
    return paint(name, roughness, Coat_Weight=0.6, Coat_Roughness=0.06)


def wood() -> Material:
    """Turned wood of caps and lids."""
    graph = surfaces.Graph("wood")
    place = graph.node("Mapping", Vector=graph.node("TexCoord").outputs["Object"], Scale=(12.0, 12.0, 1.2))
    grain = graph.noise(place, 2.0, 4.0)
    colour = graph.ramp(grain, [(0.3, surfaces.from_hex("7a5230")), (0.7, surfaces.from_hex("c89a64"))])
    return graph.finish(graph.node("BsdfPrincipled", Base_Color=colour, Roughness=0.5))


def glass(
    colour: Colour, *, roughness: float = 0.0, ior: float = GLASS, shadow: float = 0.85, cloud: float = 0.0
) -> Material:
    """Glass or liquid whose shadow is its own colour: there are few rays, and none to spare for caustics.

    `ior` is the index inside against outside: of a liquid within glass, the liquid's over the glass's.
    `cloud` is the share that scatters light instead of letting it through, so that a blue perfume
    stays blue before a yellow wall.
    """
    graph = surfaces.Graph("glass")
    body = graph.node("BsdfGlass", Color=colour, Roughness=roughness, IOR=ior)
    if cloud:
        milk = graph.node("BsdfDiffuse", Color=colour)
        body = graph.node("MixShader", _0=cloud, _1=body, _2=milk)
    through = graph.node("BsdfTransparent", Color=tuple(shadow * level for level in colour))
    ray = graph.node("LightPath")
    share = graph.math("MAXIMUM", ray.outputs["Is Shadow Ray"], ray.outputs["Is Diffuse Ray"])
    return graph.finish(graph.node("MixShader", _0=share, _1=body, _2=through))


def printed(drawing: Any, roughness: float, *, metallic: float = 0.0, bare: bool = False) -> Material:
    """A Pillow drawing on a sheet: on paper with a plain back, or with `bare` as ink alone.

    Ink has no back: seen from behind through clear glass it would stand mirrored.
    """
    graph = surfaces.Graph("print")
    texture = graph.node("TexImage", {"extension": "EXTEND", "interpolation": "Cubic"})
    texture.image = surfaces.picture("print", drawing)
    behind = graph.node("NewGeometry").outputs["Backfacing"]
    inputs: dict[str, Any] = {"Roughness": roughness, "Metallic": metallic}
    if bare:
        ink = graph.math("MULTIPLY", texture.outputs[1], graph.math("SUBTRACT", 1.0, behind))
        return graph.finish(graph.node("BsdfPrincipled", Base_Color=texture.outputs[0], Alpha=ink, **inputs))
    colour = graph.mix(behind, texture.outputs[0], (0.75, 0.74, 0.70))
    return graph.finish(graph.node("BsdfPrincipled", Base_Color=colour, **inputs))
