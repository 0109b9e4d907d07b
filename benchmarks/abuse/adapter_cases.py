"""Adapter files: headers that lie, fields that Packshot never writes, files of other programs that are damaged."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.abuse import spoilers
from benchmarks.abuse.runner import Case, Expected
from benchmarks.abuse.template import PROMPT, SKU

FILE = f"adapters/{SKU}/0002/adapter.safetensors"
SHOW, LIST = ("adapters", "show", SKU, "2"), ("adapters", "list")
VERIFY = ("adapters", "verify", SKU, "2")
EXPORT = ("adapters", "export", SKU, "--version", "2", "--format", "kohya", "--output", "o.safetensors")
DRAW = ("place", SKU, "--prompt", PROMPT, "--adapter", "other.safetensors", "--base", "embedded")
FIELDS, MANIFEST = "lora_adapter_metadata", "packshot_manifest"
Header = dict[str, Any]


def adapter_cases(template: Path, rng: random.Random) -> Iterator[Case]:
    """Packshot's own file, spoiled."""
    whole = (template / FILE).read_bytes()
    for name, data in _files(whole, rng).items():
        for arguments in (SHOW, LIST):
            yield Case("adapter files", name, _write(FILE, data), arguments, "error")
    for name, change in _headers(whole).items():
        data = _changed(whole, change)
        for arguments in (SHOW, VERIFY):
            yield Case("adapter headers", name, _write(FILE, data), arguments, "error")
    for name, change in _fields(rng).items():
        yield Case("adapter headers", name, _write(FILE, _changed(whole, change)), SHOW, "either")
    manifest = json.loads(_header(whole)[0]["__metadata__"][MANIFEST])
    for turn, (name, changed) in enumerate(spoilers.value_changes(manifest, rng, 90).items()):
        data = _changed(whole, _entry(MANIFEST, json.dumps(changed)))
        arguments = (SHOW, VERIFY, EXPORT, LIST, ("evaluate", SKU, "--adapter", "2"), DRAW)[turn % 5]
        yield Case("adapter headers", f"manifest: {name}", _write(FILE, data), arguments, "either")


def _write(path: str, data: bytes) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        (root / path).write_bytes(data)

    return change


def _header(data: bytes) -> tuple[Header, bytes]:
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def _joined(header: bytes, body: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + body


def _changed(data: bytes, change: Callable[[Header], None]) -> bytes:
    header, body = _header(data)
    change(header)
    return _joined(json.dumps(header).encode(), body)


def _files(whole: bytes, rng: random.Random) -> dict[str, bytes]:
    """Files that are none."""
    found = {f"holds {name}": data for name, data in spoilers.TEXTS.items()}
    for share in (0.1, 0.3, 0.5, 0.7, 0.9, 0.99):
        found[f"is cut at {share:.0%}"] = whole[: int(len(whole) * share)]
    for length in (0, 1, 7, 10**6, 2**31, 2**63 - 1, 2**64 - 1):
        found[f"says its header has {length} bytes"] = struct.pack("<Q", length) + whole[8:]
    deep = {"lists": b"[" * 20_000 + b"]" * 20_000, "objects": b'{"a":' * 20_000 + b"1" + b"}" * 20_000}
    found |= {f"has a header of {name} nested 20,000 deep": _joined(data, b"") for name, data in deep.items()}
    found["is a pickle"] = b"PK\x03\x04" + bytes(100)
    found["has more bytes than it says"] = whole + bytes(64)
    for turn in range(4):
        data = bytearray(whole[:4000])
        data[rng.randrange(8, 3000)] ^= 0xFF
        found[f"has a changed byte and an early end, {turn}"] = bytes(data)
    return found


def _first(header: Header) -> Header:
    entry: Header = header[sorted(name for name in header if name != "__metadata__")[0]]
    return entry


def _headers(whole: bytes) -> dict[str, Callable[[Header], None]]:
    """Headers that say what is not so."""
    tensors = {
        "offsets turned round": lambda e: e["data_offsets"].reverse(),
        "negative offsets": lambda e: e.update(data_offsets=[-8, 8]),
        "offsets beyond the end": lambda e: e.update(data_offsets=[10**12, 10**12 + 8]),
        "huge offsets": lambda e: e.update(data_offsets=[2**70, 2**71]),
        "one offset": lambda e: e.update(data_offsets=[0]),
        "another dtype": lambda e: e.update(dtype="F64"),
        "an unknown dtype": lambda e: e.update(dtype="Q4"),
        "a shape turned round": lambda e: e.update(shape=e["shape"][::-1]),
        "a huge shape": lambda e: e.update(shape=[2**40, 2**40]),
        "a negative shape": lambda e: e.update(shape=[-1, 4]),
        "no shape": lambda e: e.pop("shape"),
        "a shape of words": lambda e: e.update(shape=["a"]),
    }

    def on_first(change: Callable[[Header], Any]) -> Callable[[Header], None]:
        return lambda header: change(_first(header)) and None

    found: dict[str, Callable[[Header], None]] = {name: on_first(change) for name, change in tensors.items()}
    found |= {
        "no metadata": lambda h: h.pop("__metadata__") and None,
        "metadata that is a list": lambda h: h.update(__metadata__=[]),
        "metadata with a number": lambda h: h["__metadata__"].update({FIELDS: 3}),
        "no LoRA fields": lambda h: h["__metadata__"].pop(FIELDS) and None,
        "a missing tensor": lambda h: h.pop(sorted(h)[1]) and None,
        "a renamed tensor": lambda h: h.update({"unet.other.lora_A.weight": h.pop(sorted(h)[1])}),
    }
    for key in (FIELDS, MANIFEST):
        for name in ("null", "a list", "a number", "empty", "lists nested 20,000 deep", "objects nested 20,000 deep"):
            found[f"{key} is {name}"] = _entry(key, spoilers.TEXTS[name].decode())
    hostile: dict[str, Any] = {
        "megatron_config": {"tensor_model_parallel_size": 2},
        "megatron_core": "os",
        "r": 0,
        "rank_pattern": {"to_k": 64},
        "alpha_pattern": {"(a+)+$": 3},
        "target_modules": "(a+)+$",
        "modules_to_save": ["conv_in"],
        "layer_replication": [[0, 4]],
        "loftq_config": {"bits": 4},
        "init_lora_weights": "pissa",
        "trainable_token_indices": [1, 2],
        "use_dora": True,
        "lora_alpha": float("nan"),
        "eva_config": {"rho": 2.0},
        "bias": "all",
        "fan_in_fan_out": True,
        "lora_dropout": 0.5,
        "unheard_of": {"run": "rm"},
    }
    return found | {f"LoRA field {name} is {value!r}": _field(name, value) for name, value in hostile.items()}


def _entry(key: str, text: str) -> Callable[[Header], None]:
    return lambda header: header["__metadata__"].update({key: text})


def _field(name: str, value: Any) -> Callable[[Header], None]:
    def change(header: Header) -> None:
        own = json.loads(header["__metadata__"][FIELDS])
        header["__metadata__"][FIELDS] = json.dumps(own | {f"unet.{name}": value})

    return change


def _fields(rng: random.Random) -> dict[str, Callable[[Header], None]]:
    """Odd values of the fields in use."""
    found = {}
    for name in ("r", "lora_alpha", "target_modules", "use_rslora", "use_dora", "rank_pattern"):
        for kind in rng.sample(sorted(spoilers.VALUES), 6):
            found[f"LoRA field {name} is {kind}"] = _field(name, spoilers.VALUES[kind])
    return found


def _tensors(shapes: dict[str, tuple[int, ...]], metadata: dict[str, str] | None = None) -> bytes:
    """A safetensors file of zeros."""
    header: Header = {"__metadata__": metadata} if metadata else {}
    place = 0
    for name, shape in shapes.items():
        size = 4
        for side in shape:
            size *= side
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [place, place + size]}
        place += size
    return _joined(json.dumps(header).encode(), bytes(place))


