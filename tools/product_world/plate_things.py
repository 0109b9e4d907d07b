# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in the plates: floors with relief, blocks, vases, plants, books, blurred lamps, window frames."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from .blender import Vector, shapes, surfaces
from .draws import Draws

Thing = Any  # bpy.types.Object
Material = Any  # bpy.types.Material
Field = npt.NDArray[np.float64]
Place = tuple[float, float, float]

VASES = {
    "bottle": [
        (0.0, 0.0),
        (0.3, 0.0),
        (0.34, 0.06),
        (0.34, 0.5),
        (0.25, 0.66),
        (0.09, 0.76),
        (0.08, 0.98),
        (0.1, 1.0),
        (0.07, 0.99),
    ],
    "round": [
        (0.0, 0.0),
        (0.22, 0.0),
        (0.42, 0.2),
        (0.48, 0.42),
        (0.38, 0.68),
        (0.18, 0.84),
        (0.17, 0.95),
        (0.22, 1.0),
        (0.15, 0.97),
    ],
    "bowl": [(0.0, 0.0), (0.35, 0.0), (0.4, 0.08), (0.75, 0.6), (0.9, 1.0), (0.87, 1.0), (0.7, 0.6), (0.0, 0.15)],
    "tumbler": [(0.0, 0.0), (0.36, 0.0), (0.38, 0.04), (0.44, 1.0), (0.42, 1.0), (0.36, 0.08), (0.0, 0.07)],
    "pot": [
        (0.0, 0.0),
        (0.34, 0.0),
        (0.38, 0.05),
        (0.46, 0.9),
        (0.5, 0.92),
        (0.5, 1.0),
        (0.44, 1.0),
        (0.42, 0.85),
        (0.0, 0.85),
    ],
}


def vase(kind: str, place: Place, height: float, material: Material) -> Thing:
    """A turned vessel."""
    outline = [(0.0, radius * height, z * height) for radius, z in VASES[kind]]
    curve = [(max(point[1], 0.0), point[2]) for point in shapes.smooth_curve(outline, 6)]
    thing = shapes.lathe(kind, curve, material, steps=64)
    thing.location = place
    return thing


def block(size: Place, place: Place, material: Material, edge: float = 0.004, turn: float = 0.0) -> Thing:
    """A block with soft edges standing on `place`."""
    thing = shapes.rounded_block("block", size, max(edge, 0.001), (edge, edge), material)
    thing.location, thing.rotation_euler = place, (0.0, 0.0, turn)
    return thing


def floor(material: Material, near: float = -3.0, far: float = 40.0, half: float = 40.0, level: float = 0.0) -> Thing:
    """Level plane."""
    return shapes.sheet("floor", lambda u, v: ((2 * u - 1) * half, near + v * (far - near), level), (1, 1), material)


def wall(material: Material, distance: float, low: float = -1.0, high: float = 4.0, half: float = 6.0) -> Thing:
    """Upright plane behind the spot."""
    return shapes.sheet("wall", lambda u, v: ((2 * u - 1) * half, distance, low + v * (high - low)), (1, 1), material)


def cloud(draws: Draws, name: str, cells: int, slope: float) -> Field:
    """Smooth random field of mean 0 and spread 1; `slope` says how fast its fine parts fade."""
    noise = np.random.default_rng(draws.source(name).getrandbits(32)).normal(size=(cells, cells))
    pitch = np.hypot(np.fft.fftfreq(cells)[:, None], np.fft.fftfreq(cells)[None]) * cells
    pitch[0, 0] = np.inf
    field = np.fft.ifft2(np.fft.fft2(noise) * pitch**-slope).real
    return np.asarray(field / field.std())


def relief(name: str, side: float, back: float, height: Field, material: Material) -> Thing:
    """Square floor of `side` metres, its far edge at y = `back`, with a height at each point."""
    cells = len(height)
    axis = np.linspace(0, side, cells)
    x, y = np.meshgrid(axis - side / 2, axis + back - side)
    corners = np.stack([x, y, height], -1).reshape(-1, 3).tolist()
    first = (np.arange(cells - 1)[:, None] * cells + np.arange(cells - 1)[None]).ravel()
    faces = np.stack([first, first + 1, first + cells + 1, first + cells], -1).tolist()
    return shapes.add_mesh(name, corners, faces, [material], sharp_degrees=180)


