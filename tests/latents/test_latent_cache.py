"""The cache of latents and embeddings: only what is changed is made again; it is read by memory map; models leave."""

from __future__ import annotations

import json
import os
import re
import shutil
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from cached_examples import example
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from finetune.core.basemodel.resolve import resolve_base
from finetune.latents import cache
from finetune.latents.cache import CachedExamples, Row, RowSet, build_caches
from finetune.latents.entries import write_entry

pytestmark = pytest.mark.tiny


ROWS = [example(number) for number in range(4)]


def build(folder: Path, base: Path, rows: list[Row] = ROWS, ring_px: int = 8) -> CachedExamples:
    of_base = resolve_base(str(base))
    (made,) = build_caches(folder, of_base, [RowSet(rows, ring_px)], device="cpu", progress=lambda *_: None)
    return made


@pytest.fixture(scope="module")
def filled(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with four latent entries, two captions and the null."""
    folder = tmp_path_factory.mktemp("cache")
    assert build(folder, tiny_base).made == 7
    assert build(folder, tiny_base).made == 0
    return folder


def one_pixel(row: Row) -> Row:
    picture = row.picture.copy()
    picture[0, 0, 0] ^= 1
    return replace(row, picture=picture)


def one_mask_pixel(row: Row) -> Row:
    product = row.product.copy()
    product[0, 0] = True
    return replace(row, product=product)


@pytest.mark.parametrize(
    ("change", "latents", "texts"),
    [
        (one_pixel, 1, 0),
        (one_mask_pixel, 1, 0),
        (lambda row: replace(row, text="a photo of another thing"), 0, 1),
        (lambda row: replace(row, mask_kind="box"), 1, 0),
        (lambda row: replace(row, seed=99), 1, 0),
        (lambda row: replace(row, time_ids=(9, 9, 0, 0, 9, 9)), 0, 0),
    ],
    ids=["one byte", "one byte of the mask", "one caption", "kind of mask", "its seed", "time ids, which are not kept"],
)
def test_a_changed_example(
    filled: Path, tiny_base: Path, tmp_path: Path, change: Callable[[Row], Row], latents: int, texts: int
) -> None:
    shutil.copytree(filled, tmp_path / "cache")
    build(tmp_path / "cache", tiny_base, [change(ROWS[0]), *ROWS[1:]])
    assert new(tmp_path / "cache", filled) == (latents, texts)


def new(folder: Path, before: Path) -> tuple[int, int]:
    """Entries that came to the cache: latents, texts."""
    latents, texts = (
        len({p.name for p in (folder / kind).iterdir()} - {p.name for p in (before / kind).iterdir()})
        for kind in ("latents", "text")
    )
    return latents, texts


def test_a_changed_setting(filled: Path, tiny_base: Path, tmp_path: Path) -> None:
    shutil.copytree(filled, tmp_path / "cache")
    build(tmp_path / "cache", tiny_base, ring_px=4)
    assert new(tmp_path / "cache", filled) == (4, 0)


def one_weight(base: Path, part: str) -> None:
    (file,) = (base / part).glob("*.safetensors")
    state = load_file(str(file))
    name = min(state)
    save_file(state | {name: state[name] + 1e-4}, str(file), metadata={"format": "pt"})


def another_null(base: Path) -> None:
    index = base / "model_index.json"
    settings = json.loads(index.read_text(encoding="utf-8"))
    assert settings["force_zeros_for_empty_prompt"]
    index.write_text(json.dumps(settings | {"force_zeros_for_empty_prompt": False}), encoding="utf-8")


def one_setting(base: Path, file: str, **settings: object) -> None:
    path = base / file
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | settings), encoding="utf-8")


def two_letters_swapped(base: Path) -> None:
    """In the first tokenizer's vocabulary `a` and `b` at the end of a word change their numbers."""
    path = base / "tokenizer" / "tokenizer.json"
    text = path.read_text(encoding="utf-8")
    swapped = text.replace('"a</w>"', '"?"').replace('"b</w>"', '"a</w>"').replace('"?"', '"b</w>"')
    assert swapped != text
    path.write_text(swapped, encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "latents", "texts"),
    [
        (lambda base: one_weight(base, "vae"), 4, 0),
        (lambda base: one_setting(base, "vae/config.json", scaling_factor=0.25), 4, 0),
        (two_letters_swapped, 0, 3),
        (lambda base: (base / "tokenizer_2" / "merges.txt").write_text("#version: 0.2\np h\n"), 0, 3),
        (lambda base: one_setting(base, "text_encoder/config.json", hidden_act="gelu"), 0, 3),
        (lambda base: one_setting(base, "unet/config.json", sample_size=16), 0, 0),
        (lambda base: one_weight(base, "text_encoder"), 0, 3),
        (lambda base: one_weight(base, "text_encoder_2"), 0, 3),
        (another_null, 0, 1),
        (lambda base: one_weight(base, "unet"), 0, 0),
    ],
    ids=[
        "vae",
        "its scale",
        "a vocabulary",
        "merges",
        "an activation",
        "unet's size",
        "first text encoder",
        "second text encoder",
        "what the null is",
        "unet, which encodes nothing",
    ],
)
def test_a_changed_base(
    filled: Path, tiny_base: Path, tmp_path: Path, change: Callable[[Path], None], latents: int, texts: int
) -> None:
    shutil.copytree(filled, tmp_path / "cache")
    shutil.copytree(tiny_base, tmp_path / "base")
    change(tmp_path / "base")
    found = build(tmp_path / "cache", tmp_path / "base")
    assert new(tmp_path / "cache", filled) == (latents, texts)
    if change is another_null:
        assert float(found.embeds[-1].abs().max()) > 0, "the null is now the empty prompt's embedding"


