"""Other ways to say what a frame's record says: the same surface, place or light in other words."""

from __future__ import annotations

SURFACES: dict[str, tuple[str, ...]] = {
    "white marble": ("a white marble table", "a marble vanity", "a white marble counter", "marble", "a marble shelf"),
    "black marble": ("a black marble table", "dark marble", "a black marble counter", "a black stone table"),
    "dark walnut wood": (
        "a dark wooden table",
        "walnut wood",
        "a dark wooden desk",
        "a rustic wooden table",
        "dark wood",
    ),
    "light oak wood": (
        "a wooden table",
        "an oak desk",
        "a light wooden desk",
        "oak wood",
        "a wooden shelf",
        "wood floor",
    ),
    "concrete": ("a concrete floor", "grey concrete", "a concrete counter", "the pavement", "cement"),
    "wet stone": ("wet rock", "a wet stone slab", "wet slate", "wet stones after rain"),
    "sand": ("a sandy beach", "the beach", "sand dunes", "beach sand"),
    "snow": ("fresh snow", "a snowy field", "white snow", "snow in winter"),
    "green grass": ("grass", "a green lawn", "a meadow", "a green field", "the grass in a park"),
    "cobblestone": ("a cobblestone street", "cobblestones", "a stone street", "an old cobblestone plaza"),
    "pink satin": ("pink silk", "pink fabric", "satin cloth", "a pink satin sheet"),
    "linen fabric": ("linen", "a linen cloth", "beige fabric", "cotton cloth", "a linen sheet"),
    "glossy black acrylic": ("a glossy black surface", "black acrylic", "a black mirror", "a shiny black surface"),
    "terracotta tiles": ("a terracotta floor", "terracotta", "clay tiles", "a tiled patio", "a terrace floor"),
}

BACKDROPS: dict[str, tuple[str, ...]] = {
    "blurred green garden": ("a garden", "blurry green leaves", "a green park", "a blurred forest", "nature outdoors"),
    "brick wall": (
        "a red brick wall",
        "bricks",
        "a brick wall in a loft",
        "an urban brick wall",
        "a cafe with a brick wall",
    ),
    "night city bokeh lights": (
        "city lights at night",
        "bokeh lights",
        "a bar at night",
        "a night street",
        "blurred night lights",
    ),
    "white tiled wall": (
        "white tiles",
        "a bathroom",
        "a bright kitchen",
        "a kitchen with white tiles",
        "a white bathroom",
    ),
    "wooden wall": ("a wall of wooden planks", "wooden planks", "a rustic wooden wall", "a wooden house"),
    "sunset sky": ("a sunset", "the sky at sunset", "an evening sky", "a golden hour sky", "the sky at dusk"),
}

PLAIN_WALLS = ("{c} wall", "a {c} wall", "{c} background", "a plain {c} background", "a room with a {c} wall")
OFFICE_WALLS = ("a bright office", "an office wall", "a living room", "a modern interior")
WINDOW_WALLS = (
    "window shadows on a {c} wall",
    "a {c} wall with window light",
    "morning light from a window",
    "a {c} bedroom wall",
)
STUDIOS = ("a {c} studio", "{c} background", "a seamless {c} background", "a plain {c} studio background")

LIGHTS: dict[str, tuple[str, ...]] = {
    "soft daylight": (
        "natural light",
        "soft light",
        "bright daylight",
        "morning light",
        "soft natural light",
        "daylight",
    ),
    "warm sunset light": (
        "golden hour",
        "warm light",
        "evening sun",
        "sunset light",
        "warm golden light",
        "warm sunlight",
    ),
    "cool studio light": ("cool light", "studio light", "cold light", "studio lighting", "cool lighting"),
    "hard midday sun": ("hard sunlight", "bright sun", "harsh midday light", "midday sun", "hard light", "sunny day"),
    "dramatic dark key light": ("dramatic light", "dark moody light", "low key lighting", "dramatic lighting", "moody"),
}

NOUNS: dict[str, tuple[str, ...]] = {
    "perfume bottle": ("perfume", "fragrance bottle", "bottle of perfume", "cologne bottle"),
    "mug": ("coffee mug", "cup", "coffee cup", "tea mug"),
    "tea tin": ("tin", "tin of tea", "tea canister"),
    "candle": ("scented candle", "candle in a jar"),
    "soda can": ("can", "drink can", "beverage can"),
    "cream jar": ("jar", "cosmetic jar", "jar of cream", "skincare jar"),
    "sports bottle": ("water bottle", "flask", "bottle"),
    "carton box": ("box", "cardboard box", "carton", "packet"),
    "pump bottle": ("soap bottle", "lotion bottle", "pump dispenser", "shampoo bottle"),
    "spray can": ("spray", "aerosol can", "deodorant spray"),
    "wine bottle": ("bottle of wine", "bottle"),
    "beer bottle": ("bottle of beer", "bottle"),
    "lipstick": ("red lipstick", "makeup lipstick"),
}

OPENINGS = (
    "a photo of",
    "a photo of",
    "photo of",
    "a product photo of",
    "product photo of",
    "a product shot of",
    "advertising photo of",
    "a picture of",
    "professional product photography of",
    "a photorealistic picture of",
    "close-up of",
    "an image of",
)
CLOSINGS = (
    "product photography",
    "professional photo",
    "high quality",
    "photorealistic",
    "sharp focus",
    "advertising photo",
    "editorial photo",
    "shallow depth of field",
    "commercial photography, detailed",
)
RELATIONS = ("in front of {}", "against {}", "with {} in the background", "{} behind", "{} in the background", "{}")
RESTS = ("on {}", "on {}", "on {}", "standing on {}", "placed on {}", "resting on {}", "on top of {}", "{}")
