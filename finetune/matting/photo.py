"""Reading one photo of a product set and cutting the product out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from PIL import Image

from finetune.core.console import say, warn
from finetune.core.errors import CatalogError, CutoutError, PackshotError
from finetune.core.pictures.decoded import Remark
from finetune.core.pictures.images import read_picture
from finetune.core.products.catalog import SetConfig
from finetune.core.products.set_files import Photo, UnusablePhoto
from finetune.matting.glass_detection import GLASS_NOUNS, with_glass
from finetune.matting.hints import read_hint
from finetune.matting.mask_fit import fitted_mask
from finetune.matting.matte import Cutout
from finetune.matting.sources import cut_by

LIKELY = "glass"
"""A class noun with which less evidence for glass is asked of a picture."""


@dataclass(frozen=True)
class CutPhoto:
    """A photo that was read and cut out."""

    photo: Photo
    picture: Image.Image
    """Upright sRGB, RGB or RGBA."""
    cutout: Cutout
    remarks: tuple[Remark, ...] = ()
    """What was unusual about reading it or cutting it out."""


def cut_photo(photo: Photo, config: SetConfig, verdict: Literal["", "yes", "no"] = "") -> CutPhoto:
    """Read and cut out one photo.

    Args:
        photo: of a product set.
        config: of that set.
        verdict: what the other photos of the set say of glass, against this one's own evidence; empty for nothing.

    Raises:
        PackshotError: the photo or its mask cannot be used.
    """
    limit = int(config.max_megapixels * 1e6)
    found = read_picture(photo.path, max_pixels=limit)
    own = photo.mask if config.cutout in ("auto", "mask") else None
    mask, turned = fitted_mask(own, found, limit) if own else (None, ())
    hint = read_hint(photo.hint, found) if photo.hint else None
    folder = photo.path.parent.parent
    vessel = config.glass == "yes" or (config.glass == "auto" and GLASS_NOUNS.search(config.class_noun) is not None)
    model = config.cutout_model
    cutout, remarks = cut_by(config.cutout, found.picture, mask, model, folder, vessel=vessel, hint=hint)
    cutout = _glazed(cutout, found.picture, config, verdict)
    return CutPhoto(photo, found.picture, cutout, (*found.remarks, *turned, *remarks))


def _glazed(cutout: Cutout, picture: Image.Image, config: SetConfig, verdict: Literal["", "yes", "no"]) -> Cutout:
    """The cutout with its glass layer, by its own evidence or as the other views have it."""
    if config.glass != "auto" or not verdict:
        return with_glass(cutout, picture, config.glass, config.class_noun)
    if verdict == "no":
        return with_glass(cutout, picture, "no", config.class_noun)
    return with_glass(cutout, picture, "auto", LIKELY)  # as if the noun said glass: where none is seen, none is made up


def unusable(photo: Photo, error: PackshotError) -> UnusablePhoto:
    """The photo that failed with an error of `cut_photo` or of reading it."""
    return UnusablePhoto(photo.path, "cutting" if isinstance(error, CutoutError) else "reading", error)


def warn_of_unusable(sku: str, usable: int, photos: Sequence[UnusablePhoto]) -> None:
    """Warn of each photo that cannot be used.

    Args:
        sku: of the set.
        usable: number of its other photos.
        photos: that cannot be used.

    Raises:
        PackshotError: no photo can be used; in a set of one photo, what is wrong with it.
    """
    if not usable and len(photos) == 1:
        error = photos[0].error
        raise type(error)(photos[0].text, error.hint)
    for photo in photos:
        warn(f"{sku}: photo not used: {photo.text}")
    for hint in dict.fromkeys(photo.error.hint for photo in photos if photo.error.hint):
        say(f"hint: {hint}")
    if not usable and photos:
        raise CatalogError(f"none of the {len(photos)} photos of '{sku}' can be used", photos[0].error.hint)