def foreign_cases(rng: random.Random) -> Iterator[Case]:
    """LoRA files of other programs, damaged or of a kind that is not read."""
    layer = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
    pair: dict[str, tuple[int, ...]] = {f"{layer}.lora_down.weight": (4, 128), f"{layer}.lora_up.weight": (128, 4)}
    files: dict[str, dict[str, tuple[int, ...]]] = {
        "without its second matrix": {f"{layer}.lora_down.weight": (4, 128)},
        "with scalars for matrices": dict.fromkeys(pair, ()),
        "with one-dimensional matrices": dict.fromkeys(pair, (4,)),
        "with empty matrices": dict.fromkeys(pair, (0, 0)),
        "with an alpha of three numbers": pair | {f"{layer}.alpha": (3,)},
        "with a scalar magnitude": pair | {f"{layer}.dora_scale": ()},
        "of GLoRA": {f"{layer}.a1.weight": (4, 4), f"{layer}.b1.weight": (4, 4)},
        "of LoHa": {f"{layer}.hada_w1_a": (4, 4), f"{layer}.hada_w1_b": (4, 4)},
        "of text encoders alone": {"lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": (4, 8)},
        "of token embeddings": {"clip_l": (2, 768), "clip_g": (2, 1280)},
        "of a whole UNet": {"model.diffusion_model.input_blocks.0.0.weight": (8, 4, 3, 3)},
        "with differences": {f"{layer}.diff": (4, 4)},
        "with no tensor": {},
        "with names of 5,000 signs": {spoilers.LONG: (1,)},
        "with a name of newlines": {"a\nError: b.lora_down.weight": (4, 4)},
        "with layers of no base": {
            "lora_unet_nowhere.lora_down.weight": (4, 8),
            "lora_unet_nowhere.lora_up.weight": (8, 4),
        },
        "with matrices that do not fit": {f"{layer}.lora_down.weight": (4, 7), f"{layer}.lora_up.weight": (9, 4)},
        "with ranks that differ": {f"{layer}.lora_down.weight": (4, 128), f"{layer}.lora_up.weight": (128, 3)},
    }
    for name, shapes in files.items():
        yield Case("foreign LoRA", name, _write("other.safetensors", _tensors(shapes)), DRAW)
    for name, data in spoilers.TEXTS.items():
        yield Case("foreign LoRA", f"is {name}", _write("other.safetensors", data), DRAW)
        file = _tensors(pair, {MANIFEST: data.decode(errors="replace")})
        yield Case(
            "foreign LoRA", f"carries a manifest that is {name}", _write("other.safetensors", file), DRAW, "either"
        )
        peft = _tensors({f"base_model.model.x.lora_{half}.weight": (4, 4) for half in "AB"})
        yield Case(
            "foreign LoRA", f"has beside it a configuration that is {name}", _beside(peft, data), DRAW, _sure(name)
        )


def _sure(name: str) -> Expected:
    return "either" if name in ("two documents",) else "error"


def _beside(file: bytes, config: bytes) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        (root / "other.safetensors").write_bytes(file)
        (root / "adapter_config.json").write_bytes(config)

    return change