def grid(side: float, back: float, cells: int) -> tuple[Field, Field]:
    """Where the points of `relief` are."""
    axis = np.linspace(0, side, cells)
    x, y = np.meshgrid(axis - side / 2, axis + back - side)
    return x, y


def calm(x: Field, y: Field, inner: float, outer: float) -> Field:
    """0 within `inner` metres of the spot, 1 beyond `outer`."""
    share = np.clip((np.hypot(x, y) - inner) / (outer - inner), 0, 1)
    return np.asarray(share * share * (3 - 2 * share))


def mark(thing: Thing, name: str, red: Field, green: Field) -> None:
    """Stores two numbers at each point for the material."""
    values = np.ones((red.size, 4), np.float32)
    values[:, 0], values[:, 1] = red.ravel(), green.ravel()
    layer = thing.data.attributes.new(name, "FLOAT_COLOR", "POINT")
    layer.data.foreach_set("color", values.ravel())


def paving(draws: Draws, material: Material, side: float, back: float, cells: int = 1000) -> Thing:
    """Rows of setts, their tops level and worn round, with deep joints."""
    x, y = grid(side, back, cells)
    wobble = cloud(draws, "wobble", cells, 1.9)
    deep, wide = 0.095, 0.125
    line = (y + 0.006 * wobble) / deep
    row = np.floor(line).astype(int)
    numbers = np.random.default_rng(draws.source("rows").getrandbits(32))
    shift, scale = numbers.random(400), numbers.uniform(0.85, 1.2, 400)
    along = (x + 0.006 * wobble.T) / (wide * scale[row % 400]) + shift[row % 400] + 50
    column = np.floor(along).astype(int)
    tone = numbers.random((400, 400))[row % 400, column % 400]
    inset_y = np.minimum(line - row, 1 - (line - row)) * deep
    inset_x = np.minimum(along - column, 1 - (along - column)) * wide
    rough = 0.003 * cloud(draws, "edges", cells, 1.3)
    reach = np.hypot(np.minimum(inset_x - 0.024, 0), np.minimum(inset_y - 0.024, 0)) + rough
    drop = np.clip((reach - 0.004) / 0.019, 0, 1)
    height = -0.021 * drop**2.2 - 0.0015 * tone * calm(x, y, 0.12, 0.2)
    thing = relief("paving", side, back, height, material)
    mark(thing, "tone", tone, drop)
    return thing


def dunes(draws: Draws, material: Material, side: float, back: float, cells: int = 800) -> Thing:
    """Sand with ripples and footworn hollows, level at the spot."""
    x, y = grid(side, back, cells)
    bend = cloud(draws, "bend", cells, 2.2)
    ripple = np.sin((y + 0.35 * x + 0.05 * bend) * 2 * math.pi / 0.115)
    hollow = cloud(draws, "hollow", cells, 2.0)
    fine = cloud(draws, "fine", cells, 1.4)
    height = (0.006 * ripple + 0.018 * hollow + 0.003 * fine) * calm(x, y, 0.10, 0.42)
    return relief("dunes", side, back, height, material)


def cloth(draws: Draws, material: Material, side: float, back: float, fold: float, cells: int = 500) -> Thing:
    """Cloth with a few soft folds, level at the spot."""
    x, y = grid(side, back, cells)
    soft = cloud(draws, "soft", cells, 2.4)
    crease = 1 - np.abs(cloud(draws, "crease", cells, 2.3))
    height = fold * (0.6 * soft + 0.9 * np.clip(crease, 0, 1) ** 3) * calm(x, y, 0.11, 0.45)
    return relief("cloth", side, back, height - height[np.hypot(x, y) < 0.1].mean(), material)


