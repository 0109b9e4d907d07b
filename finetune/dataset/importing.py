"""Importing what users already have as product sets: a kohya folder, a folder of them, an imagefolder, one picture.

Photos and captions are copied into datasets/<sku>/ and a set.yaml is written. The source is never changed, and no
existing set is written to. No picture is decoded: preparing does that and names bad ones.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from finetune.core.config import validate
from finetune.core.console import count, listed, say, warn
from finetune.core.errors import CatalogError, did_you_mean
from finetune.core.pictures.images import SUFFIXES
from finetune.core.products.catalog import SetConfig, Workspace, check_sku_name, derive_token
from finetune.core.products.housekeeping import check_folders
from finetune.core.products.set_files import METADATA, check_names, fault, metadata_rows, read_caption_file
from finetune.core.storage.durable import atomic_folder
from finetune.core.text_files import check_text

KOHYA = re.compile(r"(\d+)_(.+)")
"""kohya's sd-scripts name a folder of photos `<repeats>_<token> <class>` (their docs/train_README, "DreamBooth")."""
TOKEN = re.compile(r"[a-z0-9]{3,20}")
CAPTIONS = (".txt", ".caption")
"""Endings of caption files; the last is the default of sd-scripts."""
MASK, CONDITION = "-masklabel", "-condlabel"
"""Endings of the stems of OneTrainer's masks and conditioning pictures."""
GENERIC_NAMES = {"train", "training", "images", "image", "img", "imgs", "photos", "pictures", "data", "dataset"}
"""Folder names that do not name a product."""


@dataclass(frozen=True)
class Product:
    """One product found in the source."""

    folders: tuple[Path, ...]
    """Folders of its photos; or the one file."""
    token: str
    """Empty if the source names none."""
    class_noun: str
    """Empty if the source names none."""
    provenance: str
    """A comment for set.yaml: where it came from, and what could not be imported."""


def import_sets(workspace: Workspace, source: Path, *, sku: str = "", class_noun: str = "") -> list[str]:
    """Make product sets of the photos in a folder.

    Args:
        workspace: to import into.
        source: a folder `10_token class noun` with pictures and captions, a folder of such folders, a folder of
            pictures with captions in metadata.jsonl or .txt files, or one picture.
        sku: name of the set; empty to derive it from the token or the folder's name.
        class_noun: what the product is; empty to derive it from the folder's name.

    Returns:
        The names of the new sets.

    Raises:
        CatalogError: there is nothing to import; a set of that name exists; the class noun is unknown; captions
            cannot be read.
    """
    check_text(class_noun, "the class noun", CatalogError)
    products = _find(source)
    if len(products) > 1 and (sku or class_noun):
        names = ", ".join(f"'{p.token} {p.class_noun}'" for p in products)
        raise CatalogError(
            f"{source} holds {len(products)} products: {names}",
            "omit SKU and --class-noun to import all of them, or name one folder",
        )
    planned = [(_name(product, source, sku), _noun(product, source, class_noun), product) for product in products]
    for name, _, _ in planned:
        if (workspace.datasets / name).exists() or [n for n, _, _ in planned].count(name) > 1:
            raise CatalogError(f"the product set '{name}' exists already", "choose another SKU name, or remove the set")
    for name, noun, product in planned:
        check_folders(workspace, name)
        copied = _write(workspace, name, noun, product)
        masked = f", {copied.masks} with a mask" if copied.masks else ""
        counts = f"{count(copied.photos, 'photo')} ({copied.photos - len(copied.bare)} with a caption{masked})"
        say(f"imported {counts} into {workspace.datasets / name}")
        if copied.bare and len(copied.bare) < copied.photos:
            say(f"without a caption: {listed(copied.bare)}")
    return [name for name, _, _ in planned]


