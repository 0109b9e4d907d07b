"""Does an adapter that starts from its category's need fewer steps? Both ways trained, held to one measure.

    python -m benchmarks.settings.init_from --workspace DIR --category NAME --member SKU

DIR holds the sets (and gets runs and adapters): a category set, and a product that is none of its members. The
category's adapter is trained by `packshot train`, then the member's twice, from nothing and from the category's, with
the same settings and seeds. The measure is training's own validation loss: the member's held-out examples, the same
noise at the same timesteps every time. Prints both curves and how many steps each way needs to the loss at which
training from nothing ends. A second call with nothing changed trains nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from finetune.core.console import quiet_libraries, say
from finetune.core.errors import ConfigError, RunError

Curve = list[tuple[int, float]]
"""(step, validation loss), in order; step 0 is before training."""


def trained(workspace: Path, sku: str, settings: list[str]) -> tuple[dict[str, Any], Curve]:
    """Train by command, or find it trained: the adapter's manifest, and the validation curve of its run.

    Raises:
        RunError: the command failed.
    """
    options = [part for item in settings for part in ("--set", item)]
    line = ["train", sku, "--config", "embedded", *options, "--workspace", str(workspace), "--json"]
    command = [sys.executable, "-P", "-m", "finetune.core.commands", *line]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"NO_COLOR": "1"}, check=False)
    if done.returncode:
        raise RunError(f"training {sku} failed with code {done.returncode}", "see what it said above")
    version = json.loads(done.stdout)["version"]
    folder = workspace / "adapters" / sku / version
    manifest = json.loads((folder / "adapter.json").read_text(encoding="utf-8"))
    records = workspace / "runs" / sku / manifest["training"]["run"] / "validation.jsonl"
    curve = [(e["step"], e["loss"]) for e in map(json.loads, records.read_text(encoding="utf-8").splitlines())]
    return manifest, curve


def steps_to(curve: Curve, loss: float) -> float:
    """Steps after which a curve has come down to `loss`, between two validations in a straight line; inf for never.

    Step 0 counts the base alone, whatever the adapter starts from, and is no point of the way.
    """
    after = [(step, value) for step, value in curve if step]
    for index, (step, value) in enumerate(after):
        if value > loss:
            continue
        if index == 0:
            return float(step)
        before, higher = after[index - 1]
        return before + (step - before) * (higher - loss) / (higher - value)
    return float("inf")


def format_table(scratch: Curve, begun: Curve) -> str:
    """Both curves and what they come to, as Markdown."""
    other = dict(begun)
    lines = ["| step | from nothing | from the category's adapter |", "|---|---|---|"]
    lines += [f"| {step or 'base alone'} | {loss:.5f} | {other[step]:.5f} |" for step, loss in scratch]
    goal = min(loss for step, loss in scratch if step)
    needed = [steps_to(curve, goal) for curve in (scratch, begun)]
    shown = ["never" if steps == float("inf") else f"{steps:.0f}" for steps in needed]
    lines += [f"| steps to {goal:.5f}, the best from nothing | {shown[0]} | {shown[1]} |"]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Train the three adapters and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, required=True, metavar="DIR")
    parser.add_argument("--category", required=True, metavar="NAME")
    parser.add_argument("--member", required=True, metavar="SKU")
    parser.add_argument("--steps", type=int, default=120, help="of each training (default 120)")
    parser.add_argument("--every", type=int, default=10, help="steps between validations (default 10)")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="of training")
    options = parser.parse_args(arguments)
    quiet_libraries()
    from finetune.core.products.catalog import Workspace, load_set
    from finetune.dataset.sources import members_of

    place = Workspace(options.workspace)
    if options.member in (member.sku for member in members_of(place, load_set(place, options.category))):
        raise ConfigError(f"'{options.member}' is a member of '{options.category}', whose adapter has seen it")
    plain = [f"train.steps={options.steps}", "validation.choose=last", *options.settings]
    say(f"adapter of the category '{options.category}':")
    trained(options.workspace, options.category, [*plain, f"validation.every={options.steps}"])
    watched = [*plain, f"validation.every={options.every}"]
    say(f"'{options.member}' from nothing:")
    _, scratch = trained(options.workspace, options.member, watched)
    say(f"'{options.member}' from the adapter of '{options.category}':")
    _, begun = trained(options.workspace, options.member, [*watched, f"adapter.init_from={options.category}"])
    print(format_table(scratch, begun))


if __name__ == "__main__":
    main()
