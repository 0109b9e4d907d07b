# SPDX-License-Identifier: GPL-3.0-or-later
"""What the plates' surfaces are made of, in metres, with the detail that a picture of 1536 px shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .blender import surfaces
from .draws import Draws

Material = Any  # bpy.types.Material
Socket = Any  # bpy.types.NodeSocket or bpy.types.Node
Colour = tuple[float, float, float]


def grey(level: float) -> Colour:
    """A grey."""
    return level, level, level


class Sheet(surfaces.Graph):  # type: ignore[misc]
    """A node graph and its place on an endless sheet, in metres; walls lie across and up."""

    def __init__(self, name: str, draws: Draws, turn: float = 0.0, *, upright: bool = False) -> None:
        super().__init__(name)
        place = self.node("NewGeometry").outputs["Position"]
        if upright:
            parts = self.node("SeparateXYZ", _0=place)
            place = self.node("CombineXYZ", _0=parts.outputs[0], _1=parts.outputs[2], _2=parts.outputs[1]).outputs[0]
        off = (draws.number(f"{name} x", -9, 9), draws.number(f"{name} y", -9, 9), 0.0)
        self.place = self.node("Mapping", Vector=place, Rotation=(0.0, 0.0, turn), Location=off)

    def stretched(self, scale: Sequence[float], place: Socket | None = None) -> Socket:
        """The place with its axes stretched."""
        return self.node("VectorMath", {"operation": "MULTIPLY"}, _0=place or self.place, _1=tuple(scale))

    def bent(self, scale: float, reach: float, detail: float = 3.0) -> Socket:
        """The place moved about by up to `reach` metres."""
        noise = self.node("TexNoise", Vector=self.place, Scale=scale, Detail=detail).outputs[1]
        middle = self.node("VectorMath", {"operation": "SUBTRACT"}, _0=noise, _1=(0.5, 0.5, 0.5))
        wide = (2 * reach, 2 * reach, 0.0)
        return self.node("VectorMath", {"operation": "MULTIPLY_ADD"}, _0=middle, _1=wide, _2=self.place)

    def between(self, share: Socket, low: float, high: float, start: float = 0.0, end: float = 1.0) -> Socket:
        """`share` from `low` to `high` as `start` to `end`, smooth and limited."""
        return self.node("MapRange", {"interpolation_type": "SMOOTHSTEP"}, _0=share, _1=low, _2=high, _3=start, _4=end)

    def done(self, colour: Any, roughness: Any, height: Socket | None = None, reach: float = 0.001, **more: Any) -> Any:
        """The finished surface; `reach` is the depth of its unevenness in metres."""
        if height is not None:
            more["Normal"] = self.bump(height, reach)
        return self.finish(self.node("BsdfPrincipled", Base_Color=colour, Roughness=roughness, **more))


def marble(draws: Draws) -> Material:
    """White stone: wide soft veins, thin dark ones that come and go, grey clouds."""
    g = Sheet("marble", draws, 0.6)
    place = g.bent(2.2, 0.16, 5.0)
    long = g.stretched((1.0, 2.1, 1.0), place)
    wide = g.math("ABSOLUTE", g.math("SUBTRACT", g.noise(long, 1.7, 7.0, 0.55), 0.5))
    thin = g.math("ABSOLUTE", g.math("SUBTRACT", g.noise(long, 4.2, 9.0, 0.6), 0.48))
    shown = g.between(g.noise(g.place, 2.6, 2.0), 0.42, 0.62)
    cloud = g.noise(place, 3.0, 6.0, 0.6)
    colour = g.ramp(cloud, [(0.3, (0.66, 0.665, 0.68)), (0.7, (0.83, 0.825, 0.81))])
    soft = g.math("MULTIPLY", g.between(wide, 0.0, 0.075, 0.62, 0.0), shown)
    colour = g.mix(soft, colour, (0.30, 0.31, 0.335))
    line = g.math("MULTIPLY", g.between(thin, 0.0, 0.014, 0.8, 0.0), g.between(g.noise(g.place, 4.0, 2.0), 0.45, 0.6))
    colour = g.mix(line, colour, (0.26, 0.255, 0.25))
    smears = g.noise(g.place, 9.0, 4.0, 0.65)
    return g.done(colour, g.between(smears, 0.35, 0.7, 0.13, 0.24))


def wood(
    draws: Draws,
    colours: tuple[str, str, str],
    roughness: float,
    *,
    board: float = 0.0,
    turn: float = 0.0,
    upright: bool = False,
) -> Material:
    """Grain of a tree's rings cut lengthwise, fibres, pores; `board` is the width of boards, 0 for one piece."""
    g = Sheet("wood", draws, turn, upright=upright)
    place, seam = g.place, None
    if board:
        rows = g.node(
            "TexBrick",
            {"offset": 0.37},
            Vector=g.place,
            Color1=grey(0.0),
            Color2=grey(1.0),
            Mortar=grey(0.5),
            Scale=1.0,
            Mortar_Size=0.0012,
            Mortar_Smooth=0.4,
            Brick_Width=40.0,
            Row_Height=board,
        )
        seam = rows.outputs[1]
        place = g.node(
            "VectorMath", {"operation": "MULTIPLY_ADD"}, _0=rows.outputs[0], _1=(17.3, 5.1, 9.0), _2=g.place
        ).outputs[0]
    rings = g.noise(g.stretched((0.55, 4.2, 1.0), place), 1.0, 2.5, 0.45)
    across = g.node("SeparateXYZ", _0=place).outputs[1]
    wave = g.math("SINE", g.math("MULTIPLY_ADD", rings, 95.0, g.math("MULTIPLY", across, 120.0)))
    fibre = g.noise(g.stretched((5.0, 260.0, 1.0), place), 1.0, 4.0, 0.65)
    pores = g.noise(g.stretched((22.0, 900.0, 1.0), place), 1.0, 2.0, 0.6)
    broad = g.noise(g.stretched((0.7, 3.0, 1.0), place), 1.0, 3.0)
    share = g.math("MULTIPLY_ADD", wave, 0.13, g.math("MULTIPLY_ADD", fibre, 0.5, g.math("MULTIPLY", broad, 0.5)))
    dark, middle, light = (surfaces.from_hex(code) for code in colours)
    colour = g.ramp(share, [(0.3, dark), (0.5, middle), (0.74, light)])
    hole = g.between(pores, 0.60, 0.72, 0.0, 0.55)
    colour = g.mix(hole, colour, tuple(0.35 * part for part in dark))
    height = g.math("SUBTRACT", g.math("MULTIPLY", fibre, 0.4), hole)
    if seam is not None:
        colour = g.mix(seam, colour, tuple(0.15 * part for part in dark))
        height = g.math("MULTIPLY_ADD", seam, -4.0, height)
    rough = g.math("MULTIPLY_ADD", fibre, 0.25, g.math("MULTIPLY_ADD", broad, 0.2, roughness - 0.22))
    return g.done(colour, rough, height, 0.00035)