def _find(source: Path) -> list[Product]:
    if not source.exists():
        raise CatalogError(f"there is no file or folder {source}", "name a folder of photos, or one picture")
    source = source.resolve()
    if source.is_file():
        if source.suffix.lower() not in SUFFIXES:
            raise CatalogError(f"{source.name} is not a picture", f"supported are {' '.join(SUFFIXES)}")
        return [Product((source,), "", "", f"imported from {source.name}")]
    if (source / "set.yaml").is_file():
        raise CatalogError(f"{source} is a product set already", f"run: packshot prepare {source.name}")
    if KOHYA.fullmatch(source.name) and _pictures(source):
        return [_kohya([source])]
    inner = sorted(p for p in source.iterdir() if p.is_dir() and KOHYA.fullmatch(p.name) and _pictures(p))
    if inner:
        groups: dict[tuple[str, str], list[Path]] = {}
        for folder in inner:
            groups.setdefault(_words(folder), []).append(folder)
        return [_kohya(folders) for folders in groups.values()]
    if _pictures(source) or (source / METADATA).is_file():
        return [Product((source,), "", "", f"imported from the folder {source.name}")]
    below = sorted(p.name for p in source.iterdir() if p.is_dir() and any(_find_below(p)))
    raise CatalogError(
        f"{source} holds no picture",
        f"did you mean {source / below[0]}?" if below else f"supported are {' '.join(SUFFIXES)}",
    )


def _find_below(folder: Path) -> Iterable[Path]:
    return (p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)


