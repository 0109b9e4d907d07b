# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds what `packs.py` designs. Every builder returns the product's objects, standing on z = 0."""

from __future__ import annotations

import math

from . import artwork, names, profiles
from .blender import products, surfaces
from .build_bottles import cap_material, label_on
from .design import Design
from .materials import Material, glass, gloss, paint, printed, tint
from .solids import Section, Thing, body, lid, tube, turned


def jar(design: Design) -> list[Thing]:
    """Low body, wide lid; glass shows the cream inside."""
    size = design.sizes
    height, half = size["height"], size["half"]
    section = Section("round", half) if design.shape == "round" else Section("block", half, half, 0.3 * half)
    if design.material == "glass":
        outside = glass(tint("amber", 0.9), cloud=0.15)
    elif design.material == "frosted glass":
        outside = glass(tint(design.colour, 0.85), roughness=0.35, cloud=0.3)
    else:
        outside = gloss(design.colour, 0.28 if design.material == "plastic" else 0.16)
    corners: list[profiles.Corner] = [(half - 0.05, 0.0), (half, 0.0, size["foot"]), (half, height, 0.04)]
    things = [body("jar", section, [*corners, (0.8 * half, height)], outside)]
    if "glass" in design.material:
        inner, top = half - 0.06, 0.94 * height
        cream: list[profiles.Corner] = [(inner - 0.04, 0.07), (inner, 0.07, 0.03), (inner, top, 0.02)]
        things.append(body("cream", section, [*cream, (inner - 0.04, top)], paint("cream", 0.5)))
    cover, cover_corners = lid(section, size["lid half"], height + 0.004, height + size["lid"], 0.04)
    things.append(body("lid", cover, cover_corners, cap_material(design.looks["lid"])))
    width = (1.5 if design.shape == "round" else 1.3) * half
    return things + label_on(design, section, 0.2 * height, 0.82 * height, width)


def can(design: Design) -> list[Thing]:
    """Aluminium can with its print all around."""
    size = design.sizes
    height, half = size["height"], size["half"]
    metal, section = paint("silver", 0.22), Section("round", half)
    corners: list[profiles.Corner] = [(0.6 * half, 0.05), (0.7 * half, 0.0, 0.02), (0.78 * half, 0.0, 0.02)]
    corners += [(half, 0.1, 0.04), (half, height - 0.13, 0.04), (0.8 * half, height - 0.02, 0.02)]
    corners += [(0.83 * half, height, 0.012), (0.79 * half, height, 0.01), (0.76 * half, height - 0.04, 0.01)]
    things = [body("can", section, [*corners, (0.2 * half, height - 0.04)], metal)]
    tab = body("tab", Section("block", 0.07, 0.12, 0.06), [(0.07, height - 0.035), (0.07, height - 0.015)], metal)
    tab.location = (0.0, 0.02, 0.0)
    things.append(tab)
    metallic = 0.55 if design.colour in names.METALS else 0.25
    return things + label_on(design, section, 0.1, height - 0.13, 0.0, roughness=size["roughness"], metallic=metallic)


def mug(design: Design) -> list[Thing]:
    """Turned cup with a handle to one side."""
    size = design.sizes
    height, half, taper = size["height"], size["half"], size["taper"]
    foot, wall, floor = half - taper - 0.03, 0.045, 0.07
    outside = gloss(design.colour, size["roughness"])
    outer: list[profiles.Corner] = [(0.0, 0.01), (foot - 0.06, 0.01), (foot - 0.05, 0.0), (foot, 0.0, 0.05)]
    outer += [(half, height, 0.012), (half - wall / 2, height + 0.012)]
    inner: list[profiles.Corner] = [(half - wall / 2, height + 0.012), (half - wall, height, 0.012)]
    inner += [(foot - wall, floor, 0.12), (0.0, floor)]
    things = [turned("outside", outer, outside), turned("inside", inner, gloss(design.looks["inside"], 0.15))]
    if design.has("coffee"):
        share = 0.85
        reach = foot - wall + (half - foot) * share + 0.004
        dark = surfaces.plain("coffee", (0.03, 0.012, 0.005), 0.05)
        things.append(
            body("coffee", Section("round", reach), [(reach, share * height - 0.01), (reach, share * height)], dark)
        )
    side, middle = size["handle"], 0.5 * height
    angles = [math.pi * step / 9 for step in range(10)]
    high, wide = 0.3 * height, size["reach"]
    bow = [
        (side * (half - 0.05 - 0.5 * taper + math.sin(a) * (wide + 0.03)), 0.0, middle - high * math.cos(a))
        for a in angles
    ]
    things.append(tube(bow, (0.05, 0.07), outside))
    low, tall = 0.2, 0.58

    def reach_at(share: float) -> float:
        return foot + (half - foot) * (low + tall * share)

    label = label_on(
        design, Section("round", half), low * height, (low + tall) * height, 1.3 * half, roughness=0.25, reach=reach_at
    )
    return things + label


def box(design: Design) -> list[Thing]:
    """Carton: the sample sets' box with the print on its front, the brand on its side."""
    size, label = design.sizes, design.label
    assert label is not None
    width, depth, height = size["width"], size["depth"], size["height"]
    front = printed(artwork.draw_print(label, width, height), 0.45)
    side = printed(artwork.draw_print(label, depth, height), 0.45)
    rest = paint(design.colour, 0.5)
    return [products.box("carton", (width, depth, height), [front, side, rest, rest])]


