# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of `tools/sample_sets` that the world is built with, imported from where they lie.

Those modules import one another by bare names, as scripts do; this module makes that possible.
It needs Blender's module `bpy`; only the modules that render import it.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "sample_sets"))

import bpy  # type: ignore[import-not-found]
import labels  # type: ignore[import-not-found]
import products  # type: ignore[import-not-found]
import shapes  # type: ignore[import-not-found]
import studio  # type: ignore[import-not-found]
import surfaces  # type: ignore[import-not-found]
from mathutils import Vector  # type: ignore[import-not-found]

__all__ = ["Vector", "bpy", "labels", "products", "shapes", "studio", "surfaces"]