def stone(draws: Draws, low: str, high: str, roughness: float, *, layers: float = 0.0, grain: float = 1.0) -> Material:
    """Grained rock; `layers` makes the steps of split slate."""
    g = Sheet("stone", draws, 0.4)
    broad, fine = g.noise(g.place, 5.0, 8.0, 0.62), g.noise(g.place, 260.0, 4.0, 0.7)
    share = g.math("MULTIPLY_ADD", fine, 0.35, g.math("MULTIPLY", broad, 0.65))
    colour = g.ramp(share, [(0.33, surfaces.from_hex(low)), (0.66, surfaces.from_hex(high))])
    mid = g.noise(g.place, 34.0, 5.0, 0.65)
    height = g.math(
        "MULTIPLY_ADD", fine, 0.12 * grain, g.math("MULTIPLY_ADD", mid, 0.5, g.math("MULTIPLY", broad, 0.6))
    )
    if layers:
        steps = g.noise(g.stretched((1.0, 1.8, 1.0)), 4.5, 7.0, 0.55)
        terrace = g.math("DIVIDE", g.math("FLOOR", g.math("MULTIPLY", steps, 14.0)), 14.0)
        height = g.math("MULTIPLY_ADD", terrace, layers, height)
    rough = g.between(broad, 0.3, 0.7, roughness - 0.1, roughness + 0.12)
    return g.done(colour, rough, height, 0.006)


def concrete(draws: Draws, *, upright: bool = False, tone: float = 1.0) -> Material:
    """Clouds, trowel marks and small holes."""
    g = Sheet("concrete", draws, 0.0, upright=upright)
    clouds, fine = g.noise(g.place, 3.0, 8.0, 0.62), g.noise(g.place, 180.0, 5.0, 0.7)
    cell = g.node("TexVoronoi", {"feature": "F1"}, Vector=g.bent(60.0, 0.004), Scale=48.0)
    hole = g.math("MULTIPLY", g.between(cell.outputs[0], 0.05, 0.13, 1.0, 0.0), 1.0)
    hole = g.math("MULTIPLY", hole, g.between(g.node("SeparateColor", _0=cell.outputs[1]).outputs[0], 0.72, 0.76))
    share = g.math("MULTIPLY_ADD", fine, 0.3, g.math("MULTIPLY", clouds, 0.7))
    low, high = (0.27 * tone, 0.268 * tone, 0.26 * tone), (0.47 * tone, 0.465 * tone, 0.45 * tone)
    colour = g.mix(g.math("MULTIPLY", hole, 0.75), g.ramp(share, [(0.32, low), (0.68, high)]), (0.07, 0.068, 0.065))
    height = g.math("MULTIPLY_ADD", hole, -2.0, g.math("MULTIPLY_ADD", fine, 0.2, g.math("MULTIPLY", clouds, 0.8)))
    return g.done(colour, 0.8, height, 0.0018)


