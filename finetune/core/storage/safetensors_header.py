"""What a safetensors file holds, read without its tensors and without torch."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open


@dataclass(frozen=True)
class SafetensorsHeader:
    """Names and shapes of a file's tensors, and the text entries beside them."""

    shapes: dict[str, tuple[int, ...]]
    metadata: dict[str, str]
    dtypes: tuple[str, ...] = ()
    """Kinds of numbers in it by safetensors' names (`F16`), the one of most tensors first."""


class UnreadableHeader(ValueError):
    """A file is not in the safetensors format, or its size is not the one its header asks for."""

    def __init__(self, *, cut: bool) -> None:
        super().__init__("size and header differ" if cut else "not a safetensors file")
        self.cut = cut
        """Whether the header is sound and the file has another size, as after a download that broke off."""


def read_safetensors_header(path: Path) -> SafetensorsHeader:
    """Read a file's header; safetensors holds it against the file's size and each tensor's dtype and shape.

    Raises:
        UnreadableHeader: It is none, or does not describe this file.
        OSError: The file is missing, or may not be read.
    """
    try:
        with safe_open(str(path), framework="np") as handle:
            slices = {name: handle.get_slice(name) for name in handle.keys()}  # noqa: SIM118
            shapes = {name: tuple(each.get_shape()) for name, each in slices.items()}
            dtypes = Counter(str(each.get_dtype()) for each in slices.values())
            ordered = tuple(name for name, _ in dtypes.most_common())
            return SafetensorsHeader(shapes, dict(handle.metadata() or {}), ordered)
    except SafetensorError as error:
        raise UnreadableHeader(cut="not fully covered" in str(error)) from error
