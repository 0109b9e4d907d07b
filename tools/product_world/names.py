"""The world's vocabulary: colours, surfaces, backdrops, lights, kinds of product, and how often each occurs.

Used by `scenes.py`, the two design modules and the renderer. All brands are invented.
"""

from __future__ import annotations

COLOURS = {
    "red": "c4262c",
    "orange": "e8782a",
    "yellow": "f0c02c",
    "green": "3c8a4c",
    "mint": "9fd8bd",
    "teal": "1b8a88",
    "blue": "2d6cc8",
    "navy": "1a2a58",
    "purple": "6c3ca0",
    "lavender": "b8a6de",
    "pink": "ea8cb0",
    "brown": "6b4226",
    "beige": "d8c4a2",
    "cream": "f2e7cc",
    "white": "efeeea",
    "grey": "8a8d90",
    "black": "141416",
}
METALS = {"gold": "d9a94a", "silver": "d2d4d8", "rose gold": "d99a86"}
AMBER = "b5651d"
PAINTS = tuple(COLOURS)


def hex_of(name: str) -> str:
    """The sRGB hex code of a colour's name."""
    return {**COLOURS, **METALS, "amber": AMBER}[name]


def rgb_of(name: str) -> tuple[int, int, int]:
    """A colour's name as 8-bit sRGB."""
    code = hex_of(name)
    return int(code[:2], 16), int(code[2:4], 16), int(code[4:], 16)


def brightness(name: str) -> float:
    """How light a colour is to the eye, 0 to 1."""
    red, green, blue = rgb_of(name)
    return (0.3 * red + 0.59 * green + 0.11 * blue) / 255


OUTDOOR = ("sand", "cobblestone", "green grass", "snow", "wet stone")
INDOOR = (
    "white marble",
    "black marble",
    "light oak wood",
    "dark walnut wood",
    "concrete",
    "linen fabric",
    "pink satin",
    "terracotta tiles",
    "glossy black acrylic",
)
SURFACES = (*INDOOR, *OUTDOOR)
STUDIO_SHARE = 0.6  # of the studio backdrops run on as the surface

BACKDROPS = {
    "plain wall": 2.2,
    "brick wall": 1.3,
    "white tiles": 1.1,
    "wooden wall": 1.1,
    "garden bokeh": 1.4,
    "sunset sky": 1.2,
    "night bokeh": 1.3,
    "studio": 2.2,
    "window light": 1.2,
}
DISTANT = ("garden bokeh", "sunset sky", "night bokeh")
COLOURED = ("plain wall", "window light", "studio")
STUDIO_COLOURS = {"white": 2.0, "beige": 2.0, "grey": 1.0, "pink": 1.0, "blue": 1.0}
BACKDROP_WORDS = {
    "plain wall": "plain {c} wall",
    "brick wall": "brick wall",
    "white tiles": "white tiled wall",
    "wooden wall": "wooden wall",
    "garden bokeh": "blurred green garden",
    "sunset sky": "sunset sky",
    "night bokeh": "night city bokeh lights",
    "studio": "{c} studio backdrop",
    "window light": "{c} wall with window light shadows",
}

DAYLIGHT, SUNSET, NOON, STUDIO_LIGHT, DARK = (
    "soft daylight",
    "warm sunset light",
    "hard midday sun",
    "cool studio light",
    "dramatic dark key light",
)
LIGHTS = {DAYLIGHT: 2.0, SUNSET: 1.2, NOON: 1.2, STUDIO_LIGHT: 1.4, DARK: 1.0}
# Where not every light makes sense:
LIGHTS_OF = {
    "studio": {DAYLIGHT: 1.0, STUDIO_LIGHT: 2.5, DARK: 0.8, NOON: 0.5, SUNSET: 0.4},
    "sunset sky": {SUNSET: 4.0, DARK: 1.0, DAYLIGHT: 0.7},
    "night bokeh": {DARK: 2.0, STUDIO_LIGHT: 1.5, SUNSET: 0.6},
    "garden bokeh": {DAYLIGHT: 3.0, SUNSET: 1.3, NOON: 1.5},
    "window light": {SUNSET: 1.2, NOON: 1.0, DAYLIGHT: 1.4},
}

FAMILIES = {
    "perfume": 1.5,
    "jar": 1.0,
    "pump": 1.0,
    "can": 1.0,
    "bottle": 1.3,
    "mug": 1.0,
    "box": 1.0,
    "candle": 1.0,
    "lipstick": 0.7,
    "spray": 1.0,
    "tin": 1.0,
    "sports": 1.0,
}

BRANDS = (
    *("LUMA", "AERA", "BLOOM", "SOLIS", "NORD", "VELO", "ZEST", "PURE", "ORBA", "KALM", "FJORD", "MIRA", "DUNE"),
    *("POP!", "FIZZ", "ROSA", "TERRA", "WAVE", "NOVA", "HALO", "ECHO", "LILAC", "ATLAS", "MOSS", "EMBER", "SILK"),
    *("ALBA", "RUSH"),
)
FIRST_SYLLABLES = (
    *("LU", "NO", "VA", "MI", "KO", "SO", "AE", "FLO", "BRO", "ORA", "EL", "TA", "RI", "ZE", "PE", "CA", "DO", "MA"),
    *("NI", "SA", "VE", "HA", "JU", "TE", "WI"),
)
LAST_SYLLABLES = (
    *("MA", "RA", "VO", "NA", "LI", "TO", "RE", "LLA", "NE", "RIS", "VEN", "DRA", "MO", "LO", "SSA", "KA", "ZA"),
    *("BE", "TTE", "NOX"),
)
INVENTED_SHARE = 0.6  # of the brands are put together from syllables

SECOND_LINES = {
    "perfume bottle": ("eau de parfum", "No 5", "No 9", "intense", "eau fraiche", "50 ml"),
    "cream jar": ("day cream", "night cream", "face balm", "body butter", "100 ml"),
    "pump bottle": ("hand soap", "body lotion", "shampoo", "hand wash", "300 ml"),
    "soda can": ("cola", "lemon soda", "orange soda", "energy", "sparkling", "330 ml"),
    "wine bottle": ("reserve 2019", "merlot", "pinot noir", "chardonnay", "riesling"),
    "beer bottle": ("pale ale", "lager", "stout", "pilsner", "ipa"),
    "mug": ("", "coffee", "good day"),
    "carton box": ("tea", "cereal", "crackers", "soap bar", "vitamins", "gift set"),
    "candle": ("scented candle", "cedar", "vanilla", "fig & amber", "sea salt"),
    "lipstick": ("",),
    "spray can": ("deodorant", "hair spray", "spray paint", "air freshener", "200 ml"),
    "tea tin": ("green tea", "earl grey", "black tea", "chamomile", "loose leaf"),
    "sports bottle": ("sport", "hydrate", "750 ml", ""),
}
NOUNS = tuple(SECOND_LINES)
