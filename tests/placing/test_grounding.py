"""Shadow and mirror image of a placed product: where the light says, darkest at the contact, never on the product."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from finetune.core.compositing.camera import camera_over
from finetune.core.compositing.cast_shadow import ShadowStrength, ground_light
from finetune.core.compositing.grounding import Grounding, ground_product, surface_of_prompt
from finetune.core.compositing.light import DIRECTIONS, Light, light_of_prompt, read_light
from finetune.core.compositing.placement import Placed, put_on_canvas
from finetune.core.compositing.reflection import Surface, fresnel, reflected
from finetune.core.errors import PackshotError
from finetune.core.pictures.images import Array, Floats
from finetune.core.pictures.masks import Box
from inference.light_estimate import estimate_light
from inference.pose import pose_of, usual_height

SIZE = (400, 320)
BOX = Box(160, 60, 240, 220)
FOOT = (200.0, 220.0)


def can() -> Floats:
    matte = np.zeros(SIZE[::-1], dtype=np.float32)
    matte[BOX.top : BOX.bottom, BOX.left : BOX.right] = 1
    return matte


def lit(light: Light, elevation: float = 25, **more: object) -> Floats:
    """Luminance factor of the ground around the can."""
    camera = camera_over(SIZE, FOOT, elevation=elevation)
    return ground_light(can(), light, camera, **more)[..., 1]  # type: ignore[arg-type]


def placed(colour: tuple[int, int, int] = (200, 40, 30)) -> Placed:
    cutout = Image.new("RGBA", (BOX.width, BOX.height), (*colour, 255))
    return put_on_canvas(cutout, BOX, SIZE)


@pytest.mark.parametrize(("name", "side"), [("left", 1), ("right", -1)])
def test_the_shadow_falls_away_from_the_light(name: str, side: int) -> None:
    dark = 1 - lit(Light(DIRECTIONS[name], 40, 0.05, (0.3, 0.3, 0.3)), strength=ShadowStrength(contact=0))
    left, right = dark[:, : BOX.left].sum(), dark[:, BOX.right :].sum()
    assert (right - left) * side > 0.8 * (left + right)


def test_back_light_throws_it_forward_and_front_light_behind() -> None:
    cast = ShadowStrength(contact=0)
    back, front = (1 - lit(Light(side, 35, 0.05, (0.3, 0.3, 0.3)), strength=cast) for side in (180, 0))
    below = slice(BOX.bottom + 12, None)
    assert back[below].sum() > 20 * max(front[below].sum(), 1e-3)


def test_a_low_light_throws_a_longer_shadow() -> None:
    def reach(height: float) -> int:
        dark = 1 - lit(Light(270, height, 0.04, (0.3, 0.3, 0.3)), strength=ShadowStrength(contact=0))
        return int(np.flatnonzero((dark > 0.2).any(axis=0)).max())

    assert reach(50) > reach(62) > reach(75) > BOX.right


def test_its_length_is_what_the_angle_says() -> None:
    dark = 1 - lit(Light(270, 45, 0.0, (0.0, 0.0, 0.0)), strength=ShadowStrength(contact=0))
    row = dark[BOX.bottom - 3]  # close to the contact, where the picture shows true widths
    length = np.flatnonzero(row > 0.5).max() - BOX.right
    expected = BOX.height / math.cos(math.radians(25)) / math.tan(math.radians(45))
    assert length == pytest.approx(expected, rel=0.2)


def test_the_penumbra_grows_with_the_distance_and_with_the_light() -> None:
    def edge(softness: float) -> int:
        dark = 1 - lit(Light(270, 40, softness, (0.0, 0.0, 0.0)), strength=ShadowStrength(contact=0))
        row = dark[BOX.bottom - 4, BOX.right :]
        return int(((row > 0.1) & (row < 0.9)).sum())

    assert edge(0.5) > 2 * edge(0.04)


def test_darkest_at_the_contact_and_gone_far_away() -> None:
    light = lit(Light())
    assert light[BOX.bottom + 1, BOX.left + 10 : BOX.right - 10].max() < 0.75
    assert light[BOX.bottom + 60 :].min() > 0.95
    assert (light[:40] == 1).all(), "above the horizon there is no ground"


def test_the_shade_is_tinted_per_channel() -> None:
    camera = camera_over(SIZE, FOOT, elevation=25)
    red, _, blue = ground_light(can(), Light(270, 40, 0.1, (0.2, 0.4, 0.6)), camera)[
        BOX.bottom - 4, BOX.right + 25
    ].tolist()
    assert red < blue - 0.2


def test_strength_zero_is_no_shadow_and_nothing_casts_none() -> None:
    camera = camera_over(SIZE, FOOT)
    assert (ground_light(can(), Light(), camera, strength=ShadowStrength(0, 0)) == 1).all()
    assert (ground_light(np.zeros_like(can()), Light(), camera) == 1).all()


def test_what_floats_leaves_its_foot_lit_and_what_lies_is_dark_all_round() -> None:
    standing, floating, lying = (lit(Light(330, 70, 0.6), pose=pose) for pose in ("standing", "floating", "lying"))
    below = (BOX.bottom, slice(BOX.left + 10, BOX.right - 10))
    assert standing[below].mean() < floating[below].mean() - 0.1
    ring = (slice(BOX.top + 20, BOX.bottom - 20), BOX.left - 1)
    assert lying[ring].mean() < 0.85 < standing[ring].mean() + 0.1


def test_what_hangs_casts_its_shadow_on_the_wall() -> None:
    dark = 1 - lit(Light(315, 50, 0.1, (0.2, 0.2, 0.2)), pose="hanging")
    assert dark[: BOX.bottom, BOX.right :].sum() > 3 * dark[: BOX.bottom, : BOX.left].sum() > 0


def test_rear_feet_stand_further_back() -> None:
    matte = np.zeros(SIZE[::-1], dtype=np.float32)
    matte[60:120, 150:250] = 1
    matte[120:220, 150:165] = 1  # the near foot
    matte[120:205, 235:250] = 1  # the far one ends higher in the picture
    camera = camera_over(SIZE, FOOT, elevation=25)
    light = ground_light(matte, Light(0, 85, 0.05), camera)[..., 1]
    assert light[206, 238:248].mean() < 0.8, "dark right under the far foot"
    assert light[221, 238:248].min() > 0.85, "and not where the near one stands"


def test_a_mirror_shows_the_product_and_a_matt_ground_does_not() -> None:
    scene = np.full((*SIZE[::-1], 3), 90, dtype=np.uint8)
    product = placed()
    glossy = reflected(scene, product.rgb, product.matte, Surface(0.8, 0.02), elevation=0.2)
    assert glossy[BOX.bottom + 5, 200, 0] > 150 > glossy[BOX.bottom + 5, 200, 1] + 60
    assert np.array_equal(glossy[: BOX.bottom], scene[: BOX.bottom])
    assert np.array_equal(reflected(scene, product.rgb, product.matte, Surface(), elevation=0.2), scene)


def test_fresnel_is_its_reflectance_from_above_and_all_at_grazing() -> None:
    assert fresnel(0.04, math.pi / 2) == pytest.approx(0.04)
    assert fresnel(0.04, 0.0) == pytest.approx(1.0)


def test_bytes_are_copied_where_nothing_falls() -> None:
    rng = np.random.default_rng(3)
    scene: Array = rng.integers(0, 256, (*SIZE[::-1], 3), dtype=np.uint8)
    found = ground_product(scene, placed(), Grounding())
    assert np.array_equal(found[:30], scene[:30])
    assert (found != scene).any()
    bare = Grounding(strength=ShadowStrength(0, 0), reflection=0)
    assert np.array_equal(ground_product(scene, placed(), bare), scene)


def test_the_ground_lies_below_what_floats() -> None:
    scene = np.full((*SIZE[::-1], 3), 160, dtype=np.uint8)
    rows = []
    for pose in ("standing", "floating"):
        found = ground_product(scene, placed(), Grounding(Light(330, 80, 0.4), pose=pose))  # type: ignore[arg-type]
        rows.append(int((160 - found[..., 1].astype(int)).sum(axis=1)[BOX.bottom - 20 :].argmax()) - 20)
    standing, floating = rows
    assert abs(standing) < 8 < 10 < floating


def test_the_camera_finds_the_horizon_it_was_given() -> None:
    camera = camera_over((1000, 800), (500, 650), elevation=20, horizon=120)
    assert camera.horizon() == pytest.approx(120, abs=1)
    assert math.degrees(camera.elevation) == pytest.approx(20, abs=1e-6)
    right, away = camera.ground(np.array([500, 600], np.float32), np.array([100, 650, 700], np.float32))
    assert np.isnan(away[0]).all()
    assert right[1].tolist() == pytest.approx([0, 100], abs=0.5), "a pixel is a pixel at the foot"
    assert away[2, 0] < away[1, 0] == pytest.approx(0, abs=1e-3)


def test_lights_in_words() -> None:
    assert read_light("back-left, low, hard") == Light(225, 22, 0.04, (0.28, 0.28, 0.28))
    light, words = light_of_prompt("on slate, hard morning light from the left")
    assert (light.azimuth, light.height, light.softness) == (270, 22, 0.04)
    assert words == ("from the left", "morning light", "hard")
    assert light_of_prompt("on a marble vanity") == (Light(), ())
    assert surface_of_prompt("on polished black acrylic").roughness < 0.2
    assert surface_of_prompt("on moss") == Surface()


@pytest.mark.parametrize("text", ["", "leftt", "left,right", "left,low,high", "sideways"])
def test_lights_that_cannot_be_meant(text: str) -> None:
    with pytest.raises(PackshotError) as caught:
        read_light(text)
    assert caught.value.hint


def test_the_light_of_a_photograph() -> None:
    x = np.linspace(0.25, 1.0, 300)[None, :, None]
    brighter_right = Image.fromarray((np.ones((200, 300, 3)) * 200 * x).astype(np.uint8))
    assert 30 < estimate_light(brighter_right, (150, 170)).azimuth < 100
    lamp = np.full((200, 300, 3), 30, dtype=np.uint8)
    lamp[20:60, 30:90] = 255
    assert 180 < estimate_light(Image.fromarray(lamp), (150, 170)).azimuth < 260


def test_poses_and_heights_by_class_noun() -> None:
    assert [pose_of(n) for n in ("sunglasses", "sports watch", "watch box", "perfume bottle", "wall clock")] == [
        "lying",
        "lying",
        "standing",
        "standing",
        "hanging",
    ]
    flat, closed = np.zeros((100, 100), np.float32), np.zeros((100, 60), np.float32)
    np.fill_diagonal(flat, 1)
    closed[:, 10:50] = 1
    assert (pose_of("watch", flat), pose_of("watch", closed), pose_of("sunglasses", closed)) == (
        "lying",
        "standing",
        "lying",
    )
    assert usual_height("kettle") < usual_height("kettlebell")
    assert usual_height("something unheard of") == 160
