"""Reading the photos of a product set and cutting the product out of each. Called by the recipes `prepare` and `check`.

A photo that cannot be used is named with its reason and left out; the good ones go on. Writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from finetune.core.console import say, warn
from finetune.core.errors import CatalogError, ImageError, PackshotError
from finetune.core.pictures.decoded import Remark
from finetune.core.pictures.images import Reading, read_mask, read_picture
from finetune.core.products.catalog import ProductSet, SetConfig
from finetune.core.products.set_files import Photo
from finetune.matting.glass_detection import with_glass
from finetune.matting.matte import Cutout
from finetune.matting.sources import cut_by


@dataclass(frozen=True)
class Cut:
    """A photo that was read and cut out."""

    photo: Photo
    picture: Image.Image
    cutout: Cutout
    description: str
    """The user's own caption, empty without one."""
    remarks: tuple[Remark, ...] = ()
    """What was unusual about reading it or cutting it out."""


@dataclass(frozen=True)
class Failure:
    """A photo that cannot be used, and why."""

    photo: Photo
    error: PackshotError

    @property
    def text(self) -> str:
        """One line that names the photo."""
        name, message = self.photo.path.name, self.error.message
        return message if name in message else f"{name}: {message}"


def cut_photo(photo: Photo, config: SetConfig) -> Cut:
    """Read and cut out one photo.

    Args:
        config: of the set it belongs to.

    Raises:
        PackshotError: the photo or its mask cannot be used.
    """
    limit = int(config.max_megapixels * 1e6)
    found = read_picture(photo.path, max_pixels=limit)
    mask = _mask_of(photo, found, limit) if config.cutout in ("auto", "mask") else None
    folder = photo.path.parent.parent
    cutout, remarks = cut_by(config.cutout, found.picture, mask, config.cutout_model, folder)
    cutout = with_glass(cutout, found.picture, config.glass, config.class_noun)
    return Cut(photo, found.picture, cutout, sidecar(photo), (*found.remarks, *remarks))


def _mask_of(photo: Photo, found: Reading, limit: int) -> Image.Image | None:
    if photo.mask is None:
        return None
    mask = read_mask(photo.mask, max_pixels=limit)
    if mask.original_size != found.original_size:
        (width, height), (wide, high) = mask.original_size, found.original_size
        raise ImageError(
            f"the mask is {width}x{height} pixels, its photo {wide}x{high}",
            "make the mask on the very photo, without scaling or cropping",
        )
    return mask.picture


def refusals(product: ProductSet) -> list[Failure]:
    """The entries of photos/ that cannot even be tried."""
    return [Failure(Photo(refusal.path, None), refusal.error) for refusal in product.refused]


def sidecar(photo: Photo) -> str:
    """The user's own words for a photo (`<stem>.txt` or metadata.jsonl) in one line; empty without any."""
    return photo.caption


def require_one(sku: str, good: int, failures: list[Failure]) -> None:
    """Refuse a set none of whose photos can be used.

    Raises:
        PackshotError: none is left; of a set of one photo, what is wrong with it.
    """
    if good or not failures:
        return
    first = failures[0]
    if len(failures) == 1:
        raise type(first.error)(first.text, first.error.hint)
    raise CatalogError(f"none of the {len(failures)} photos of '{sku}' can be used", first.error.hint)


def name_failures(sku: str, good: int, failures: list[Failure]) -> None:
    """Warn of each photo left out.

    Raises:
        PackshotError: none is left; of a set of one photo, what is wrong with it.
    """
    if good or len(failures) > 1:
        for failure in failures:
            warn(f"{sku}: left out {failure.text}")
        for hint in dict.fromkeys(failure.error.hint for failure in failures if failure.error.hint):
            say(f"hint: {hint}")
    require_one(sku, good, failures)
