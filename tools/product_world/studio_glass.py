# SPDX-License-Identifier: GPL-3.0-or-later
"""Vessels of glass with wax, liquid, labels and lids."""

from __future__ import annotations

from . import artwork, profiles
from .build_bottles import pump_head
from .design import Label
from .materials import GLASS, WATER, printed, tint
from .solids import Section, Thing, body, curved_print, flat_print, lid, turned
from .studio_materials import clear, metal, plastic, wax
from .studio_shapes import circle, smooth, wires

LIFT = 0.004  # of paper above the glass


def paper_label(label: Label, half: float, low: float, high: float, width: float) -> Thing:
    """A paper label around the front of a round body."""
    material = printed(artwork.draw_print(label, width, high - low), 0.55)
    return curved_print(lambda _height: half + LIFT, width, low, high, material)


def cup(half: float, height: float, wall: float, floor: float, foot: float = 0.05) -> list[profiles.Corner]:
    """The profile of an open vessel of even thickness, outside and inside."""
    corners: list[profiles.Corner] = [(0.0, 0.0), (half - 0.06, 0.0), (half, 0.0, foot), (half, height, 0.5 * wall)]
    corners += [(half - wall / 2, height + 0.3 * wall, 0.3 * wall), (half - wall, height, 0.3 * wall)]
    return [*corners, (half - wall, floor, 0.05), (0.0, floor)]


def candle_jar() -> list[Thing]:
    """Cream wax in clear glass."""
    half, height, wall, floor, top = 0.4, 0.95, 0.035, 0.09, 0.68
    reach = half - wall - 0.003
    fill: list[profiles.Corner] = [
        (reach - 0.05, floor + 0.004),
        (reach, floor + 0.004, 0.04),
        (reach, top + 0.01, 0.01),
    ]
    fill += [(reach - 0.03, top, 0.02), (0.3 * reach, top - 0.005)]
    wick: list[profiles.Corner] = [(0.012, top - 0.02), (0.012, top + 0.1), (0.004, top + 0.11)]
    label = Label(
        "label", "Havre", "fig and cedar", "white", "black", "gold", "framed", "sprig", "none", "serif", "sans"
    )
    return [
        turned("jar", cup(half, height, wall, floor), clear()),
        body("wax", Section("round", reach), fill, wax("f0e2c2")),
        body("wick", Section("round", 0.012), wick, plastic("2a2622", 0.9)),
        paper_label(label, half, 0.2, 0.55, 0.5),
    ]


def pump_bottle() -> list[Thing]:
    """Amber glass, liquid, cream label, black pump."""
    half, height, shoulder, neck = 0.38, 1.35, 0.28, 0.15
    amber = clear((0.62, 0.27, 0.05), shadow=0.7)
    corners: list[profiles.Corner] = [(half - 0.05, 0.0), (half, 0.0, 0.06), (half, height - 0.5 * shoulder, shoulder)]
    corners += [(neck + 0.02, height + 0.2 * shoulder, 0.03), (neck, height + 0.2 * shoulder + 0.04)]
    label = Label(
        "label",
        "Ostrea",
        "hand wash",
        "cream",
        "brown",
        "green",
        "mark above",
        "petals",
        "foot",
        "serif-semibold",
        "sans",
    )
    things = [body("body", Section("round", half), corners, amber)]
    things += pump_head(-0.42, neck, height + 0.2 * shoulder, plastic("17171a", 0.3))
    return [*things, paper_label(label, half, 0.2, 0.95, 0.78)]


def tumbler() -> list[Thing]:
    """Clear glass with orange juice."""
    half, height, wall, floor, top = 0.36, 1.0, 0.03, 0.1, 0.72
    reach = half - wall - 0.003
    juice: list[profiles.Corner] = [(reach - 0.05, floor + 0.004), (reach, floor + 0.004, 0.04), (reach, top)]
    return [
        turned("glass", cup(half, height, wall, floor, 0.03), clear()),
        body("juice", Section("round", reach), [*juice, (reach - 0.02, top)], plastic("e07a12", 0.08)),
    ]