def leaf_material(low: str, high: str) -> Material:
    """Leaf that lets some light through."""
    graph = surfaces.Graph("leaf")
    place = graph.node("NewGeometry").outputs["Position"]
    colour = graph.mix(graph.noise(place, 14.0, 3.0), surfaces.from_hex(low), surfaces.from_hex(high))
    body = graph.node("BsdfPrincipled", Base_Color=colour, Roughness=0.42)
    through = graph.node("BsdfTranslucent", Color=colour)
    return graph.finish(graph.node("MixShader", _0=0.3, _1=body, _2=through))


def leaf(length: float, width: float, bend: float, material: Material) -> Thing:
    """A pointed leaf from the origin along +x, bent downwards."""

    def point(u: float, v: float) -> Place:
        half = width * math.sin(math.pi * min(1.0, u**0.8)) * (1 - 0.35 * u)
        side = (2 * v - 1) * half
        return u * length, side, -bend * length * u * u + 0.25 * abs(side)

    return shapes.sheet("leaf", point, (14, 4), material)


def plant(draws: Draws, place: Place, height: float, material: Material, leaves: int = 26) -> None:
    """A tuft of stems with leaves that stand out to all sides."""
    source = draws.source("plant")
    for number in range(leaves):
        turn, rise = number * 2.4, source.uniform(0.15, 1.1)
        thing = leaf(
            height * source.uniform(0.4, 0.7), height * source.uniform(0.07, 0.12), source.uniform(0.1, 0.6), material
        )
        start = height * source.uniform(0.05, 0.65)
        thing.location = (place[0], place[1], place[2] + start)
        thing.rotation_euler = (source.uniform(-0.4, 0.4), -rise, turn)


def books(draws: Draws, place: Place, colours: tuple[str, ...]) -> None:
    """Upright books side by side."""
    source, x = draws.source("books"), place[0]
    for code in colours:
        thick, height = source.uniform(0.018, 0.042), source.uniform(0.19, 0.26)
        cover = surfaces.plain("cover", surfaces.from_hex(code), 0.55)
        block((thick, 0.16, height), (x + thick / 2, place[1], place[2]), cover, 0.003, 0.0)
        band = surfaces.plain("band", surfaces.from_hex("d8c9a0"), 0.4)
        block((thick * 1.01, 0.161, 0.006), (x + thick / 2, place[1], place[2] + 0.78 * height), band, 0.001)
        x += thick + 0.001


def disc(place: Place, radius: float, colour: tuple[float, float, float], strength: float) -> Thing:
    """The blurred picture of a distant lamp: an even disc with a brighter rim, through which one can see."""
    graph = surfaces.Graph("disc")
    uv = graph.node(
        "VectorMath", {"operation": "SUBTRACT"}, _0=graph.node("TexCoord").outputs["UV"], _1=(0.5, 0.5, 0.0)
    )
    reach = graph.node("VectorMath", {"operation": "LENGTH"}, _0=uv).outputs[1]
    rim = graph.ramp(
        reach, [(0.0, (0.55, 0.55, 0.55)), (0.4, (0.7, 0.7, 0.7)), (0.465, (1.0, 1.0, 1.0)), (0.5, (0.0, 0.0, 0.0))]
    )
    lit = graph.node("Emission", Color=graph.mix(1.0, rim, colour, "MULTIPLY"), Strength=strength)
    thing = shapes.sheet(
        "disc",
        lambda u, v: ((2 * u - 1) * radius, 0.0, (2 * v - 1) * radius),
        (1, 1),
        graph.finish(graph.node("AddShader", _0=lit, _1=graph.node("BsdfTransparent"))),
    )
    thing.location = place
    thing.visible_diffuse = thing.visible_shadow = False
    thing.data.materials[0].cycles.emission_sampling = "NONE"
    return thing


def glow(place: Place, size: tuple[float, float], colour: tuple[float, float, float], strength: float) -> Thing:
    """A bright upright rectangle far behind, such as a window with sky in it."""
    width, height = size
    thing = shapes.sheet(
        "glow",
        lambda u, v: ((u - 0.5) * width, 0.0, v * height),
        (1, 1),
        surfaces.flame("glow", colour, strength),
    )
    thing.location = place
    thing.data.materials[0].cycles.emission_sampling = "NONE"
    return thing


