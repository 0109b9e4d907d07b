"""What the header of an adapter file may hold: Packshot's manifest, and the fields of the LoRA itself.

A file may come from anywhere, so its fields are models of our own. PEFT's configuration has some forty fields, of which
a few import and call code that a file names (`megatron_config`); only the five that Packshot uses ever reach it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from finetune.core.errors import AdapterError
from finetune.core.json_files import Document, parse_json, parse_object

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.]{1,200}$")]
"""Of a layer, or the end of one."""
PlainName = Annotated[str, Field(pattern=r"^[^/\\\x00]{1,255}$")]
"""Of a file beside the adapter: no path."""
IDLE: tuple[Any, ...] = (None, False, 0, "", "none", [], {})
"""Values by which PEFT's fields switch nothing on."""
DEFAULTS: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "task_type": (),
    "init_lora_weights": (True,),
    "megatron_core": ("megatron.core",),
    "qalora_group_size": (16,),
}
"""Values of further fields that a LoRA by PEFT (seen in 0.15 to 0.21) has without using what they are for."""


Fields = TypeVar("Fields", bound=BaseModel)


class LoraFields(BaseModel):
    """PEFT's LoraConfig as Packshot writes it."""

    model_config = ConfigDict(frozen=True, extra="allow")

    r: int = Field(ge=1, le=4096)
    lora_alpha: int | float = Field(gt=0, le=1e6)
    target_modules: tuple[Name, ...] = Field(min_length=1)
    use_rslora: bool = False
    use_dora: bool = False

    @model_validator(mode="after")
    def _nothing_else(self) -> LoraFields:
        for name, value in (self.model_extra or {}).items():
            if name == "peft_version" and isinstance(value, str):
                continue
            if not any(value == idle and type(value) is type(idle) for idle in (*IDLE, 0.0, *DEFAULTS.get(name, ()))):
                raise ValueError(f"'{name[:60]}' is set, which Packshot does not use")
        return self

    def used(self) -> dict[str, Any]:
        """The fields that are used, as plain values."""
        return {
            "r": self.r,
            "lora_alpha": self.lora_alpha,
            "target_modules": list(self.target_modules),
            "use_rslora": self.use_rslora,
            "use_dora": self.use_dora,
        }


class Alphas(Document):
    """What the configuration beside another trainer's LoRA says of its scale."""

    lora_alpha: float
    use_rslora: bool = False
    alpha_pattern: dict[Annotated[str, Field(pattern=r"^[\w.^$\\]{1,200}$")], float] | None = None
    """By ends of layers' names; PEFT reads them as regular expressions, so none that can take for ever are allowed."""


class _Base(Document):
    model: str
    revision: str = ""
    fingerprint: str = ""
    channels: int = 0


class _Tokens(Document):
    file: PlainName
    token: str
    count: int
    content: str


class _Parent(Document):
    name: str
    version: str
    fingerprint: str


class _TrainPart(Document):
    steps: int


class _DataPart(Document):
    mask_shares: dict[str, float] | None = None


class _Config(Document):
    train: _TrainPart | None = None
    data: _DataPart | None = None


class _WholeBase(_Base):
    prediction_type: str


class _WholeTrainPart(_TrainPart):
    batch: int
    accumulation: int
    learning_rate: float
    schedule: str
    warmup: int
    optimizer: str
    max_grad_norm: float
    seed: int


class _WholeDataPart(_DataPart):
    size: int


class _ObjectivePart(Document):
    snr_gamma: float
    caption_dropout: float


class _WholeConfig(_Config):
    train: _WholeTrainPart
    data: _WholeDataPart
    objective: _ObjectivePart
    memory: dict[str, Any]
    adapter: dict[str, Any]


class Manifest(Document):
    """The parts of a manifest that are read wherever an adapter is used; a file may lack some."""

    sku: str | None = None
    fingerprint: str | None = None
    base: _Base | None = None
    objective: str | None = None
    modules: int | None = None
    init_from: _Parent | None = None
    config: _Config | None = None
    tokens: _Tokens | None = Field(default=None, alias="token_embeddings")


class WholeManifest(Manifest):
    """A manifest as training writes it."""

    sku: str
    base: _WholeBase
    kind: str
    class_noun: str
    token: str
    tool: str
    objective: str
    modules: int
    config: _WholeConfig


def read_lora_fields(text: str, name: str, hint: str, *, prefix: str) -> dict[str, Any]:
    """The used fields of a `lora_adapter_metadata` entry.

    Args:
        text: the entry.
        name: of the file, for messages.
        hint: the cure.
        prefix: of the entry's keys.

    Raises:
        AdapterError: it is damaged, or uses more than Packshot writes.
    """
    what = f"the LoRA's fields in {name}"
    entries = parse_object(text, AdapterError, what=what, hint=hint)
    plain = {key.removeprefix(prefix): value for key, value in entries.items()}
    return checked(plain, LoraFields, what, hint).used()


def checked(values: dict[str, Any], model: type[Fields], what: str, hint: str) -> Fields:
    """Values that were read already as a model; errors as for `parse_object`."""
    return parse_json(json.dumps(values), model, AdapterError, what=what, hint=hint)


def read_manifest(text: str, path: Path, hint: str) -> dict[str, Any]:
    """A `packshot_manifest` entry as the mapping it holds.

    Args:
        text: the entry.
        path: of the file.
        hint: the cure.

    Raises:
        AdapterError: it is damaged.
    """
    return parse_object(text, AdapterError, shape=Manifest, what=f"the manifest in {path.name}", hint=hint)


def require_whole(manifest: dict[str, Any], path: Path, hint: str) -> None:
    """Check that a manifest has every part that training writes.

    Raises:
        AdapterError: one is missing.
    """
    checked(manifest, WholeManifest, f"the manifest in {path}", hint)
