"""Resolve constraints.txt again, over all extras at once (`make constraints`); nothing is written on failure."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TORCH = "torch==2.13.0"


def resolve() -> dict[str, str]:
    """Versions pip would install for Packshot with every extra, by normalised name."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
        command += ["--report", str(report), TORCH, f"{ROOT}[{','.join(extras)}]"]
        subprocess.run(command, check=True)
        found = json.loads(report.read_text())["install"]
    versions = {}
    for item in found:
        name = re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower()
        versions[name] = item["metadata"]["version"].split("+")[0]
    versions.pop("packshot")
    return versions


def main() -> None:
    path = ROOT / "constraints.txt"
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    pins = [f"{name}=={version}" for name, version in sorted(resolve().items())]
    path.write_text("\n".join([*header, *pins]) + "\n")
    print(f"{len(pins)} pins in {path.name}")


if __name__ == "__main__":
    main()