def test_models_leave_memory_before_the_cache_is_handed_over(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[weakref.ref[Any]] = []
    real = cache.load_pipeline

    def watched(*arguments: Any, **named: Any) -> Any:
        assert [part() for part in loaded] == [None] * len(loaded), "text encoders are gone before the VAE comes"
        pipeline = real(*arguments, **named)
        parts = (pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2)
        loaded.extend(weakref.ref(part) for part in parts if part is not None)
        return pipeline

    monkeypatch.setattr(cache, "load_pipeline", watched)
    assert build(tmp_path, tiny_base).made == 7
    assert len(loaded) == 3
    assert [part() for part in loaded] == [None, None, None]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def one_number(path: Path) -> None:
    """A bit of the last number: the file is as long as before, and every loader takes it."""
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)
    load_file(str(path))


def without_checksum(path: Path) -> None:
    save_file(load_file(str(path)), str(path))


def numbers_of_another(path: Path) -> None:
    shutil.copyfile(max(path.parent.iterdir()), path)
    with safe_open(str(path), "pt") as handle:
        metadata = handle.metadata()
    save_file({name: tensor + 1 for name, tensor in load_file(str(path)).items()}, str(path), metadata=metadata)


def test_damaged_entries_are_made_again_and_no_others(
    filled: Path, tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(filled, tmp_path / "cache")
    good = {path: path.read_bytes() for path in (tmp_path / "cache").glob("*/*.safetensors")}
    latents, texts = (sorted((tmp_path / "cache" / kind).iterdir()) for kind in ("latents", "text"))
    for path, damage in ((latents[0], cut), (latents[1], one_number), (latents[2], numbers_of_another)):
        damage(path)
    texts[0].write_bytes(b"")
    without_checksum(texts[1])
    found = build(tmp_path / "cache", tiny_base)
    assert found.made == 5
    assert "re-encoding 5 cache entries" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in good} == good, "alone they come out as in any company"
    clean = build(tmp_path / "cache", tiny_base)
    assert clean.made == 0
    assert "damaged" not in capsys.readouterr().err
    for name in ("latents", "masked", "embeds", "pooled"):
        assert all(torch.equal(a, b) for a, b in zip(getattr(found, name), getattr(clean, name), strict=True)), name


def test_two_runs_that_make_the_same_entries_do_not_hurt_each_other(
    filled: Path, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other run starts and ends while this one, which has found nothing, loads its models."""
    real, others = cache.load_pipeline, []

    def overtaken(*arguments: Any, **named: Any) -> Any:
        if not others:
            others.append(None)
            others[0] = build(tmp_path, tiny_base)
        return real(*arguments, **named)

    monkeypatch.setattr(cache, "load_pipeline", overtaken)
    found = build(tmp_path, tiny_base)
    (other,) = others
    assert (found.made, other.made) == (7, 7)
    clean = build(filled, tiny_base)
    for examples in (found, other):  # the other's files were replaced under it
        assert torch.equal(examples.embeds, clean.embeds)
        assert all(torch.equal(a, b) for a, b in zip(examples.masked, clean.masked, strict=True))
    assert {path.name for path in (tmp_path / "latents").iterdir()} == {
        path.name for path in (filled / "latents").iterdir()
    }, "nothing half-written is left"


def test_every_byte_of_a_large_weight_file_counts(tiny_base: Path, tmp_path: Path) -> None:
    """A base is told by samples of its weights; a cache's key has to know all of them."""
    shutil.copytree(tiny_base, tmp_path / "base")
    (large,) = (tmp_path / "base" / "vae").glob("*.safetensors")
    save_file(load_file(large) | {"padding": torch.zeros(65 << 20, dtype=torch.uint8)}, large)
    base = resolve_base(str(tmp_path / "base"))
    before = cache.part_fingerprint(base, "vae"), cache.part_fingerprint(base, "text_encoder")
    with large.open("r+b") as handle:
        handle.seek(large.stat().st_size - (65 << 20) + (65 << 20) // 64 // 2)  # between two samples
        handle.write(b"1")
    assert cache.part_fingerprint(base, "vae") != before[0]
    assert cache.part_fingerprint(base, "text_encoder") == before[1]


def own_memory() -> int:
    """Bytes of memory this process has for itself: pages of mapped files, which the system may take back, left out."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found
    return int(found[1]) * 1024


def test_hundreds_of_entries_are_mapped_and_not_read(filled: Path, tiny_base: Path, tmp_path: Path) -> None:
    if not Path("/proc/self/status").is_file():
        pytest.skip("no /proc here")
    shutil.copytree(filled, tmp_path / "cache")
    entry = {"latents": (4, 128, 128), "masked": (4, 128, 128)} | dict.fromkeys(
        ("mask", "product", "ring"), (1, 128, 128)
    )
    rows = [replace(ROWS[0], seed=1000 + number) for number in range(300)]
    base = resolve_base(str(tiny_base))
    vae = cache.part_fingerprint(base, "vae")
    first = tmp_path / "entry.safetensors"
    write_entry(first, {name: torch.rand(shape) for name, shape in entry.items()})
    for row in rows:  # as large as SDXL's at 1024 px
        os.link(first, tmp_path / "cache" / "latents" / f"{cache._latent_key(row, vae, 8)}.safetensors")
    total = 300 * first.stat().st_size
    before = own_memory()
    found = build(tmp_path / "cache", tiny_base, rows)
    grown = own_memory() - before
    assert (found.made, len(found)) == (0, 300)
    assert total > 200_000_000
    assert grown < 0.05 * total, f"{grown / 2**20:.0f} of {total / 2**20:.0f} MiB"
    assert float(found.latents[299].mean()) == pytest.approx(0.5, abs=0.01)
