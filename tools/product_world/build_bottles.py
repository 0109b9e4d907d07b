# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds what `bottles.py` designs. Every builder returns the product's objects, standing on z = 0."""

from __future__ import annotations

import math
from collections.abc import Callable

from . import artwork, names, profiles
from .blender import shapes
from .design import Design
from .materials import BOTTLE_GLASS, CLEAR, GLASS, WATER, Material, glass, gloss, paint, printed, tint, wood
from .solids import Section, Thing, body, curved_print, flat_print, lid, tube

LIFT, FILM = 0.003, 0.0015  # of paper and of ink above the body


def cap_material(name: str) -> Material:
    """Caps and lids: metal, wood or glossy plastic."""
    if name in names.METALS:
        return paint(name, 0.2)
    return wood() if name == "wood" else gloss(name)


def label_on(
    design: Design,
    section: Section,
    low: float,
    high: float,
    width: float,
    *,
    roughness: float = 0.45,
    metallic: float = 0.0,
    reach: Callable[[float], float] | None = None,
) -> list[Thing]:
    """The design's label on the front of a body, between two heights; nothing where there is none."""
    label = design.label
    if label is None:
        return []
    bare = label.kind == "print"
    above = FILM if bare else LIFT
    is_round = section.form == "round"
    all_round = label.kind == "wrap" and is_round
    if all_round:
        width = 2 * math.pi * section.half
    drawing = artwork.draw_print(label, width, high - low, fronts=2 if all_round else 1)
    material = printed(drawing, roughness, metallic=metallic, bare=bare)
    if is_round:
        around = reach or (lambda _height: section.half)
        thing = curved_print(lambda height: around(height) + above, width, low, high, material)
    else:
        front = section.depth if section.depth else section.half
        thing = flat_print((width, high - low), front + above, low, material)
    if bare:
        thing.visible_shadow = False
    return [thing]


def perfume(design: Design) -> list[Thing]:
    """Glass body with a block of liquid inside, or lacquer; neck and cap."""
    size = design.sizes
    height, half = size["height"], size["half"]
    form = {"rectangular": "block", "round": "round", "hexagonal": "hexagon"}[design.shape]
    section = Section(form, half, size["depth"] if form == "block" else 0.0, size["corner"])
    lacquered = design.material == "lacquered glass"
    outside = paint(design.colour, 0.14, Coat_Weight=1.0, Coat_Roughness=0.05) if lacquered else glass(CLEAR)
    corners: list[profiles.Corner] = [(half - 0.03, 0.0), (half, 0.0, 0.04)]
    corners += [(half, height, size["shoulder"]), (half * 0.5, height)]
    things = [body("body", section, corners, outside)]
    if not lacquered:
        inner, low, top = half - size["wall"], size["base"], size["level"] * height
        cloud = 0.0 if design.colour == "clear" else 0.4
        liquid = glass(tint(design.colour, 0.9), ior=WATER / GLASS, cloud=cloud)
        fluid: list[profiles.Corner] = [
            (inner - 0.03, low),
            (inner, low, 0.04),
            (inner, top, 0.02),
            (inner - 0.03, top),
        ]
        things.append(body("liquid", section, fluid, liquid))
    neck = 0.62 * min(size["depth"], 0.2)
    metal = paint(design.looks["cap"] if design.looks["cap"] in names.METALS else "silver", 0.2)
    ring: list[profiles.Corner] = [(0.6 * neck, height - 0.02), (neck, height - 0.02)]
    things.append(
        body("neck", Section("round", neck), [*ring, (neck, height + 0.09), (0.6 * neck, height + 0.09)], metal)
    )
    things.append(perfume_cap(design, neck, height + 0.07))
    width, tall, middle = size["label width"], size["label height"], size["label centre"]
    return things + label_on(design, section, middle - tall / 2, middle + tall / 2, width)


def perfume_cap(design: Design, neck: float, low: float) -> Thing:
    """Round, block or ball."""
    size, material = design.sizes, cap_material(design.looks["cap"])
    reach, form = neck * size["cap width"], design.looks["cap form"]
    if form == "ball":
        return body("cap", Section("round", reach), profiles.dome(reach, low), material)
    depth = min(reach, 0.95 * size["depth"]) if form == "block" else 0.0
    section, corners = lid(Section(form, reach, depth), reach, low, low + size["cap"], 0.04)
    return body("cap", section, corners, material)


