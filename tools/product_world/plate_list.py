"""The gallery's plates: their names, shapes and cameras, and which of them an option names."""

from __future__ import annotations

from dataclasses import dataclass

SHAPES = {"3:2": (3, 2), "2:3": (2, 3), "4:5": (4, 5), "1:1": (1, 1)}


@dataclass(frozen=True)
class Plate:
    """One empty scene: what is written beside its picture, and where its camera stands."""

    name: str
    title: str
    shape: str
    surface: str
    reflectance: float  # of the surface seen straight on
    roughness: float
    elevation: float  # degrees from the spot up to the camera
    width_mm: float  # real width of the frame at the depth of the spot
    spot: tuple[float, float]  # shares of width and height
    blur: float  # diameter of what is blurred most, as a share of the width
    light: float  # mean brightness of the picture, linear
    lens: float = 50.0  # mm on a sensor 36 mm wide

    @property
    def pose(self) -> str:
        """Products lie where the camera looks down from high above."""
        return "lying" if self.elevation >= 60 else "standing"

    def pixels(self, longest: int) -> tuple[int, int]:
        """Width and height, both even."""
        across, up = SHAPES[self.shape]
        unit = longest / max(across, up)
        return 2 * round(across * unit / 2), 2 * round(up * unit / 2)


PLATES = (
    Plate(
        "marble-vanity",
        "White marble vanity by day",
        "3:2",
        "white marble",
        0.04,
        0.18,
        14,
        720,
        (0.5, 0.78),
        0.02,
        0.46,
    ),
    Plate(
        "walnut-desk", "Walnut desk by a window", "3:2", "oiled walnut", 0.04, 0.38, 16, 760, (0.5, 0.78), 0.024, 0.25
    ),
    Plate(
        "cobblestones",
        "Cobblestones in the morning sun",
        "2:3",
        "granite setts",
        0.04,
        0.6,
        13,
        620,
        (0.5, 0.78),
        0.03,
        0.25,
    ),
    Plate(
        "slate-rim-light", "Dark slate with a rim light", "4:5", "slate", 0.04, 0.45, 13, 560, (0.5, 0.77), 0.018, 0.1
    ),
    Plate(
        "linen-table", "Linen tablecloth in the morning", "3:2", "linen", 0.03, 0.9, 17, 760, (0.5, 0.77), 0.022, 0.42
    ),
    Plate("beach-sand", "Beach sand at low sun", "3:2", "sand", 0.03, 0.95, 12, 720, (0.5, 0.77), 0.028, 0.32),
    Plate(
        "brick-shelf", "Wooden shelf at a brick wall", "2:3", "oiled oak", 0.04, 0.45, 9, 520, (0.5, 0.8), 0.014, 0.22
    ),
    Plate(
        "night-bar",
        "Bar at night with coloured lights",
        "3:2",
        "dark wood",
        0.04,
        0.22,
        10,
        640,
        (0.5, 0.8),
        0.014,
        0.1,
    ),
    Plate("pastel-cyclorama", "Pastel paper sweep", "4:5", "matte paper", 0.03, 0.85, 12, 620, (0.5, 0.76), 0.01, 0.48),
    Plate("concrete-plinth", "Concrete plinth", "2:3", "concrete", 0.04, 0.8, 13, 640, (0.5, 0.72), 0.02, 0.3),
    Plate("pine-kitchen", "Pine board in a kitchen", "3:2", "pine", 0.04, 0.5, 18, 720, (0.5, 0.76), 0.028, 0.38),
    Plate("terrazzo", "Terrazzo and a pale wall", "2:3", "terrazzo", 0.04, 0.22, 18, 600, (0.5, 0.75), 0.02, 0.42),
    Plate(
        "forest-floor",
        "Stone slab on a mossy forest floor",
        "4:5",
        "stone",
        0.04,
        0.75,
        15,
        640,
        (0.5, 0.76),
        0.038,
        0.2,
    ),
    Plate("black-acrylic", "Glossy black acrylic", "2:3", "black acrylic", 0.04, 0.04, 9, 560, (0.5, 0.78), 0.02, 0.06),
    Plate(
        "terracotta-window",
        "Terracotta tiles with a hard window shadow",
        "4:5",
        "terracotta",
        0.04,
        0.65,
        24,
        820,
        (0.5, 0.72),
        0.012,
        0.28,
    ),
    Plate(
        "white-from-above", "White surface from above", "1:1", "white board", 0.04, 0.5, 88, 620, (0.5, 0.5), 0.004, 0.6
    ),
    Plate("linen-from-above", "Linen from above", "1:1", "linen", 0.03, 0.9, 85, 640, (0.5, 0.52), 0.004, 0.36),
)
BY_NAME = {plate.name: plate for plate in PLATES}


def chosen(words: str) -> list[Plate]:
    """The plates that a list with commas names; all of them where it is empty.

    Raises:
        ValueError: A name is none of a plate.
    """
    names = [word.strip() for word in words.split(",") if word.strip()] or list(BY_NAME)
    unknown = [name for name in names if name not in BY_NAME]
    if unknown:
        raise ValueError(f"there is no plate '{unknown[0]}'; there are {', '.join(BY_NAME)}")
    return [BY_NAME[name] for name in dict.fromkeys(names)]
