# SPDX-License-Identifier: GPL-3.0-or-later
"""Materials of the fourteen surfaces and of the walls, as functions of the place in the room.

`material` makes a named one; every frame gets its own piece of it, a little lighter or darker.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .blender import surfaces
from .draws import Draws
from .materials import linear

Material = Any  # bpy.types.Material
Socket = Any  # bpy.types.NodeSocket or bpy.types.Node
Levels = tuple[float, float, float]
ALIGNED = ("light oak wood", "dark walnut wood", "terracotta tiles", "linen fabric")


def level(value: float) -> Levels:
    """A grey."""
    return value, value, value


class Ground(surfaces.Graph):  # type: ignore[misc]
    """A surface's node graph with its place: where on an endless sheet this frame's piece lies."""

    def __init__(self, name: str, draws: Draws, scale: float, *, upright: bool) -> None:
        super().__init__(name)
        self.draws = draws
        place = self.node("NewGeometry").outputs["Position"]
        if upright:  # a wall: across and up, not across and back
            parts = self.node("SeparateXYZ", _0=place)
            place = self.node("CombineXYZ", _0=parts.outputs[0], _1=parts.outputs[2]).outputs[0]
        turn = 0.0 if upright else draws.number("turn", 0.0, 6.28)
        if name in ALIGNED:
            turn = draws.near("slant", 0.0, 0.3, 0.8) + draws.one_of("quarter", (0.0, 1.5708))
        self.place = self.node(
            "Mapping",
            Vector=place,
            Scale=level(scale),
            Rotation=(0.0, 0.0, turn),
            Location=(
                draws.number("x", -20, 20),
                draws.number("y", -20, 20),
                0.0 if upright else draws.number("z", -3, 3),
            ),
        )

    def stretched(self, place: Socket, scale: Levels) -> Socket:
        """A place with its axes stretched."""
        return self.node("VectorMath", {"operation": "MULTIPLY"}, _0=place, _1=scale)

    def ridge(self, noise: Socket, middle: float) -> Socket:
        """Distance of a noise from its middle: thin lines, as veins are."""
        return self.math("ABSOLUTE", self.math("SUBTRACT", noise, middle))

    def done(self, colour: Socket, roughness: Any, normal: Socket | None = None, **more: Any) -> Material:
        """The finished surface, its tone varied a little from frame to frame."""
        toned = self.node(
            "HueSaturation",
            Color=colour,
            Hue=self.draws.near("hue", 0.5, 0.006, 0.012),
            Saturation=self.draws.number("saturation", 0.88, 1.1),
            Value=self.draws.number("value", 0.88, 1.06),
        )
        if normal is not None:
            more["Normal"] = normal
        return self.finish(self.node("BsdfPrincipled", Base_Color=toned, Roughness=roughness, **more))


def white_marble(g: Ground) -> Material:
    """Grey veins, wide and narrow, on white."""
    wide = g.ramp(
        g.ridge(g.noise(g.place, 0.55, 7.0, 0.6, 1.6), 0.5),
        [(0.0, (0.34, 0.34, 0.36)), (0.03, (0.62, 0.62, 0.63)), (0.16, (0.84, 0.84, 0.83))],
    )
    narrow = g.ramp(
        g.ridge(g.noise(g.place, 1.7, 6.0, 0.6, 2.2), 0.47),
        [(0.0, (0.55, 0.55, 0.56)), (0.025, level(0.9)), (0.1, level(1.0))],
    )
    return g.done(g.mix(1.0, wide, narrow, "MULTIPLY"), 0.1)


def black_marble(g: Ground) -> Material:
    """Thin pale veins on near black, missing here and there."""
    veins = g.ramp(
        g.ridge(g.noise(g.place, 0.55, 7.0, 0.6, 1.6), 0.5),
        [(0.0, (0.42, 0.40, 0.38)), (0.006, level(0.05)), (0.07, (0.012, 0.012, 0.014))],
    )
    patches = g.ramp(g.noise(g.place, 0.4, 2.0), [(0.42, level(0.12)), (0.58, level(1.0))])
    return g.done(g.mix(0.9, veins, patches, "MULTIPLY"), 0.12, Specular_IOR_Level=0.25)


def planks(g: Ground, dark: str, light: str, length: float, width: float) -> Material:
    """Boards with long grain; each board has its own piece of the noise."""
    boards = g.node(
        "TexBrick",
        {"offset": 0.37, "offset_frequency": 2},
        Vector=g.place,
        Color1=level(0.0),
        Color2=level(1.0),
        Mortar=level(0.5),
        Scale=1.0,
        Mortar_Size=0.012,
        Mortar_Smooth=0.3,
        Brick_Width=length,
        Row_Height=width,
    )
    tone, seam = boards.outputs[0], boards.outputs[1]
    shifted = g.node("VectorMath", {"operation": "MULTIPLY_ADD"}, _0=tone, _1=(7.3, 3.1, 9.0), _2=g.place)
    wander = g.noise(g.stretched(shifted, (0.35, 1.2, 1.0)), 1.2, 2.0)
    bent = g.node("VectorMath", {"operation": "MULTIPLY_ADD"}, _0=wander, _1=(0.0, 0.5, 0.0), _2=shifted)
    rings = g.noise(g.stretched(bent, (0.5, 6.0, 6.0)), 1.3, 5.0, 0.6)
    pores = g.noise(g.stretched(bent, (1.2, 40.0, 40.0)), 1.0, 3.0, 0.7)
    grain = g.math("MULTIPLY_ADD", rings, 0.75, g.math("MULTIPLY", pores, 0.25))
    deep = surfaces.from_hex(dark)
    colour = g.ramp(grain, [(0.32, deep), (0.68, surfaces.from_hex(light))])
    colour = g.mix(seam, g.mix(g.math("MULTIPLY", tone, 0.35), colour, deep), (0.01, 0.006, 0.004))
    height = g.math("SUBTRACT", g.math("MULTIPLY", pores, 0.15), seam)
    return g.done(colour, g.math("MULTIPLY_ADD", pores, 0.3, 0.28), g.bump(height, 0.02, 0.6))


def masonry(
    g: Ground, stones: tuple[str, str, str], size: Levels, roughness: float, bump: float, *, dirt: float, grain: float
) -> Material:
    """Bricks or tiles: two tones and mortar; `size` is width, height, joint; every second brick row is shifted."""
    first, second, mortar = (surfaces.from_hex(code) for code in stones)
    rows = g.node(
        "TexBrick",
        {"offset": 0.5 if size[0] > 1.5 * size[1] else 0.0, "offset_frequency": 2},
        Vector=g.place,
        Color1=first,
        Color2=second,
        Mortar=mortar,
        Scale=1.0,
        Mortar_Size=size[2],
        Mortar_Smooth=0.15,
        Brick_Width=size[0],
        Row_Height=size[1],
    )
    fine, broad = g.noise(g.place, 8.0, 5.0, 0.65), g.noise(g.place, 1.1, 2.0)
    colour = g.mix(dirt, rows.outputs[0], g.ramp(fine, [(0.3, level(0.35)), (0.7, level(1.0))]), "MULTIPLY")
    colour = g.mix(0.6 * dirt, colour, g.ramp(broad, [(0.35, level(0.5)), (0.65, level(1.0))]), "MULTIPLY")
    height = g.math("SUBTRACT", g.math("MULTIPLY", fine, grain), rows.outputs[1])
    return g.done(colour, roughness, g.bump(height, bump, 0.9))


def concrete(g: Ground) -> Material:
    """Grey with clouds and pores."""
    clouds, pores = g.noise(g.place, 1.2, 8.0, 0.65), g.noise(g.place, 14.0, 4.0, 0.7)
    share = g.math("MULTIPLY_ADD", pores, 0.3, g.math("MULTIPLY", clouds, 0.7))
    return g.done(g.ramp(share, [(0.3, (0.2, 0.2, 0.195)), (0.7, (0.42, 0.415, 0.40))]), 0.8, g.bump(pores, 0.03, 0.5))


def sand(g: Ground) -> Material:
    """Fine grains, ripples of the wind."""
    grains = g.noise(g.place, 60.0, 3.0, 0.8)
    ripples = g.node("TexWave", Vector=g.place, Scale=0.55, Distortion=5.0, Detail=2.0, Detail_Scale=0.6).outputs[1]
    colour = g.ramp(grains, [(0.3, surfaces.from_hex("b8925c")), (0.7, surfaces.from_hex("ecd2a0"))])
    height = g.math("MULTIPLY_ADD", grains, 0.12, g.math("MULTIPLY", ripples, 0.6))
    return g.done(colour, 0.95, g.bump(height, 0.12, 0.8))


def cobblestone(g: Ground) -> Material:
    """Rounded stones of several greys with dark joints."""
    bend = g.node("TexNoise", Vector=g.place, Scale=3.0, Detail=2.0).outputs[1]
    place = g.node("VectorMath", {"operation": "MULTIPLY_ADD"}, _0=bend, _1=(0.12, 0.12, 0.0), _2=g.place)
    flat: dict[str, Any] = {"voronoi_dimensions": "2D"}
    edge = g.node("TexVoronoi", flat | {"feature": "DISTANCE_TO_EDGE"}, Vector=place, Scale=1.7, Randomness=0.75)
    cell = g.node("TexVoronoi", flat | {"feature": "F1"}, Vector=place, Scale=1.7, Randomness=0.75)
    tone, grain = g.node("SeparateColor", _0=cell.outputs[1]), g.noise(g.place, 9.0, 5.0, 0.7)
    greys = [(0.0, (0.16, 0.155, 0.15)), (0.5, (0.3, 0.28, 0.26)), (1.0, (0.42, 0.4, 0.38))]
    colour = g.mix(0.6, g.ramp(tone, greys), g.ramp(grain, [(0.3, level(0.45)), (0.7, level(1.0))]), "MULTIPLY")
    stone = g.node("MapRange", _0=edge.outputs[0], _1=0.02, _2=0.16)
    height = g.math("MULTIPLY_ADD", grain, 0.25, g.math("POWER", stone, 0.5))
    return g.done(g.mix(stone, (0.07, 0.06, 0.05), colour), 0.6, g.bump(height, 0.16))


def green_grass(g: Ground) -> Material:
    """The soil between the blades."""
    patches, fine = g.noise(g.place, 2.0, 3.0), g.noise(g.place, 40.0, 2.0)
    colour = g.mix(patches, surfaces.from_hex("1d3d12"), surfaces.from_hex("4f7a26"))
    colour = g.mix(0.5, colour, g.ramp(fine, [(0.3, level(0.3)), (0.7, level(1.0))]), "MULTIPLY")
    return g.done(colour, 0.8, g.bump(fine, 0.1))


def linen(g: Ground) -> Material:
    """Plain weave."""
    threads = [
        g.node(
            "TexWave",
            {"bands_direction": way},
            Vector=g.place,
            Scale=9.0,
            Distortion=0.6,
            Detail=2.0,
            Detail_Scale=3.0,
        ).outputs[1]
        for way in ("X", "Y")
    ]
    weave = g.math("MULTIPLY", *threads)
    share = g.math("MULTIPLY_ADD", g.noise(g.place, 5.0), 0.5, g.math("MULTIPLY", weave, 0.5))
    colour = g.mix(share, surfaces.from_hex("a89a82"), surfaces.from_hex("e6dcc8"))
    return g.done(colour, 0.95, g.bump(weave, 0.03, 0.7), Sheen_Weight=0.3)


def pink_satin(g: Ground) -> Material:
    """Soft shine; the folds are in the mesh."""
    colour = g.mix(g.noise(g.place, 0.8, 1.0), (0.62, 0.2, 0.28), (0.8, 0.36, 0.42))
    return g.done(colour, 0.3, Metallic=0.2, Sheen_Weight=0.4)


def snow(g: Ground) -> Material:
    """White with blue in its hollows."""
    drift, crust = g.noise(g.place, 2.2, 4.0, 0.6), g.noise(g.place, 45.0, 3.0, 0.7)
    colour = g.mix(drift, (0.76, 0.82, 0.92), (0.88, 0.90, 0.94))
    return g.done(colour, 0.7, g.bump(g.math("MULTIPLY_ADD", crust, 0.2, drift), 0.2, 0.9))


def wet_stone(g: Ground) -> Material:
    """Dark rock with puddles that mirror."""
    broad, grain = g.noise(g.place, 1.6, 7.0, 0.65), g.noise(g.place, 12.0, 5.0, 0.7)
    dry = g.ramp(broad, [(0.42, level(0.0)), (0.56, level(1.0))])
    colour = g.mix(grain, (0.035, 0.038, 0.042), (0.13, 0.13, 0.128))
    colour = g.mix(dry, g.mix(0.5, colour, (0.02, 0.02, 0.022)), colour)
    height = g.math("MULTIPLY", g.math("MULTIPLY_ADD", grain, 0.4, broad), dry)
    roughness = g.node("MapRange", _0=dry, _3=0.03, _4=0.32)
    return g.done(colour, roughness, g.bump(height, 0.1, 0.8))


def plaster(g: Ground, colour: str) -> Material:
    """Painted wall."""
    clouds, grain = g.noise(g.place, 2.5, 6.0, 0.6), g.noise(g.place, 25.0, 4.0, 0.6)
    shade = g.ramp(clouds, [(0.3, level(0.55)), (0.7, level(1.0))])
    return g.done(g.mix(0.12, linear(colour), shade, "MULTIPLY"), 0.85, g.bump(grain, 0.015, 0.4))


SURFACES: dict[str, Callable[[Ground], Material]] = {
    "white marble": white_marble,
    "black marble": black_marble,
    "light oak wood": lambda g: planks(g, "a9794a", "dcb582", 9.0, 1.0),
    "dark walnut wood": lambda g: planks(g, "3a2217", "805538", 9.0, 1.0),
    "concrete": concrete,
    "sand": sand,
    "cobblestone": cobblestone,
    "green grass": green_grass,
    "linen fabric": linen,
    "pink satin": pink_satin,
    "terracotta tiles": lambda g: masonry(
        g, ("b5603a", "c97a4e", "bba58e"), (1.9, 1.9, 0.05), 0.6, 0.04, dirt=0.5, grain=0.2
    ),
    "glossy black acrylic": lambda g: g.done((0.008, 0.008, 0.009), 0.03),
    "snow": snow,
    "wet stone": wet_stone,
    "brick wall": lambda g: masonry(
        g, ("8f3f2c", "b0654a", "b3a898"), (1.1, 0.37, 0.022), 0.9, 0.05, dirt=0.7, grain=0.35
    ),
    "white tiles": lambda g: masonry(
        g, ("efefec", "e4e6e6", "a9a9a6"), (0.85, 0.85, 0.014), 0.18, 0.02, dirt=0.06, grain=0.03
    ),
    "wooden wall": lambda g: planks(g, "5a3a22", "9c6c42", 14.0, 0.8),
}


def material(name: str, draws: Draws, scale: float, *, upright: bool = False, colour: str = "") -> Material:
    """A surface or wall by name; a wall of a colour is plaster, the studio's is smooth paper."""
    if name == "studio":
        red, green, blue = (min(0.88, part) for part in linear(colour))
        return surfaces.plain("studio", (red, green, blue), 0.75)
    ground = Ground(name, draws.part(name), scale, upright=upright)
    return plaster(ground, colour) if colour else SURFACES[name](ground)