def pump(design: Design) -> list[Thing]:
    """Body with shoulders, collar, stem, head and a spout to one side."""
    size = design.sizes
    height, half, shoulder = size["height"], size["half"], size["shoulder"]
    section = Section("round" if design.shape == "round" else "block", half, size["depth"], size["corner"])
    if design.shape == "round":
        section = Section("round", half)
    if design.material == "plastic":
        outside = paint(design.colour, size["roughness"], Coat_Weight=0.3)
    else:
        outside = glass(tint(design.colour, 0.9), roughness=0.0 if design.material == "glass" else 0.3)
    neck = min(0.16, 0.6 * size["depth"])
    inmost = neck if design.shape == "round" else max(half - size["depth"] + neck, neck)
    corners: list[profiles.Corner] = [(half - 0.05, 0.0), (half, 0.0, 0.06), (half, height - 0.5 * shoulder, shoulder)]
    corners += [(inmost + 0.02, height + 0.2 * shoulder, 0.03), (inmost, height + 0.2 * shoulder + 0.04)]
    things = [body("body", section, corners, outside)]
    if design.material != "plastic":
        colour = design.looks["liquid"] if design.colour == "clear" else design.colour
        top, inner = size["level"] * (height - shoulder), half - 0.05
        fluid: list[profiles.Corner] = [(inner - 0.05, 0.06), (inner, 0.06, 0.05), (inner, top), (inner - 0.05, top)]
        things.append(body("liquid", section, fluid, glass(tint(colour, 0.8), ior=WATER / GLASS, cloud=0.3)))
    things += pump_head(size["spout"], neck, height + 0.2 * shoulder, cap_material(design.looks["pump"]))
    width = (1.9 if design.shape == "round" else 2.0) * half * size["label width"]
    wall = height - 0.5 * shoulder - shoulder
    return things + label_on(
        design, section, wall * size["label low"], wall * min(1.0, size["label high"] + 0.1), width
    )


def pump_head(spout: float, neck: float, low: float, material: Material) -> list[Thing]:
    """Collar, stem, head, spout; `spout` is its length, negative to the left."""
    section, corners = lid(Section("round", 1.15 * neck), 1.15 * neck, low, low + 0.2, 0.02)
    press = low + 0.4
    bend = [(0.0, 0.0, press + 0.06), (0.6 * spout, 0.0, press + 0.065), (0.9 * spout, 0.0, press + 0.05)]
    head: list[profiles.Corner] = [(0.8 * neck, press), (0.9 * neck, press, 0.01), (0.85 * neck, press + 0.09, 0.03)]
    return [
        body("collar", section, corners, material),
        body("stem", Section("round", 0.045), [(0.045, low + 0.15), (0.045, low + 0.42)], material),
        body("head", Section("round", 0.9 * neck), [*head, (0.5 * neck, press + 0.1)], material),
        tube([*bend, (spout, 0.0, press - 0.02)], (0.035, 0.045), material),
    ]


def poured(design: Design) -> list[Thing]:
    """Dark glass with what is in it, capsule or crown cap, paper label."""
    size = design.sizes
    height, half, shoulder, neck = size["height"], size["half"], size["body"], size["neck"]
    section, rise = Section("round", half), shoulder + size["slope"]
    colour = BOTTLE_GLASS[design.colour]
    corners: list[profiles.Corner] = [(half - 0.1, 0.02), (half - 0.06, 0.0, 0.02), (half, 0.0, 0.05)]
    corners += [(half, shoulder, 0.3), (neck + 0.03, rise, 0.25), (neck, 0.93 * height, 0.1)]
    corners += [(neck, height - 0.01, 0.02), (0.7 * neck, height - 0.01)]
    things = [body("glass", section, corners, glass(colour, shadow=0.7))]
    wines = {"red wine": (0.25, 0.01, 0.03), "white wine": (0.90, 0.78, 0.35), "beer": (0.85, 0.45, 0.06)}
    red, green, blue = wines[design.looks["liquid"]] if design.colour == "clear" else (v**0.5 for v in colour)
    fluid: list[profiles.Corner] = [
        (half - 0.1, 0.07),
        (half - 0.035, 0.07, 0.05),
        (half - 0.035, shoulder - 0.01, 0.28),
    ]
    fluid += [(neck, shoulder + 0.9 * size["slope"], 0.1), (neck - 0.02, 0.8 * height)]
    inner = Section("round", half - 0.035)
    things.append(body("liquid", inner, fluid, glass((red, green, blue), ior=WATER / GLASS, shadow=0.7)))
    cap = design.looks["cap"]
    material = paint(cap, 0.32) if cap in names.METALS else paint(cap, 0.35, Metallic=0.4)
    if design.has("capsule"):
        top: list[profiles.Corner] = [(neck + 0.012, size["foil"]), (neck + 0.014, height - 0.1, 0.01)]
        top += [(neck + 0.03, height - 0.09, 0.01), (neck + 0.03, height - 0.03, 0.01), (neck + 0.014, height - 0.02)]
        things.append(
            body(
                "capsule",
                Section("round", neck + 0.03),
                [*top, (neck, height + 0.01), (0.5 * neck, height + 0.012)],
                material,
            )
        )
    else:
        top = [(neck + 0.03, height - 0.07), (neck + 0.04, height - 0.05, 0.01), (neck + 0.01, height + 0.02, 0.03)]
        things.append(body("crown", Section("round", neck + 0.04), [*top, (0.5 * neck, height + 0.03)], material))
    low, high = shoulder * size["label low"], shoulder * size["label high"]
    return things + label_on(design, section, low, high, half * size["label width"], roughness=0.6)