def perfume() -> list[Thing]:
    """Clear block with pale liquid, white label, black cap."""
    half, depth, height = 0.42, 0.2, 0.86
    section = Section("block", half, depth, 0.06)
    corners: list[profiles.Corner] = [(half - 0.03, 0.0), (half, 0.0, 0.03), (half, height, 0.05), (0.5 * half, height)]
    inner = half - 0.045
    fluid: list[profiles.Corner] = [
        (inner - 0.03, 0.08),
        (inner, 0.08, 0.03),
        (inner, 0.74, 0.02),
        (inner - 0.03, 0.74),
    ]
    cap_section, cap_corners = lid(Section("block", 0.17, 0.15, 0.03), 0.17, height + 0.05, height + 0.4, 0.02)
    ring: list[profiles.Corner] = [
        (0.06, height - 0.01),
        (0.11, height - 0.01),
        (0.11, height + 0.07),
        (0.06, height + 0.07),
    ]
    label = Label(
        "label", "Solenne", "eau de parfum", "white", "black", "pink", "framed", "disc", "none", "serif-italic", "sans"
    )
    return [
        body("body", section, corners, clear()),
        body("liquid", section, fluid, clear(tint("pink", 0.35), ior=WATER / GLASS)),
        body("neck", Section("round", 0.11), ring, metal("d9a94a", 0.2)),
        body("cap", cap_section, cap_corners, plastic("141416", 0.15, 0.7)),
        flat_print((0.48, 0.4), depth + LIFT, 0.2, printed(artwork.draw_print(label, 0.48, 0.4), 0.5)),
    ]


def storage_jar() -> list[Thing]:
    """Jar with a glass lid, a red seal, a wire clip and a printed label."""
    half, height, wall = 0.42, 1.05, 0.035
    profile: list[profiles.Corner] = [(0.0, 0.0), (half - 0.06, 0.0), (half, 0.0, 0.05), (half, 0.86, 0.08)]
    profile += [(half - 0.06, height - 0.08, 0.05), (half - 0.06, height), (half - 0.1, height)]
    profile += [(half - 0.1, height - 0.09, 0.05), (half - wall, 0.84, 0.07), (half - wall, 0.08, 0.05), (0.0, 0.08)]
    seal: list[profiles.Corner] = [(half - 0.09, height + 0.002), (half - 0.03, height + 0.002, 0.01)]
    seal += [(half - 0.03, height + 0.028, 0.01), (half - 0.09, height + 0.028)]
    top: list[profiles.Corner] = [
        (0.0, height + 0.03),
        (half - 0.05, height + 0.03, 0.01),
        (half - 0.05, height + 0.1, 0.03),
    ]
    top += [(0.24, height + 0.13, 0.04), (0.0, height + 0.13)]
    steel = metal("c4c7cb", 0.18)
    clip = [(0.12, 0.44), (0.1, 0.47), (0.0, 0.48), (-0.1, 0.47), (-0.12, 0.44)]
    front = smooth([(x, -y, height - 0.26 + 0.1 * abs(x)) for x, y in clip], 8)
    sides = [
        smooth([(x, -0.44, height - 0.25), (x, -0.43, height), (0.8 * x, -0.38, height + 0.12)], 8)
        for x in (-0.12, 0.12)
    ]
    over = smooth([(-0.1, -0.38, height + 0.12), (0.0, -0.3, height + 0.15), (0.1, -0.38, height + 0.12)], 8)
    label = Label("label", "Nordik", "sea salt", "beige", "navy", "teal", "mark above", "waves", "band", "slab", "sans")
    hold = circle(half - 0.045, 72, level=height - 0.1)
    return [
        turned("jar", profile, clear()),
        turned("seal", seal, plastic("b8322a", 0.5)),
        turned("lid", top, clear()),
        wires("clip", [front, *sides, over], 0.014, steel),
        wires("wire", [hold], 0.014, steel, closed=True),
        paper_label(label, half, 0.22, 0.66, 0.62),
    ]


def carafe() -> list[Thing]:
    """Blue glass with a belly, a wide mouth and a handle."""
    wall = 0.03
    outer: list[profiles.Corner] = [
        (0.0, 0.0),
        (0.34, 0.0, 0.03),
        (0.45, 0.2, 0.15),
        (0.42, 0.6, 0.25),
        (0.2, 1.0, 0.2),
        (0.2, 1.2, 0.1),
    ]
    outer += [(0.28, 1.42, 0.05)]
    inner: list[profiles.Corner] = [
        (0.26, 1.43, 0.01),
        (0.2 - wall, 1.2, 0.1),
        (0.2 - wall, 1.0, 0.2),
        (0.42 - wall, 0.6, 0.25),
    ]
    inner += [(0.45 - wall, 0.2, 0.15), (0.3, 0.05, 0.05), (0.0, 0.05)]
    blue = clear((0.55, 0.78, 0.95))
    bow = smooth(
        [(0.205, 0, 1.24), (0.34, 0, 1.27), (0.52, 0, 1.15), (0.56, 0, 0.9), (0.5, 0, 0.66), (0.41, 0, 0.58)], 10
    )
    return [turned("body", [*outer, *inner], blue), wires("handle", [bow], 0.035, blue, sides=20)]