def plaster(draws: Draws, colour: Colour, unevenness: float = 1.0) -> Material:
    """Painted wall with the marks of the roller."""
    g = Sheet("plaster", draws, upright=True)
    clouds, grain = g.noise(g.place, 1.6, 6.0, 0.6), g.noise(g.place, 120.0, 4.0, 0.6)
    shade = g.ramp(clouds, [(0.3, grey(0.88)), (0.7, grey(1.0))])
    height = g.math("MULTIPLY_ADD", grain, 0.5, clouds)
    return g.done(g.mix(0.8 * min(1.0, unevenness), colour, shade, "MULTIPLY"), 0.85, height, 0.003 * unevenness)


def masonry(
    draws: Draws,
    colours: tuple[str, str, str],
    size: tuple[float, float, float],
    *,
    roughness: float,
    depth: float,
    upright: bool = False,
    turn: float = 0.0,
) -> Material:
    """Bricks or tiles with worn edges; `size` is width, height and joint in metres."""
    g = Sheet("masonry", draws, turn, upright=upright)
    place = g.bent(30.0, 0.0022, 4.0)
    first, second, mortar = (surfaces.from_hex(code) for code in colours)
    rows = g.node(
        "TexBrick",
        {"offset": 0.5 if size[0] > 1.5 * size[1] else 0.0, "offset_frequency": 2},
        Vector=place,
        Color1=first,
        Color2=second,
        Mortar=mortar,
        Scale=1.0,
        Mortar_Size=size[2],
        Mortar_Smooth=0.35,
        Brick_Width=size[0],
        Row_Height=size[1],
    )
    clouds, fine = g.noise(g.place, 9.0, 7.0, 0.65), g.noise(g.place, 160.0, 5.0, 0.7)
    colour = g.mix(0.75, rows.outputs[0], g.ramp(clouds, [(0.3, grey(0.5)), (0.72, grey(1.15))]), "MULTIPLY")
    colour = g.mix(0.6, colour, g.ramp(fine, [(0.3, grey(0.6)), (0.7, grey(1.1))]), "MULTIPLY")
    height = g.math(
        "MULTIPLY_ADD", clouds, 0.35, g.math("MULTIPLY_ADD", fine, 0.18, g.math("MULTIPLY", rows.outputs[1], -1.0))
    )
    return g.done(colour, g.between(clouds, 0.3, 0.7, roughness - 0.1, roughness + 0.1), height, depth)


def terrazzo(draws: Draws) -> Material:
    """Chips of many stones in pale cement, ground flat."""
    g = Sheet("terrazzo", draws)
    stones = [(0.0, "c9b8a4"), (0.2, "8c4f3a"), (0.36, "e9e2d6"), (0.55, "5c6468"), (0.72, "b88a5c"), (0.86, "2f3436")]
    colour = g.ramp(g.noise(g.place, 300.0, 3.0), [(0.3, (0.62, 0.6, 0.57)), (0.7, (0.74, 0.72, 0.69))])
    for scale, share, bend in ((150.0, 0.55, 0.002), (62.0, 0.5, 0.004), (30.0, 0.34, 0.007)):
        place = g.bent(2.2 * scale, bend, 2.0)
        flat: dict[str, Any] = {"voronoi_dimensions": "2D"}
        edge = g.node("TexVoronoi", flat | {"feature": "DISTANCE_TO_EDGE"}, Vector=place, Scale=scale)
        cell = g.node("TexVoronoi", flat | {"feature": "F1"}, Vector=place, Scale=scale)
        parts = g.node("SeparateColor", _0=cell.outputs[1])
        inside = g.math(
            "MULTIPLY", g.between(edge.outputs[0], 0.09, 0.12), g.math("LESS_THAN", parts.outputs[1], share)
        )
        chip = g.ramp(parts.outputs[0], [(at, surfaces.from_hex(code)) for at, code in stones])
        cloud = g.ramp(g.noise(g.place, 420.0, 4.0, 0.7), [(0.3, grey(0.75)), (0.7, grey(1.1))])
        colour = g.mix(inside, colour, g.mix(0.6, chip, cloud, "MULTIPLY"))
    return g.done(colour, g.between(g.noise(g.place, 7.0, 5.0), 0.35, 0.7, 0.16, 0.3))