def sports(design: Design) -> list[Thing]:
    """Drinking bottle with or without a waist; lid with spout, loop or nothing."""
    size = design.sizes
    height, half, neck = size["height"], size["half"], size["neck"]
    section = Section("round", half)
    waisted = design.has("waist")
    corners: list[profiles.Corner] = [(0.8 * half, 0.0), (0.96 * half, 0.0, 0.04), (half, 0.06, 0.05)]
    if waisted:
        waist = size["waist"]
        corners += [(half, waist - 0.12, 0.08), (size["waist half"], waist, 0.1), (0.98 * half, waist + 0.14, 0.08)]
    corners += [(0.98 * half, height - 0.16, 0.14), (neck, height, 0.06), (0.8 * neck, height + 0.01)]
    if design.material == "metal":
        outside = paint(design.colour, 0.32, Metallic=0.45, Coat_Weight=0.3)
    elif design.material == "plastic":
        outside = paint(design.colour, 0.3, Coat_Weight=0.2)
    else:
        outside = glass(tint(design.colour, 0.85), roughness=0.12, ior=1.25, cloud=0.25)
    things = [body("body", section, corners, outside)]
    if design.material == "translucent plastic":
        top = min(0.62 * height, (size["waist"] if waisted else height) - 0.14)
        inner = half - 0.04
        fluid: list[profiles.Corner] = [(inner - 0.06, 0.06), (inner, 0.06, 0.04), (inner, top), (inner - 0.06, top)]
        things.append(body("water", section, fluid, glass((0.93, 0.97, 1.0), ior=WATER / 1.25)))
    reach, high = 1.12 * neck, height + size["lid"]
    material = cap_material(design.looks["lid"])
    cover, cover_corners = lid(Section("round", reach), reach, height - 0.03, high, 0.04)
    things.append(body("lid", cover, cover_corners, material))
    things += sports_top(design, 0.75 * reach, high, material)
    upper = (size["waist"] - 0.16) if waisted else 0.8 * height
    return things + label_on(
        design, section, max(0.12, 0.22 * upper), 0.92 * upper, size["label width"], roughness=0.35
    )


def sports_top(design: Design, reach: float, low: float, material: Material) -> list[Thing]:
    """A drinking spout or a loop to carry it by."""
    if design.looks["top"] == "spout":
        corners: list[profiles.Corner] = [(0.1, low - 0.01), (0.09, low + 0.07, 0.02), (0.11, low + 0.1, 0.02)]
        corners += [(0.1, low + 0.17, 0.03), (0.03, low + 0.18)]
        return [body("spout", Section("round", 0.11), corners, gloss(design.looks["spout"], 0.4))]
    if design.looks["top"] == "loop":
        angles = [math.pi * step / 9 for step in range(10)]
        arch = [(reach * math.cos(a), 0.0, low - 0.02 + 0.26 * math.sin(a)) for a in angles]
        return [tube(arch, (0.03, 0.06), material)]
    return []


def spray(design: Design) -> list[Thing]:
    """Printed cylinder with a domed shoulder, under a cap or with its nozzle."""
    size = design.sizes
    height, half = size["height"], size["half"]
    section, top = Section("round", half), height + 0.7 * size["dome"]
    corners: list[profiles.Corner] = [(0.8 * half, 0.03), (0.95 * half, 0.0, 0.015), (half, 0.03, 0.02)]
    corners += [
        (half, height, 0.06),
        (0.72 * half, top - 0.1 * size["dome"], 0.12),
        (0.5 * half, top),
        (0.3 * half, top),
    ]
    things = [body("can", section, corners, paint("silver", 0.25))]
    material = cap_material(design.looks["cap"])
    if design.has("covered"):
        reach, high = size["cap half"], height + 0.05 + size["cap"]
        cover: list[profiles.Corner] = [(reach - 0.02, height + 0.01), (reach, height + 0.01, 0.01)]
        cover += [(0.98 * reach, high, size["cap round"]), (0.4 * reach, high + 0.01)]
        things.append(body("cap", Section("round", reach), cover, material))
    else:
        reach = 0.32 * half
        nozzle: list[profiles.Corner] = [(0.95 * reach, top - 0.01), (reach, top + 0.1, 0.02)]
        nozzle += [(0.8 * reach, top + 0.13, 0.02), (0.3 * reach, top + 0.13)]
        things.append(body("nozzle", Section("round", reach), nozzle, material))
        hole = shapes.ball("hole", 0.022, (0.0, -reach, top + 0.06), paint("black", 0.5))
        things.append(hole)
    metallic = 0.7 if design.colour in names.METALS else 0.2
    return things + label_on(design, section, 0.06, height - 0.06, 0.0, roughness=0.3, metallic=metallic)