def window(place: Place, size: tuple[float, float], strength: float) -> None:
    """A bright window with its frame, far behind."""
    (x, y, z), (width, height) = place, size
    glow(place, size, (0.85, 0.94, 1.0), strength)
    frame = surfaces.plain("frame", (0.6, 0.58, 0.54), 0.4)
    for share in (-0.5, 0.0, 0.5):
        block((0.035, 0.03, height), (x + share * width, y - 0.03, z), frame)
    block((width + 0.12, 0.05, 0.03), (x, y - 0.04, z - 0.03), frame)
    block((width, 0.03, 0.03), (x, y - 0.03, z + 0.42 * height), frame)


def mullions(
    way: Any, panes: tuple[int, int], pane: tuple[float, float], bar: float, off: tuple[float, float]
) -> Thing:
    """A window's frame in the sun's way; only its shadow is seen. `off` moves it across the light."""
    across = Vector((0, 0, 1)).cross(way).normalized()
    up = way.cross(across)
    middle = 2.2 * way + across * off[0] + up * off[1]
    width, height = (count * side + (count - 1) * bar for count, side in zip(panes, pane, strict=True))
    far = 8.0
    boxes = [(-far, -far, -width / 2, far), (width / 2, -far, far, far)]
    boxes += [(-width / 2, height / 2, width / 2, far), (-width / 2, -far, width / 2, -height / 2)]
    for k in range(1, panes[0]):
        x = -width / 2 + k * (pane[0] + bar) - bar
        boxes.append((x, -height / 2, x + bar, height / 2))
    for k in range(1, panes[1]):
        y = -height / 2 + k * (pane[1] + bar) - bar
        boxes.append((-width / 2, y, width / 2, y + bar))
    corners = [tuple(middle + across * x + up * y) for a, b, c, d in boxes for x, y in ((a, b), (c, b), (c, d), (a, d))]
    faces = [tuple(range(k, k + 4)) for k in range(0, len(corners), 4)]
    dark = surfaces.plain("frame", (0.01, 0.01, 0.01), 0.5)
    frame = shapes.add_mesh("window", corners, faces, [dark], smooth=False)
    frame.visible_camera = frame.visible_diffuse = frame.visible_glossy = frame.visible_transmission = False
    return frame


def foliage_shadow(draws: Draws, way: Any, material: Material, off: tuple[float, float], count: int = 60) -> None:
    """Leaves in the sun's way, of which only the shadow is seen; they stay clear of the spot by `off`."""
    across = Vector((0, 0, 1)).cross(way).normalized()
    up, source = way.cross(across), draws.source("foliage")
    for _ in range(count):
        place = 1.3 * way + across * (off[0] + source.gauss(0, 0.2)) + up * (off[1] + source.gauss(0, 0.2))
        thing = leaf(source.uniform(0.08, 0.16), source.uniform(0.012, 0.025), 0.3, material)
        thing.location = place
        thing.rotation_euler = tuple(source.uniform(0, 6.28) for _ in range(3))
        thing.visible_camera = thing.visible_glossy = False


def moss_blades(draws: Draws, x: Field, y: Field, height: Field, material: Material, count: int = 60000) -> Thing:
    """Short blades on a floor of `relief`, none on the stone in its middle."""
    numbers = np.random.default_rng(draws.source("blades").getrandbits(32))
    near = np.flatnonzero((np.hypot(x / 1.15, y / 0.8) > 0.265) & (np.hypot(x, y) < 1.3))
    chosen = numbers.choice(near, count)
    foot = np.stack([grid_.ravel()[chosen] for grid_ in (x, y, height)], -1) + numbers.normal(0, 0.003, (count, 3))
    turn, tall = 2 * math.pi * numbers.random(count), numbers.uniform(0.006, 0.018, count)
    side = 0.0011 * np.stack([np.cos(turn), np.sin(turn), np.zeros(count)], -1)
    tip = foot + np.stack([*(numbers.normal(0, 0.5, (2, count)) * tall), tall], -1)
    corners = np.stack([foot - side, foot + side, tip], 1).reshape(-1, 3)
    faces = np.arange(3 * count).reshape(-1, 3).tolist()
    return shapes.add_mesh("blades", corners.tolist(), faces, [material], smooth=False)
