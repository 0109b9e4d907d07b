"""The recipe `packshot prepare`: product set -> prepared set.

Each photo is read, cut out, measured and made into examples by itself (`finetune.dataset.photo_task`), several at once;
what the last prepared set has of an unchanged photo is taken over. The prepared folder is written as a temporary
sibling and swapped in when complete. A set whose fingerprint is unchanged is left alone. Photos are never changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image

from finetune.checks.answer_cache import FILE as ANSWERS
from finetune.checks.answer_cache import AnswerCache, read_answers
from finetune.checks.examination import CheckedPhoto, examine, write_check_report
from finetune.core import fingerprint
from finetune.core.console import count, listed, say, warn
from finetune.core.errors import CatalogError
from finetune.core.pictures.images import read_picture, write_png
from finetune.core.products.catalog import ProductSet, Workspace, load_set
from finetune.core.products.housekeeping import check_folders
from finetune.core.products.prepared import PreparedPhoto, PreparedSet, read_prepared, require_prepared
from finetune.core.products.set_files import UnusablePhoto, stray_captions
from finetune.core.storage.durable import atomic_folder
from finetune.core.storage.file_hashes import FileHashes
from finetune.dataset.files import check_rows, overview, take_over, write_rows
from finetune.dataset.glass_vote import agreed
from finetune.dataset.photo_pool import Outcome, work_through
from finetune.dataset.photo_task import FOLDERS, ExampleSettings, PhotoJob, prepare_photo
from finetune.dataset.records import Known, PhotoRecord, known_records, write_record
from finetune.dataset.sources import DataSettings, Source, Sources, gather
from finetune.dataset.split import held_out
from finetune.examples.captioner import Captioner
from finetune.examples.facts import ExampleRow
from finetune.matting.photo import warn_of_unusable
from finetune.settings import DataSection

REPORT = "report.html"
FEW_EXAMPLE_PIXELS = 3_000_000
"""Pixels of examples up to which one process makes them: starting more would take longer than it saves."""

LEAST_TRANSPARENT = 0.005
"""Transparent share of a product from which it is worth a word."""


@dataclass(frozen=True)
class PreparedSource:
    """A photo whose files are in the new folder."""

    source: Source
    record: PhotoRecord


def prepare_set(
    workspace: Workspace, sku: str, *, data: DataSection, force: bool = False, jobs: int | None = 1
) -> tuple[PreparedSet, bool]:
    """Prepare one product, brand or category set.

    Args:
        workspace: with the set.
        sku: of the set.
        data: size, variants, shares and seed of the examples.
        force: make everything again, even what is up to date.
        jobs: processes at most; None for one per core. The result is the same for any number.

    Returns:
        The prepared set, and whether this call made it.

    Raises:
        CatalogError: the set is unknown or empty; none of its photos can be used; a category set has no members.
        ConfigError: `data.backdrops` names no folder with pictures, or `data.captioner` none with a captioner.
        PackshotError: the only photo of the set cannot be used, for this reason.
        RunError: a process died over a photo.
    """
    product = load_set(workspace, sku)
    check_folders(workspace, sku)
    hashes = _hashes(workspace, sku, trust=not force)
    ready = None if force else _last_prepared(product)
    settings = _plain(data)
    sources = gather(workspace, product, settings, hashes, unusable=ready.unusable if ready else {})
    hashes.save()
    if ready is not None and ready.fingerprint == sources.fingerprint(sources.unusable):
        return ready, False
    if ready is not None and (changes := ready.changes(product, hashes.of_file)):
        say(f"{sku} has changed since it was prepared: {changes}")
    _name_uncaptioned(product)
    with atomic_folder(product.prepared_dir, replace=True) as folder:
        _make_folders(folder, sources)
        done, failed = _photos(folder, sources, reuse=not force, jobs=jobs)
        unlisted = [photo for member in sources.members for photo in member.unusable]
        unusable = [*unlisted, *(photo for _, photo in failed)]
        warn_of_unusable(sku, len(done), unusable)
        answers = AnswerCache() if force else read_answers(product.prepared_dir / ANSWERS)
        for item in done:
            if (share := item.record.transparent) >= LEAST_TRANSPARENT:
                say(f"{item.source.file_name}: {share:.0%} of the product is transparent")
        photos = [_checked(folder, item) for item in done]
        found, answers = examine(product, photos, unusable, size=data.size, answers=answers)
        scenes = _scenes(workspace.root / data.captioner, sources, done, answers.scenes)
        AnswerCache(colours=answers.colours, labels=answers.labels, scenes=scenes).write(folder / ANSWERS)
        found.warn()
        write_check_report(folder / REPORT, found, photos)
        failures = {source.photo: source.task.measure.failure_key for source, _ in failed}
        _describe(folder, sources, settings, done, failures, scenes)
    return require_prepared(product.prepared_dir, sku), True


def _name_uncaptioned(product: ProductSet) -> None:
    """Name the photos that Packshot describes itself where others have a caption, and captions without a photo."""
    without = [photo.path.name for photo in product.photos if not photo.caption]
    if without and len(without) < len(product.photos):
        say(f"without a caption of their own, described by Packshot: {listed(without)}")
    stems = {photo.stem for photo in product.photos} | {photo.path.stem for photo in product.unusable}
    if stray := stray_captions(product.folder, stems):
        warn(f"{listed(stray)} in photos/: no photo has this name, so the caption is not used")


def prepared_fingerprint(workspace: Workspace, product: ProductSet, data: DataSection) -> str:
    """The fingerprint that the prepared set of a product would have now; nothing is made.

    Photos that could not be used when the set was last prepared count as unusable as long as nothing has changed that
    could help; all others count as usable.

    Args:
        workspace: with the set.
        product: the set.
        data: settings of its examples.
    """
    hashes = _hashes(workspace, product.sku, trust=True)
    try:
        ready = read_prepared(product.prepared_dir)
    except CatalogError:  # damaged or of another format: nothing is known, as `prepare_set` will say
        ready = None
    sources = gather(workspace, product, _plain(data), hashes, unusable=ready.unusable if ready else {})
    hashes.save()
    return sources.fingerprint(sources.unusable)


def changes_since_prepared(workspace: Workspace, product: ProductSet) -> str:
    """What changed in a set since it was prepared, in words; empty for nothing, and where it is not prepared."""
    try:
        ready = read_prepared(product.prepared_dir)
    except CatalogError:
        return ""
    return ready.changes(product, _hashes(workspace, product.sku, trust=True).of_file) if ready else ""


def _last_prepared(product: ProductSet) -> PreparedSet | None:
    """The prepared set that is there; None without one, and for one that has to be made again, which is reported."""
    try:
        ready = read_prepared(product.prepared_dir)
        if ready is not None:
            check_rows(ready)
    except CatalogError as error:
        warn(f"{error.message}; it is prepared again")
        return None
    return ready


def _plain(data: DataSection) -> DataSettings:
    shares = dict(data.mask_shares)
    examples = ExampleSettings(data.size, data.buckets, data.variants, data.keep_original, shares, data.seed)
    return DataSettings(examples, data.backdrops, data.captioner, data.model_dump(mode="json"))


def _hashes(workspace: Workspace, sku: str, *, trust: bool) -> FileHashes:
    return FileHashes(workspace.cache / "hashes" / f"{sku}.json", trust=trust)


def _make_folders(folder: Path, sources: Sources) -> None:
    inner = {str(Path(source.task.name).parent) for source in sources.photos}
    for name in FOLDERS:
        for part in sorted(inner):
            (folder / name / part).mkdir(parents=True, exist_ok=True)


def _photos(
    folder: Path, sources: Sources, *, reuse: bool, jobs: int | None
) -> tuple[list[PreparedSource], list[tuple[Source, UnusablePhoto]]]:
    """Bring every photo's files into the new folder: taken over if its task is unchanged, made otherwise.

    Returns:
        The photos whose files are there, and those that cannot be used.
    """
    last = [sources.product.prepared_dir, *(source.member.prepared_dir for source in sources.photos)]  # a member's own
    earlier = known_records(dict.fromkeys(last)) if reuse else Known()
    work = [PhotoJob(source.task, folder) for source in sources.photos]
    source_of = dict(zip((job.record_path for job in work), sources.photos, strict=True))
    made = partial(work_through, make=prepare_photo, processes=jobs, few_pixels=FEW_EXAMPLE_PIXELS)
    first = made(work, partial(_taken_over, earlier), verb="preparing")
    result = agreed(first, lambda again: made(again, lambda _: None, verb="preparing again"))
    done = [PreparedSource(source_of[job.record_path], record) for job, record in result.done]
    return done, [(source_of[job.record_path], photo) for job, photo in result.unusable]


def _taken_over(earlier: Known, job: PhotoJob) -> Outcome | None:
    """The outcome that an earlier prepared set has for a job, its files taken over; None if it has none."""
    task = job.task
    if task.key in earlier.made:
        where, name, record = earlier.made[task.key]
        return record if take_over(record.paths(name), where, job.folder, record.paths(task.name)) else None
    if earlier.unusable and (found := earlier.unusable.get(task.measure.failure_key)):
        write_record(found, job.record_path)
        return found.photo(task.photo.path)
    return None


def _checked(folder: Path, item: PreparedSource) -> CheckedPhoto:
    """What the checks need of a photo."""
    record = item.record
    return CheckedPhoto(
        name=item.source.file_name,
        content=item.source.task.measure.content,
        key=record.cutout_key,
        size=(record.cutout.width, record.cutout.height),
        facts=record.facts,
        figures=record.figures,
        open_cutout=partial(_opened, folder / "cutouts" / f"{item.source.task.name}.png"),
    )


def _opened(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return picture.convert("RGBA")


def _scenes(
    captioner: Path, sources: Sources, done: Sequence[PreparedSource], known: Mapping[str, str]
) -> dict[str, str]:
    """A captioner's words for the surroundings of the photos that need them, by `_scene_key`.

    Args:
        captioner: its folder.
        sources: of the set.
        done: its photos.
        known: words found earlier.
    """
    asked = [item for item in done if sources.captioner and item.source.wants_scene(item.record.examples)]
    keys = [_scene_key(sources, item) for item in asked]
    found = {key: known[key] for key in keys if key in known}
    todo = [(key, item.source.task.measure) for key, item in zip(keys, asked, strict=True) if key not in found]
    if todo:
        say(f"describing the surroundings on {count(len(todo), 'photo')}")
        model = Captioner(captioner)
        for key, task in todo:
            picture = read_picture(task.photo.path, max_pixels=int(task.config.max_megapixels * 1e6)).picture
            found[key] = model.surroundings(picture, task.config.class_noun)
    return found


def _scene_key(sources: Sources, item: PreparedSource) -> str:
    task = item.source.task.measure
    return fingerprint.of_value([sources.captioner, task.content, task.config.class_noun, task.config.max_megapixels])


def _describe(
    folder: Path,
    sources: Sources,
    settings: DataSettings,
    done: Sequence[PreparedSource],
    failures: dict[str, str],
    scenes: Mapping[str, str],
) -> None:
    """Write rows, contact sheet and, last, `prepared.json`."""
    product, size = sources.product, settings.examples.size
    brand = product.config.kind == "brand"
    apart = _held_out(done, 1 if brand else settings.examples.variants, settings.examples.seed)
    rows: list[ExampleRow] = []
    photos = []
    for item in done:
        made = _rows(product, item, scenes.get(_scene_key(sources, item), ""), apart)
        split = "train" if any(row.split == "train" for row in made) else "validation"
        layers = item.record.layers(item.source.task.name)
        photos.append(PreparedPhoto(photo=item.source.photo, split=split, **(item.record.cutout.model_dump() | layers)))
        rows += made
    write_rows(folder, rows)
    pictures = [(_caption(item), folder / photo.cutout) for item, photo in zip(done, photos, strict=True)]
    write_png(overview(folder, [] if brand else pictures, rows), folder / "contact_sheet.png")
    PreparedSet(
        folder=folder,
        sku=product.sku,
        kind=product.config.kind,
        class_noun=product.config.class_noun,
        token=product.token,
        fingerprint=sources.fingerprint(failures),
        content=sources.content,
        contents=sources.contents,
        size=size,
        examples=len(rows),
        photos=tuple(photos),
        settings=dict(settings.recorded),
        unusable=failures,
    ).write()


def _caption(item: PreparedSource) -> str:
    """A photo's line on the contact sheet."""
    share = item.record.transparent
    return f"{item.source.photo}, {share:.0%} transparent" if share >= LEAST_TRANSPARENT else item.source.photo


def _held_out(done: Sequence[PreparedSource], variants: int, seed: int) -> set[tuple[str, int]]:
    """The (photo, variant) pairs held out for validation: of each product as in its own prepared set, so that a
    category's adapter is judged on nothing a member's was trained with."""
    apart: set[tuple[str, int]] = set()
    for sku in dict.fromkeys(item.source.member.sku for item in done):
        photos = {item.source.task.photo.stem: item.source.photo for item in done if item.source.member.sku == sku}
        apart |= {(photos[stem], variant) for stem, variant in held_out(list(photos), variants, seed)}
    return apart


def _rows(product: ProductSet, item: PreparedSource, scene: str, apart: set[tuple[str, int]]) -> list[ExampleRow]:
    """The rows of a photo's examples."""
    source = item.source
    return [
        ExampleRow.of(
            facts,
            name=source.task.name,
            sku=source.member.sku,
            photo=source.photo,
            split="validation" if (source.photo, facts.variant) in apart else "train",
            text=source.text(product, facts, scene),
        )
        for facts in item.record.examples
    ]
