"""What a frame shows around the product: surface, backdrop, light, camera. No picture is made here."""

from __future__ import annotations

from dataclasses import dataclass

from . import names
from .draws import Draws

LENSES = (40, 50, 60, 75, 90)


@dataclass(frozen=True)
class Shot:
    """The camera: angles in degrees, lens in mm on a 36 mm sensor, the rest as shares of the frame."""

    azimuth: float
    elevation: float
    lens: int
    fill: float  # the product's larger side
    right: float  # how far the product stands from the middle
    up: float
    blur: float  # aperture's radius over the distance


@dataclass(frozen=True)
class Scene:
    """Everything but the product."""

    surface: str
    backdrop: str
    colour: str  # of a wall or a studio; "" elsewhere
    light: str
    shot: Shot
    turn: float  # of the product, degrees

    @property
    def is_seamless(self) -> bool:
        """True where the studio's backdrop runs on under the product."""
        return self.surface == "studio"

    @property
    def is_open(self) -> bool:
        """True where nothing near stands behind."""
        return self.backdrop in names.DISTANT

    @property
    def surface_words(self) -> str:
        """The surface as captions name it."""
        return f"{self.colour} studio surface" if self.is_seamless else self.surface

    @property
    def backdrop_words(self) -> str:
        """The backdrop as captions name it."""
        return names.BACKDROP_WORDS[self.backdrop].format(c=self.colour)


def draw_shot(draws: Draws) -> Shot:
    """A camera in front of the product, mostly a little above it, seldom well above."""
    steep = draws.chance("steep", 0.07)
    elevation = draws.number("steep elevation", 28.0, 42.0) if steep else draws.near("elevation", 11.0, 6.0, 16.0)
    return Shot(
        azimuth=draws.near("azimuth", 0.0, 9.0, 24.0),
        elevation=max(3.0, elevation),
        lens=draws.one_of("lens", LENSES),
        fill=draws.number("fill", 0.5, 0.8),
        right=draws.near("right", 0.0, 0.09, 0.18),
        up=draws.near("up", 0.0, 0.035, 0.08),
        blur=draws.number("blur", 0.002, 0.006),
    )


def draw_scene(draws: Draws) -> Scene:
    """Backdrop first; it decides which surfaces, colours and lights go with it."""
    backdrop = draws.weighted("backdrop", names.BACKDROPS)
    outdoor = 1.4 if backdrop in ("garden bokeh", "sunset sky") else 1.0
    surface = draws.weighted("surface", {s: outdoor if s in names.OUTDOOR else 1.0 for s in names.SURFACES})
    if backdrop == "studio" and draws.chance("seamless", names.STUDIO_SHARE):
        surface = "studio"
    colour = ""
    if backdrop == "studio":
        colour = draws.weighted("studio colour", names.STUDIO_COLOURS)
    elif backdrop in names.COLOURED:
        colour = draws.one_of("wall colour", names.PAINTS)
    light = draws.weighted("light", names.LIGHTS_OF.get(backdrop, names.LIGHTS))
    turned = draws.chance("turned", 0.2)
    turn = draws.number("wide turn", -55.0, 55.0) if turned else draws.near("turn", 0.0, 16.0, 45.0)
    return Scene(surface, backdrop, colour, light, draw_shot(draws.part("shot")), turn)
