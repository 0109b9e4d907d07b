# SPDX-License-Identifier: GPL-3.0-or-later
"""What the packshots' products are made of. Colours are sRGB hex codes; clear materials carry a mark."""

from __future__ import annotations

from typing import Any

from . import materials
from .blender import surfaces
from .materials import Material

CLEAR_MARK = "clear"


def metal(code: str, roughness: float = 0.22) -> Material:
    """Metal whose polish varies a little."""
    graph = surfaces.Graph("metal")
    grain = graph.noise(graph.node("TexCoord").outputs["Object"], 7.0, 3.0)
    rough = graph.node("MapRange", _0=grain, _3=0.75 * roughness, _4=1.25 * roughness)
    colour = surfaces.from_hex(code)
    return graph.finish(graph.node("BsdfPrincipled", Base_Color=colour, Metallic=1.0, Roughness=rough))


def plastic(code: str, roughness: float = 0.35, coat: float = 0.0) -> Material:
    """Plastic, lacquer, enamel or glaze (with a coat)."""
    graph = surfaces.Graph("plastic")
    grain = graph.noise(graph.node("TexCoord").outputs["Object"], 5.0, 3.0)
    rough = graph.node("MapRange", _0=grain, _3=0.85 * roughness, _4=1.15 * roughness)
    more = {"Coat_Weight": coat, "Coat_Roughness": 0.06}
    return graph.finish(graph.node("BsdfPrincipled", Base_Color=surfaces.from_hex(code), Roughness=rough, **more))


def leather(code: str) -> Material:
    """Grained leather."""
    graph = surfaces.Graph("leather")
    place = graph.node("TexCoord").outputs["Object"]
    cells = graph.node("TexVoronoi", Vector=place, Scale=55.0).outputs[0]
    tone = surfaces.from_hex(code)
    dark: Any = tuple(0.72 * level for level in tone)
    colour = graph.mix(graph.noise(place, 3.0, 4.0), dark, tone)
    normal = graph.bump(cells, 0.01, 0.35)
    return graph.finish(graph.node("BsdfPrincipled", Base_Color=colour, Roughness=0.48, Normal=normal))


def cloth(code: str, pitch: float = 120.0) -> Material:
    """Woven cloth: threads across and along."""
    graph = surfaces.Graph("cloth")
    place = graph.node("TexCoord").outputs["Object"]
    along = graph.node("TexWave", {"bands_direction": "X"}, Vector=place, Scale=pitch / 6)
    across = graph.node("TexWave", {"bands_direction": "Z"}, Vector=place, Scale=pitch / 6)
    height = graph.math("ADD", along.outputs[1], across.outputs[1])
    tone = surfaces.from_hex(code)
    dark: Any = tuple(0.85 * level for level in tone)
    colour = graph.mix(graph.noise(place, 40.0, 3.0), dark, tone)
    normal = graph.bump(height, 0.004, 0.5)
    more = {"Sheen_Weight": 0.3, "Specular_IOR_Level": 0.2}
    return graph.finish(graph.node("BsdfPrincipled", Base_Color=colour, Roughness=0.9, Normal=normal, **more))


def fibre(code: str, light: str) -> Material:
    """Hair, bristles, wool and hemp: a tone that differs from place to place."""
    graph = surfaces.Graph("fibre")
    share = graph.noise(graph.node("TexCoord").outputs["Object"], 14.0, 2.0)
    colour = graph.mix(share, surfaces.from_hex(code), surfaces.from_hex(light))
    return graph.finish(graph.node("BsdfPrincipled", Base_Color=colour, Roughness=0.75, Specular_IOR_Level=0.25))


def timber(dark: str, light: str) -> Material:
    """Wood with its grain along z of the mesh as it was built."""
    graph = surfaces.Graph("timber")
    place = graph.node("Mapping", Vector=graph.node("TexCoord").outputs["Object"], Scale=(2.0, 9.0, 9.0))
    grain = graph.noise(place, 2.0, 5.0)
    colour = graph.ramp(grain, [(0.3, surfaces.from_hex(dark)), (0.7, surfaces.from_hex(light))])
    return graph.finish(graph.node("BsdfPrincipled", Base_Color=colour, Roughness=0.42, Coat_Weight=0.2))


def wax(code: str) -> Material:
    """Candle wax, a little uneven."""
    graph = surfaces.Graph("wax")
    place = graph.node("TexCoord").outputs["Object"]
    tone = surfaces.from_hex(code)
    dull: Any = tuple(0.93 * level for level in tone)
    colour = graph.mix(graph.noise(place, 4.0, 3.0), dull, tone)
    return graph.finish(graph.node("BsdfPrincipled", Base_Color=colour, Roughness=0.5, Sheen_Weight=0.15))


def clear(colour: materials.Colour = materials.CLEAR, **more: Any) -> Material:
    """Glass through which the ground is seen; the mark tells the maps from the opaque parts."""
    material = materials.glass(colour, **more)
    material[CLEAR_MARK] = True
    return material
