"""What is installed here: the versions that manifests, fingerprints and reports record."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib import metadata

PACKAGES = (
    "packshot",
    "torch",
    "diffusers",
    "transformers",
    "peft",
    "accelerate",
    "bitsandbytes",
    "datasets",
    "safetensors",
    "Pillow",
    "numpy",
)
"""Packages that a run's numbers depend on."""


def version_of(package: str) -> str:
    """Version of an installed distribution; empty if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def tool() -> str:
    """Name and version of the Packshot that is at work, for example `packshot 0.1.0`."""
    return f"packshot {version_of('packshot')}"


def environment(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Versions of Python and of packages by name (`not installed` where missing), and the kind of machine."""
    found = {"python": platform.python_version(), "platform": f"{platform.system()}-{platform.machine()}"}
    return found | {name: version_of(name) or "not installed" for name in packages}
