"""The peer: rembg with the model u2netp, as its users run it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from finetune.core.console import say

MODEL = "u2netp.onnx"


def open_peer(folder: Path | None) -> Callable[[Image.Image], Image.Image] | None:
    """Open rembg's `remove` on one thread: RGB picture -> RGBA of the same size.

    Args:
        folder: of u2netp.onnx; rembg's own folder if None. Nothing is downloaded.

    Returns:
        None without rembg or its model; the reason is printed on stderr.
    """
    folder = folder or Path(os.environ.get("U2NET_HOME", Path.home() / ".u2net"))
    if not (folder / MODEL).is_file():
        say(f"no peer: {folder} has no {MODEL} (--model-dir DIR)")
        return None
    os.environ["U2NET_HOME"] = str(folder)
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        from rembg import new_session, remove
    except (ImportError, SystemExit):  # rembg exits where onnxruntime is missing
        say("no peer: rembg is not installed (extra `cutout`)")
        return None
    session = new_session("u2netp", providers=["CPUExecutionProvider"])

    def cut(picture: Image.Image) -> Image.Image:
        result = remove(picture, session=session)
        assert isinstance(result, Image.Image)
        return result.convert("RGBA")

    return cut
