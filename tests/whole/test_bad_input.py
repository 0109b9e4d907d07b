"""Bad input through the real command line: one `Error:` line with a hint, the right exit code, nothing half-written."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from drawn_products import draw_bottle, write_set
from PIL import Image

from finetune.core.commands import main

Damage = Callable[[Path], None]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def check_error(result: Result, code: int, *parts: str) -> None:
    assert result.exit_code == code, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.output
    assert any(line.startswith("hint: ") for line in result.stderr.splitlines()), result.stderr
    for part in parts:
        assert part in result.stderr, result.stderr


LOCK = {".cache", ".cache/locks", ".cache/locks/x1.lock"}
"""The empty file by which commands on one SKU respect each other; it stays."""


def files_of(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*")} - LOCK


def bomb(path: Path) -> None:
    """A PNG whose header claims 60,000 x 60,000 pixels."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))


def text_file(path: Path) -> None:
    path.with_suffix(".jpg").write_text("this is no picture", encoding="utf-8")
    path.unlink()


def truncated(path: Path) -> None:
    draw_bottle().save(path.with_suffix(".jpg"))
    path.unlink()
    data = path.with_suffix(".jpg").read_bytes()
    path.with_suffix(".jpg").write_bytes(data[: len(data) // 2])


def one_pixel(path: Path) -> None:
    Image.new("RGB", (1, 1)).save(path)


def wrong_mask(path: Path) -> None:
    masks = path.parent.parent / "masks"
    masks.mkdir()
    Image.new("L", (50, 60), 255).save(masks / path.name)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (text_file, "is not a picture"),
        (truncated, "truncated"),
        (one_pixel, "1x1 pixels"),
        (bomb, "megapixels"),
        (wrong_mask, "50x60"),
    ],
    ids=["text", "truncated", "one-pixel", "bomb", "mask-size"],
)
def test_a_bad_only_photo(tmp_path: Path, damage: Damage, said: str) -> None:
    folder = write_set(tmp_path, "x1", {"only": draw_bottle()})
    damage(folder / "photos" / "only.png")
    before = files_of(tmp_path)
    check_error(run("prepare", "x1", "--workspace", str(tmp_path), "--config", "embedded"), 1, said)
    assert files_of(tmp_path) == before


def test_good_photos_go_on_beside_a_bad_one(tmp_path: Path) -> None:
    folder = write_set(tmp_path, "x1", {"good": draw_bottle(), "bad": draw_bottle()})
    text_file(folder / "photos" / "bad.png")
    result = run("prepare", "x1", "--workspace", str(tmp_path), "--config", "embedded", "--set", "data.variants=2")
    assert result.exit_code == 0, result.output
    assert "bad.jpg is not a picture" in result.stderr


@pytest.mark.parametrize("command", ["prepare", "train", "place", "evaluate"])
@pytest.mark.parametrize("sku", ["nowhere", "a/b", "..", "../x"])
def test_unknown_and_impossible_skus(tmp_path: Path, command: str, sku: str) -> None:
    write_set(tmp_path, "bottle01", {"front": draw_bottle()})
    extra = ["--prompt", "on marble"] if command == "place" else []
    before = files_of(tmp_path)
    check_error(run(command, sku, "--workspace", str(tmp_path), *extra), 1, sku)
    assert files_of(tmp_path) == before


def test_empty_photos_and_misspelt_set(tmp_path: Path) -> None:
    write_set(tmp_path, "empty", {})
    check_error(run("prepare", "empty", "--workspace", str(tmp_path)), 1, "holds no picture")
    write_set(tmp_path, "typo", {"a": draw_bottle()}, lable_text=["x"])
    check_error(
        run("prepare", "typo", "--workspace", str(tmp_path)),
        1,
        "unknown key 'lable_text'",
        "did you mean 'label_text'?",
    )


@pytest.mark.parametrize("command", ["prepare", "train"])
def test_misspelt_config(tmp_path: Path, command: str) -> None:
    write_set(tmp_path, "bottle01", {"front": draw_bottle()})
    config = tmp_path / "my.yaml"
    config.write_text("train:\n  stepps: 5\n", encoding="utf-8")
    before = files_of(tmp_path)
    result = run(command, "bottle01", "--config", str(config), "--workspace", str(tmp_path))
    check_error(result, 1, "unknown key 'train.stepps'", "did you mean 'train.steps'?")
    assert files_of(tmp_path) == before


def test_base_not_on_disk_is_said_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    write_set(tmp_path, "bottle01", {"front": draw_bottle()})
    before = files_of(tmp_path)
    check_error(
        run("train", "bottle01", "--config", "sdxl-12gb", "--workspace", str(tmp_path)),
        1,
        "is not on disk",
        "hf download",
    )
    assert files_of(tmp_path) == before


def test_usage_errors_exit_with_two(tmp_path: Path) -> None:
    assert run("place", "bottle01", "--workspace", str(tmp_path)).exit_code == 2
    assert run("train").exit_code == 2
    misspelt = run("prepair", "x")
    assert misspelt.exit_code == 2
    assert "did you mean 'prepare'?" in misspelt.stderr


def test_place_before_train(tmp_path: Path) -> None:
    write_set(tmp_path, "bottle01", {"front": draw_bottle()})
    before = files_of(tmp_path)
    result = run("place", "bottle01", "--prompt", "on marble", "--workspace", str(tmp_path))
    check_error(result, 1, "run: packshot")
    assert files_of(tmp_path) == before
