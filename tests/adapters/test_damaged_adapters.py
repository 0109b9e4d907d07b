"""Adapter files with damaged or hostile headers: one line each, and none of PEFT's other fields reaches PEFT."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from published_adapters import published

from finetune.core.adapters.file import METADATA_KEY, WEIGHTS, read_header
from finetune.core.adapters.versions import find_version, list_versions
from finetune.core.basemodel.resolve import ResolvedBase, resolve_base
from finetune.core.commands import main
from finetune.core.errors import AdapterError
from finetune.core.products.catalog import Workspace

pytestmark = pytest.mark.tiny


@pytest.fixture(scope="module")
def base(tiny_base: Path) -> ResolvedBase:
    return resolve_base(str(tiny_base))


@pytest.fixture(scope="module")
def made(base: ResolvedBase, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with two versions, for copying."""
    root = tmp_path_factory.mktemp("made")
    for _ in range(2):
        published(Workspace(root), base)
    return root


@pytest.fixture
def shop(made: Path, tmp_path: Path) -> Workspace:
    """A workspace with two versions."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return Workspace(tmp_path)


def rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the entries of a file's header."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    entries = json.loads(data[8 : 8 + length])
    change(entries)
    header = json.dumps(entries).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + length :])


def fields(**values: Any) -> Callable[[dict[str, Any]], None]:
    """A change of the LoRA's fields."""

    def change(entries: dict[str, Any]) -> None:
        own = json.loads(entries["__metadata__"][METADATA_KEY])
        entries["__metadata__"][METADATA_KEY] = json.dumps(own | {f"unet.{key}": v for key, v in values.items()})

    return change


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"megatron_config": {"a": 1}}, "'megatron_config' is set"),
        ({"megatron_core": "os"}, "'megatron_core' is set"),
        ({"r": 0}, "r: Input should be greater"),
        ({"r": 8}, "which is not rank 8"),
        ({"r": "x"}, "r: Input should be a valid integer"),
        ({"target_modules": ["a.*"]}, "target_modules.0: String should match"),
        ({"target_modules": "all-linear"}, "target_modules: Input should be a valid"),
        ({"rank_pattern": {"to_k": 99}}, "'rank_pattern' is set"),
        ({"trainable_token_indices": [1]}, "'trainable_token_indices' is set"),
        ({"use_dora": True}, "tensors are missing"),
    ],
)
def test_fields_that_packshot_never_writes_are_refused(shop: Workspace, values: dict[str, Any], message: str) -> None:
    path = shop.adapters / "bottle01" / "0001" / WEIGHTS
    rewrite(path, fields(**values))
    with pytest.raises(AdapterError, match=message) as caught:
        read_header(path)
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_only_the_fields_in_use_are_kept(shop: Workspace) -> None:
    assert set(find_version(shop, "bottle01").adapter.lora_config) == {  # type: ignore[union-attr]  # our own file
        "r",
        "lora_alpha",
        "target_modules",
        "use_rslora",
        "use_dora",
    }


def swap_offsets(entries: dict[str, Any]) -> None:
    first = next(name for name in entries if name != "__metadata__")
    entries[first]["data_offsets"].reverse()


def turn_shapes(entries: dict[str, Any]) -> None:
    for name, entry in entries.items():
        if name.endswith("lora_A.weight"):
            entry["shape"] = entry["shape"][::-1]


@pytest.mark.parametrize("change", [swap_offsets, turn_shapes])
def test_headers_that_lie_are_one_line(shop: Workspace, change: Callable[[dict[str, Any]], None]) -> None:
    path = shop.adapters / "bottle01" / "0001" / WEIGHTS
    rewrite(path, change)
    with pytest.raises(AdapterError, match="is damaged"):
        read_header(path)


def test_a_header_nested_20000_deep_is_one_line(tmp_path: Path) -> None:
    header = b'{"a":' * 20_000 + b"1" + b"}" * 20_000
    path = tmp_path / WEIGHTS
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(AdapterError, match="is damaged, or not a safetensors file"):
        read_header(path)


def test_one_damaged_version_hides_no_other(shop: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    (shop.adapters / "bottle01" / "0002" / "fidelity.json").write_text("{}", encoding="utf-8")
    (shop.adapters / "of another program" / "0001").mkdir(parents=True)
    path = shop.adapters / "bottle01" / "0001" / WEIGHTS
    path.write_bytes(path.read_bytes()[:100])
    assert find_version(shop, "bottle01").number == "0002"
    assert [version.number for version in list_versions(shop, "bottle01")] == ["0002"]
    assert f"passing over a version of 'bottle01': {path} is damaged" in capsys.readouterr().err
    result = CliRunner().invoke(main, ["adapters", "list", "--workspace", str(shop.root)])
    assert result.exit_code == 1
    assert "bottle01             0002" in result.stdout
    assert "damaged report" in result.stdout
    assert result.stderr.count(f"Error: {path} is damaged, or not a safetensors file") == 1
    assert "hint: train it again" in result.stderr
