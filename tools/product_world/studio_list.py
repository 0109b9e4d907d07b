"""The products of the packshots: their names, kinds, colours, which ones a method is chosen on and which judge it.

Plain data without Blender. A product's builder is the function of its name in the module named here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

KINDS = ("holes", "thin", "glass", "soft")
"""What is hard about cutting a product out: openings, wires and cords, clear parts, hair."""
CHOOSE = ("tote-bag", "pump-bottle", "scissors", "whisk", "rope-coil", "shaving-brush", "mug", "tumbler")
"""Products on which methods and settings are chosen; all others judge what was chosen."""


@dataclass(frozen=True)
class Product:
    """One product; `glass` names its parts that let light through, `lying` is for what is laid flat."""

    sku: str
    class_noun: str
    kind: str
    colour: str
    module: str
    glass: tuple[str, ...] = ()
    lying: bool = False

    @property
    def builder(self) -> str:
        """The function that makes it."""
        return self.sku.replace("-", "_")

    @property
    def split(self) -> str:
        """Whether it is there to choose by or to judge by."""
        return "choose" if self.sku in CHOOSE else "judge"


@dataclass(frozen=True)
class View:
    """Where the camera stands, in degrees."""

    azimuth: float
    elevation: float


STANDING_VIEWS = (View(0, 8), View(-34, 14), View(32, 18), View(8, 38))
LYING_VIEWS = (View(0, 62), View(-30, 48), View(28, 54), View(6, 82))

PRODUCTS = (
    Product("tote-bag", "bag", "holes", "cream", "studio_bags"),
    Product("pump-bottle", "pump bottle", "glass", "amber", "studio_glass", ("body",)),
    Product("candle-jar", "candle", "glass", "cream", "studio_glass", ("jar",)),
    Product("scissors", "scissors", "holes", "black", "studio_tools", lying=True),
    Product("whisk", "whisk", "thin", "steel", "studio_wires", lying=True),
    Product("sunglasses", "sunglasses", "glass", "brown", "studio_small", ("lenses",)),
    Product("rope-coil", "rope", "thin", "beige", "studio_wires", lying=True),
    Product("shaving-brush", "shaving brush", "soft", "black", "studio_soft"),
    Product("mug", "mug", "holes", "deep red", "studio_ware"),
    Product("tumbler", "glass", "glass", "orange", "studio_glass", ("glass",)),
    Product("shoulder-bag", "bag", "holes", "brown", "studio_bags"),
    Product("perfume", "perfume bottle", "glass", "clear", "studio_glass", ("body",)),
    Product("bird-cage", "bird cage", "thin", "white", "studio_wires"),
    Product("pom-pom", "pom-pom", "soft", "pink", "studio_soft"),
    Product("spectacles", "spectacles", "holes", "navy", "studio_small"),
    Product("watering-can", "watering can", "holes", "green", "studio_ware"),
    Product("storage-jar", "jar", "glass", "clear", "studio_glass", ("jar", "lid")),
    Product("necklace", "necklace", "thin", "gold", "studio_small", lying=True),
    Product("padlock", "padlock", "holes", "gold", "studio_tools"),
    Product("teapot", "teapot", "holes", "pastel green", "studio_ware"),
    Product("coat-hanger", "coat hanger", "thin", "brown", "studio_wires", lying=True),
    Product("carafe", "carafe", "glass", "blue", "studio_glass", ("body", "handle")),
    Product("key-ring", "keys", "holes", "steel", "studio_tools", lying=True),
    Product("egg-basket", "basket", "thin", "black", "studio_wires"),
    Product("spray-bottle", "spray bottle", "holes", "pink", "studio_ware"),
    Product("paint-brush", "paint brush", "soft", "red", "studio_soft", lying=True),
    Product("pliers", "pliers", "holes", "navy", "studio_tools", lying=True),
    Product("belt", "belt", "holes", "black", "studio_bags"),
    Product("stool", "stool", "holes", "wood", "studio_furniture"),
    Product("hoop-earrings", "earrings", "thin", "silver", "studio_small", lying=True),
    Product("colander", "colander", "holes", "cream", "studio_ware"),
    Product("racket", "racket", "thin", "navy", "studio_wires", lying=True),
    Product("coffee-set", "coffee set", "holes", "white", "studio_ware"),
    Product("desk-fan", "fan", "thin", "mint", "studio_furniture"),
)
BY_SKU = {product.sku: product for product in PRODUCTS}
JUDGE = tuple(product.sku for product in PRODUCTS if product.sku not in CHOOSE)


def views(product: Product) -> tuple[View, ...]:
    """Front, three-quarter left, three-quarter right, from above; flat things from higher up."""
    return LYING_VIEWS if product.lying else STANDING_VIEWS


def file_name(number: int, what: str = "") -> str:
    """`view_0.png`, `view_0_mask.png`, `view_0_parts.png`, `view_0_transmittance.png`."""
    return f"view_{number}_{what}.png" if what else f"view_{number}.png"


def layers(product: Product) -> tuple[str, ...]:
    """What is made of every view, in this order; clear products have a map of what they transmit."""
    return ("", "mask", "transmittance", "parts") if product.glass else ("", "mask", "parts")


def missing(folder: Path, product: Product, numbers: Sequence[int] = range(4)) -> list[tuple[str, int]]:
    """The layers of a product's views that are not on disk yet."""
    wanted = [(layer, number) for layer in layers(product) for number in numbers]
    return [(layer, number) for layer, number in wanted if not (folder / file_name(number, layer)).exists()]


def chosen(names: str) -> list[Product]:
    """The products named in a list with commas; all of them for ""."""
    skus = [name.strip() for name in names.split(",") if name.strip()]
    unknown = sorted(set(skus) - set(BY_SKU))
    if unknown:
        raise ValueError(f"no product is called {', '.join(unknown)}; there are {', '.join(BY_SKU)}")
    return [BY_SKU[sku] for sku in skus] if skus else list(PRODUCTS)


def description(product: Product, size: int) -> str:
    """The text of meta.json."""
    shots = [asdict(view) for view in views(product)]
    facts = {
        "sku": product.sku,
        "class_noun": product.class_noun,
        "kind": product.kind,
        "colour": product.colour,
        "split": product.split,
        "glass": list(product.glass),
        "size": size,
        "views": shots,
        "parts": {"0": "ground", "1": "opaque", "2": "clear"},
    }
    return json.dumps(facts, indent=1) + "\n"