def candle(design: Design) -> list[Thing]:
    """Open glass with wax, a wick and, where lit, a flame."""
    size = design.sizes
    height, half, top = size["height"], size["half"], size["level"]
    wall, floor = 0.035, 0.08
    clear = glass(tint(design.glass, 0.6))
    corners: list[profiles.Corner] = [(0.0, 0.0), (half - 0.06, 0.0), (half, 0.0, 0.05), (half, height, 0.012)]
    corners += [(half - wall / 2, height + 0.012, 0.01), (half - wall, height, 0.01), (half - wall, floor, 0.05)]
    things = [turned("glass", [*corners, (0.0, floor)], clear)]
    reach = half - wall - 0.004
    wax: list[profiles.Corner] = [
        (reach - 0.05, floor + 0.005),
        (reach, floor + 0.005, 0.04),
        (reach, top + 0.01, 0.01),
    ]
    wax += [(reach - 0.03, top, 0.02), (0.3 * reach, top - 0.005)]
    things.append(body("wax", Section("round", reach), wax, paint(design.colour, 0.45)))
    soot = paint("black", 0.9)
    things.append(
        body("wick", Section("round", 0.012), [(0.012, top - 0.02), (0.012, top + 0.1), (0.004, top + 0.11)], soot)
    )
    if design.lit:
        things.append(flame(top + 0.09))
    return things + label_on(
        design, Section("round", half), 0.16 * height, 0.6 * height, size["label width"], roughness=0.6
    )


def flame(low: float) -> Thing:
    """A drop of light."""
    drop: list[profiles.Corner] = [
        (0.035 * math.sin(math.pi * (k / 24) ** 0.62), low + 0.2 * k / 24) for k in range(25)
    ]
    return turned("flame", drop, surfaces.flame("flame", (1.0, 0.55, 0.16), 11.0))


def lipstick(design: Design) -> list[Thing]:
    """Case, inner tube and a slanted stick; the cap may stand beside it."""
    size = design.sizes
    half, high = size["half"], size["case"]
    section = Section("block", half, half, 0.03) if design.shape == "square" else Section("round", half)
    case = paint(design.case, 0.18) if design.case in names.METALS else gloss(design.case, 0.15)
    base, base_corners = lid(section, half, 0.0, high, 0.012)
    inner, rise = 0.8 * half, high + size["inner"]
    tube_corners: list[profiles.Corner] = [(inner, high - 0.01), (inner, rise, 0.008), (0.7 * inner, rise)]
    things = [
        body("case", base, base_corners, case),
        body("inner", Section("round", inner), tube_corners, paint(design.looks["inner"], 0.15)),
        stick(0.86 * inner, rise, rise + size["stick"], gloss(design.colour, 0.32)),
    ]
    if design.parts:
        reach, tall = 1.02 * half, high + 0.18
        shape = Section(section.form, reach, reach if section.depth else 0.0, section.corner)
        cap_section, cap_corners = lid(shape, reach, 0.0, tall, 0.02)
        cap = body("cap", cap_section, cap_corners, case)
        cap.location = (size["cap place"], -0.02, 0.0)
        things.append(cap)
    width = 1.3 * half if section.form == "round" else 1.6 * half
    return things + label_on(design, section, 0.25 * high, 0.75 * high, width, roughness=0.3)


def stick(reach: float, low: float, high: float, material: Material) -> Thing:
    """The coloured stick, cut off at a slant."""
    thing = body(
        "stick",
        Section("round", reach),
        [(reach, low - 0.02), (reach, high, 0.05), (0.05 * reach, high + 0.012)],
        material,
    )
    for vertex in thing.data.vertices:
        share = (vertex.co.z - low - 0.02) / (high - low)
        if share > 0:
            vertex.co.z -= 0.75 * share * min(1.0, share) * (vertex.co.x + reach)
    return thing


def tin(design: Design) -> list[Thing]:
    """Tea tin with an overlapping lid."""
    size = design.sizes
    height, half, depth = size["height"], size["half"], size["depth"]
    is_round = design.shape == "round"
    section = Section("round", half) if is_round else Section("block", half, depth, size["corner"])
    shiny = design.colour in names.METALS
    coat = paint(design.colour, 0.3, Metallic=1.0 if shiny else 0.35, Coat_Weight=0.2)
    corners: list[profiles.Corner] = [(half - 0.03, 0.0), (half, 0.0, 0.015), (half, height, 0.01)]
    things = [body("tin", section, [*corners, (half - 0.03, height)], coat)]
    reach, low, high = half + 0.012, height - 0.05, height - 0.05 + size["lid"]
    cover, cover_corners = lid(section, reach, low, high, 0.03)
    lid_colour = design.looks["lid"]
    cap = paint(lid_colour, 0.25) if lid_colour in names.METALS else paint(lid_colour, 0.3, Metallic=0.35)
    things.append(body("lid", cover, cover_corners, cap))
    if design.has("knob"):
        knob: list[profiles.Corner] = [(0.03, high - 0.02), (0.06, high + 0.05, 0.02), (0.04, high + 0.08, 0.02)]
        things.append(body("knob", Section("round", 0.06), [*knob, (0.01, high + 0.085)], cap))
    wrapped = design.label is not None and design.label.kind == "wrap"
    bottom, top = (0.03, height - 0.07) if wrapped else (0.18 * height, 0.8 * height)
    width = 1.4 * half if is_round else (1.0 if wrapped else 0.72) * 2 * (half - size["corner"])
    metallic = (0.9 if shiny else 0.3) if wrapped else 0.0
    return things + label_on(design, section, bottom, top, width, roughness=0.32, metallic=metallic)