def _pictures(folder: Path) -> list[Path]:
    entries = sorted(folder.iterdir())
    check_names(entries, folder.name)
    return [p for p in entries if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")]


def _words(folder: Path) -> tuple[str, str]:
    """Token and class noun in a kohya folder's name; a single word is the class noun."""
    match = KOHYA.fullmatch(folder.name)
    assert match is not None
    first, _, rest = match[2].strip().partition(" ")
    return (first, rest.replace("_", " ").strip()) if rest else ("", first.replace("_", " "))


def _kohya(folders: list[Path]) -> Product:
    token, noun = _words(folders[0])
    names = ", ".join(f"'{folder.name}'" for folder in folders)
    say(f"{names}: Packshot ignores the repeats; every photo gives data.variants examples")
    plain = re.sub(r"[^a-z0-9]", "", token.lower())
    if token and plain != token:
        warn(f"the token '{token}' becomes '{plain}': it may contain only lower-case letters and digits")
    if plain and not TOKEN.fullmatch(plain):
        warn(f"the token '{plain}' is not used, since it needs 3 to 20 characters; the set's name gives another")
        plain = ""
    return Product(tuple(folders), plain, noun, f"imported from kohya's {names}; the repeats in the name are ignored")


def _name(product: Product, source: Path, sku: str) -> str:
    if sku:
        return check_sku_name(sku)
    words = product.token or (source.resolve().stem if source.is_file() else product.folders[0].name)
    name = re.sub(r"[^A-Za-z0-9]+", "-", KOHYA.sub(r"\2", words)).strip("-")[:64]
    if not name:
        raise CatalogError(f"cannot derive a SKU from '{words}'", "name it: packshot prepare --from FOLDER SKU")
    return check_sku_name(name)


def _noun(product: Product, source: Path, class_noun: str) -> str:
    if class_noun or product.class_noun:
        return class_noun or product.class_noun
    words = " ".join(re.findall(r"[^\W\d_]+", source.resolve().name)).lower()
    if source.is_file() or len(words) < 3 or words in GENERIC_NAMES:
        raise CatalogError(
            "cannot guess the class noun from the folder name", "name it, for example --class-noun 'perfume bottle'"
        )
    say(f"the class noun is '{words}', from the folder name; use --class-noun to name another")
    return words


@dataclass
class _Copied:
    """What was copied into a set."""

    photos: int = 0
    masks: int = 0
    bare: list[str] = field(default_factory=list)
    """Names of the photos without a caption."""


def _write(workspace: Workspace, name: str, noun: str, product: Product) -> _Copied:
    """Copy photos, captions and masks into a new set, and write its set.yaml."""
    with atomic_folder(workspace.datasets / name) as part:
        (part / "photos").mkdir()
        copied = _copy(product, part)
        if not copied.photos:
            hint = "replace links by the files themselves"
            raise CatalogError(f"no picture in {product.folders[0]} could be copied", hint)
        settings = {"class_noun": noun, "token": product.token or derive_token(name)}
        validate(SetConfig, settings, f"the set.yaml of '{name}'")
        text = yaml.safe_dump(settings, allow_unicode=True, sort_keys=False)
        (part / "set.yaml").write_text(f"# {product.provenance}\n{text}", encoding="utf-8")
    return copied


def _copy(product: Product, part: Path) -> _Copied:
    """Copy every photo that can be read, its caption as `<stem>.txt`, and its mask as `masks/<stem>.png`."""
    stems: set[str] = set()
    folders: dict[Path, dict[str, Path]] = {}
    copied = _Copied()
    for folder in product.folders:
        single = folder.is_file()
        root = folder.parent if single else folder
        listed_captions = {} if single else _captions_of(root)
        masks = {} if single else _masks(root)
        for path in [folder] if single else sorted({*_photos(root), *listed_captions}):
            if error := fault(path, root, "the folder"):
                warn(f"photo not imported: {error.message}")
                masks.pop(path.stem.casefold(), None)
                continue
            stem = _free(path.stem, stems)
            stems.add(stem.casefold())
            if stem != path.stem:
                warn(f"{path.name} is imported as {stem}{path.suffix}, since another photo has the same name")
            shutil.copyfile(path, part / "photos" / f"{stem}{path.suffix}")
            copied.photos += 1
            if text := listed_captions.get(path, "") or _beside(path, root, folders):
                (part / "photos" / f"{stem}.txt").write_text(text + "\n", encoding="utf-8")
            else:
                copied.bare.append(f"{stem}{path.suffix}")
            if mask := masks.pop(path.stem.casefold(), None):
                (part / "masks").mkdir(exist_ok=True)
                shutil.copyfile(mask, part / "masks" / f"{stem}{mask.suffix}")
                copied.masks += 1
        if masks:
            warn(f"mask not imported, no photo has its name: {listed([path.name for path in masks.values()])}")
    return copied


def _photos(folder: Path) -> list[Path]:
    """The pictures of a folder that are not another trainer's masks or conditioning pictures."""
    return [path for path in _pictures(folder) if not path.stem.endswith((MASK, CONDITION))]


def _masks(folder: Path) -> dict[str, Path]:
    """OneTrainer's masks by the case-folded stem of their photo: white is what is trained."""
    found: dict[str, Path] = {}
    for path in _pictures(folder):
        if path.stem.endswith(MASK):
            if error := fault(path, folder, "the folder"):
                raise CatalogError(f"a mask cannot be imported: {error.message}", error.hint)
            found[path.stem.removesuffix(MASK).casefold()] = path
        elif path.stem.endswith(CONDITION):
            warn(f"{path.name} is a conditioning picture of OneTrainer; it is not imported")
    return found


def _free(stem: str, taken: set[str]) -> str:
    """A stem that no other photo has, whatever the case.

    Args:
        stem: wanted.
        taken: stems of other photos, case-folded.
    """
    name, number = stem, 2
    while name.casefold() in taken:
        name, number = f"{stem}-{number}", number + 1
    return name


def _captions_of(root: Path) -> dict[Path, str]:
    """Captions in an imagefolder's metadata.jsonl by picture; its rows may name pictures in subfolders."""
    for other in ("metadata.csv", "metadata.parquet"):
        if (root / other).exists():
            warn(f"{other} is not supported: to import its captions, save them as {METADATA}, one row per line")
    if not (root / METADATA).exists():
        return {}
    found: dict[Path, str] = {}
    for number, name, text in metadata_rows(read_caption_file(root / METADATA, root, root.name), METADATA):
        path = root / name
        if Path(name).is_absolute() or ".." in Path(name).parts or path.suffix.lower() not in SUFFIXES:
            raise CatalogError(f"{METADATA}, line {number}: '{name}' is not a picture in the folder", "correct the row")
        if not os.path.lexists(path):
            known = [p.name for p in _pictures(root)]
            raise CatalogError(
                f"{METADATA}, line {number}: there is no picture '{name}'",
                did_you_mean(name, known) or "remove the row, or add the picture",
            )
        found[path] = text
    return found


def _beside(path: Path, root: Path, folders: dict[Path, dict[str, Path]]) -> str:
    """The caption in the file beside a picture, in one line; empty without one. The ending's case does not matter.

    Args:
        path: of the picture.
        root: of the import, which a link must not leave.
        folders: caption files by name with a lower-case ending, of the folders looked at so far; it grows.
    """
    if path.parent not in folders:
        texts = (p for p in sorted(path.parent.iterdir()) if p.suffix.lower() in CAPTIONS)
        folders[path.parent] = {p.stem + p.suffix.lower(): p for p in texts}
    for ending in CAPTIONS:
        if found := folders[path.parent].get(path.stem + ending):
            return " ".join(read_caption_file(found, root, root.name).split())
    return ""