def linen(draws: Draws, low: str, high: str, pitch: float = 0.0016) -> Material:
    """Plain weave of uneven threads, `pitch` metres apart."""
    g = Sheet("linen", draws, 0.05)
    place = g.bent(24.0, 0.0012)
    parts = g.node("SeparateXYZ", _0=place)
    waves = [g.math("SINE", g.math("MULTIPLY", parts.outputs[k], math.pi / pitch)) for k in (0, 1)]
    over = g.math("GREATER_THAN", g.math("MULTIPLY", *waves), 0.0)
    high_x, high_y = (g.math("ABSOLUTE", wave) for wave in waves)
    weave = g.math("ADD", g.math("MULTIPLY", over, high_x), g.math("MULTIPLY", g.math("SUBTRACT", 1.0, over), high_y))
    slub_x = g.noise(g.stretched((14.0, 640.0, 1.0)), 1.0, 3.0, 0.6)
    slub_y = g.noise(g.stretched((640.0, 14.0, 1.0)), 1.0, 3.0, 0.6)
    slub = g.node("Mix", _0=over, _2=slub_y, _3=slub_x).outputs[0]
    share = g.math("MULTIPLY_ADD", weave, 0.4, g.math("MULTIPLY", slub, 0.75))
    colour = g.ramp(share, [(0.25, surfaces.from_hex(low)), (0.8, surfaces.from_hex(high))])
    height = g.math("MULTIPLY_ADD", slub, 0.7, weave)
    return g.done(colour, 0.9, height, 0.0007, Sheen_Weight=0.25, Specular_IOR_Level=0.25)


def sand(draws: Draws) -> Material:
    """Grains of several colours and sizes."""
    g = Sheet("sand", draws)
    cell = g.node("TexVoronoi", {"feature": "F1"}, Vector=g.place, Scale=620.0)
    tone = g.node("SeparateColor", _0=cell.outputs[1])
    broad = g.noise(g.place, 7.0, 6.0, 0.6)
    tones = [(0.0, "7d6443"), (0.12, "b3925f"), (0.6, "d3b584"), (0.93, "ecd9b4"), (1.0, "f6efe0")]
    colour = g.ramp(tone.outputs[0], [(at, surfaces.from_hex(code)) for at, code in tones])
    colour = g.mix(0.7, colour, g.ramp(broad, [(0.3, grey(0.72)), (0.7, grey(1.05))]), "MULTIPLY")
    lumps = g.noise(g.place, 70.0, 6.0, 0.72)
    height = g.math("MULTIPLY_ADD", cell.outputs[0], -0.3, g.math("MULTIPLY", lumps, 1.5))
    return g.done(colour, 0.95, height, 0.006, Specular_IOR_Level=0.3)


def setts(draws: Draws) -> Material:
    """Granite of paving stones, each of its own tone; the joints are deep in the mesh."""
    g = Sheet("setts", draws)
    fine, mid = g.noise(g.place, 320.0, 4.0, 0.75), g.noise(g.place, 38.0, 6.0, 0.65)
    spots = g.node("SeparateColor", _0=g.node("TexVoronoi", Vector=g.place, Scale=420.0).outputs[1]).outputs[0]
    share = g.math("MULTIPLY_ADD", spots, 0.35, g.math("MULTIPLY", mid, 0.65))
    colour = g.ramp(
        share,
        [(0.28, surfaces.from_hex("4d4a47")), (0.5, surfaces.from_hex("8a847c")), (0.75, surfaces.from_hex("b4aca0"))],
    )
    tone = g.node("SeparateColor", _0=g.node("Attribute", {"attribute_name": "tone"}).outputs[0])
    colour = g.mix(
        1.0,
        colour,
        g.ramp(tone.outputs[0], [(0.0, (0.5, 0.5, 0.52)), (0.5, (0.8, 0.77, 0.72)), (1.0, (1.1, 1.05, 1.0))]),
        "MULTIPLY",
    )
    soil = g.ramp(fine, [(0.3, (0.035, 0.03, 0.024)), (0.7, (0.10, 0.085, 0.065))])
    colour = g.mix(g.between(tone.outputs[1], 0.35, 0.8), colour, soil)
    height = g.math("MULTIPLY_ADD", fine, 0.25, mid)
    return g.done(colour, g.between(mid, 0.3, 0.7, 0.45, 0.72), height, 0.004)


def painted(name: str, colour: Colour, roughness: float, **more: Any) -> Material:
    """A prop of one colour."""
    return surfaces.plain(name, colour, roughness, **more)
