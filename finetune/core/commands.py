"""The command table and the one Click group behind `packshot`.

The table maps each command to "module:attribute" and is the only place that names both sides; a module is imported
when its command runs, so `packshot --help` imports neither torch nor the sides. The group turns a `PackshotError`
into `Error: ...` and `hint: ...` on stderr.
"""

from __future__ import annotations

import errno
import importlib
import io
import json
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any, TypeVar

import click

from finetune.core import console
from finetune.core.errors import PackshotError, did_you_mean

# command -> (module:attribute, one line for `packshot --help`)
COMMANDS: dict[str, tuple[str, str]] = {
    "doctor": (
        "finetune.cli.training:doctor",
        "What this machine can do: GPU, memory, versions, bases found offline.",
    ),
    "prepare": (
        "finetune.cli.training:prepare",
        "Photos -> prepared set: cutouts, mattes, captions, training examples.",
    ),
    "check": (
        "finetune.cli.check:check",
        "Check the photos without preparing them: what is wrong, why it matters, what to do.",
    ),
    "cutout": (
        "finetune.cli.cutout:cutout",
        "Cutouts as files for people: transparent PNG, or JPEG on white or another colour.",
    ),
    "plan": (
        "finetune.cli.plan:plan",
        "Memory that training needs, by component, and the fastest settings that fit.",
    ),
    "train": ("finetune.cli.training:train", "Prepared set -> adapter version (resumes by itself after a crash)."),
    "adapters": (
        "finetune.cli.adapters:adapters",
        "List, show, verify, export, promote and roll back adapter versions.",
    ),
    "place": ("inference.cli.place:place", "Adapter + cutout -> scenes that keep the product's own pixels."),
    "plates": ("inference.cli.plates:plates", "List the gallery of scenes that `place --plate` puts a product into."),
    "evaluate": ("inference.cli.evaluate:evaluate", "Fidelity report of an adapter; exit 3 when the gate is not met."),
    "verify": ("inference.cli.place:verify", "Check that a picture is still what its manifest says."),
    "cache": ("finetune.cli.cache:cache", "Size of the workspace's cache, by kind; clear it."),
    "nightly": (
        "finetune.cli.training:nightly",
        "Retrain what is stale, evaluate it, promote what meets the gate, report.",
    ),
    "config": ("finetune.cli.training:config", "Show or check the resolved configuration, every problem at once."),
}

SUBCOMMANDS = {
    *COMMANDS,
    "list",
    "show",
    "verify",
    "export",
    "promote",
    "rollback",
    "delete",
    "prune",
    "check",
    "clear",
}
"""Names of commands and of the commands in their groups."""

ERROR_FILE = "PACKSHOT_ERROR_FILE"
"""Environment variable by which a program that runs a command names a file for its error, as JSON."""
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""System errors that any command may meet wherever it writes; all others are mapped where they arise."""
NO_RIGHTS = (errno.EACCES, errno.EPERM, errno.EROFS)
LONGEST_MESSAGE = 2000
LONGEST_PATH = 200
"""Characters of a path that a message shows."""
Function = TypeVar("Function", bound=Callable[..., Any])


class PackshotGroup(click.Group):
    """Loads commands from the table when they are asked for, and prints errors in one form."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table, which is the order of the work."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command; None when it is not in the table."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As Click does, with a suggestion for a misspelt command."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            if suggestion := did_you_mean(args[0], COMMANDS):
                raise click.UsageError(f"{error.message}\nhint: {suggestion}", ctx) from error
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table, importing none of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; a PackshotError becomes two lines on stderr and its exit code."""
        console.quiet_libraries()
        try:
            return super().invoke(ctx)
        except PackshotError as error:
            if _wants_traceback(sys.argv):
                raise
            if console.is_main_process() or error.of_one_process:
                _report(error)
            ctx.exit(error.exit_code)
        except OSError as error:
            if _wants_traceback(sys.argv):
                raise
            _report(_system_error(error))
            ctx.exit(1)
        except KeyboardInterrupt:
            console.say("Stopped. Run the same command again to resume.")
            ctx.exit(130)


def _system_error(error: OSError) -> PackshotError:
    """An error of the system that no seam mapped: what failed, on which path, what to do."""
    if error.errno in DISK_FULL:
        place = error.filename or "the disk"
        return PackshotError(f"can't write {place}: {error.strerror}", "make room, then run the same command again")
    reason = error.strerror or " ".join(str(error).split()) or type(error).__name__
    what = f"can't use {_shortened(str(error.filename))}: {reason}" if error.filename else reason
    if error.errno in NO_RIGHTS:
        return PackshotError(what, "check its owner and permissions, or choose another --workspace")
    return PackshotError(what, "check the path; --debug shows where it happened")


def _one_line(text: str) -> str:
    """A message in one line of bearable length, whatever the names in it hold."""
    line = " ".join(text.splitlines())
    return line if len(line) <= LONGEST_MESSAGE else f"{line[:LONGEST_MESSAGE]}..."


def _shortened(path: str) -> str:
    return path if len(path) <= LONGEST_PATH else f"{path[:LONGEST_PATH]}..."


def _report(error: PackshotError) -> None:
    """Print an error with its hint, and leave it to the program that started this command if that wants it."""
    click.echo(f"Error: {_one_line(error.message)}", err=True)
    if error.hint:
        click.echo(f"hint: {_one_line(error.hint)}", err=True)
    if file := os.environ.get(ERROR_FILE):
        with suppress(OSError):
            facts = {"error": type(error).__name__, "message": error.message, "hint": error.hint}
            Path(file).write_text(json.dumps(facts), encoding="utf-8")


def _wants_traceback(argv: list[str]) -> bool:
    return "--debug" in argv


@click.group(cls=PackshotGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--workspace",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="PACKSHOT_WORKSPACE",
    help="Workspace of every command that is not given its own.  [env: PACKSHOT_WORKSPACE]",
)
@click.version_option(package_name="packshot", prog_name="packshot")
@click.pass_context
def main(ctx: click.Context, workspace: Path | None) -> None:
    """Fine-tune SDXL on a product's photos, and place that very product into new photorealistic scenes."""
    if workspace is not None:
        ctx.default_map = _WorkspaceEverywhere(workspace)


class _WorkspaceEverywhere(dict[str, Any]):
    """click's map of defaults: the workspace for every command and subcommand, nothing else."""

    def __init__(self, workspace: Path) -> None:
        super().__init__(workspace=workspace)

    def get(self, key: str, default: Any = None) -> Any:
        """The workspace, for a command's name the map itself, else the default."""
        return super().get(key, self if key in SUBCOMMANDS else default)


def run_quietly(name: str, arguments: list[str]) -> None:
    """Run another command in this process; its messages go to stderr as ever, its data is dropped.

    So one side has the other do something without importing it.

    Args:
        name: Of the command.
        arguments: Its command line.

    Raises:
        PackshotError: The command's own error.
    """
    module, _, attribute = COMMANDS[name][0].partition(":")
    command: click.Command = getattr(importlib.import_module(module), attribute)
    with redirect_stdout(io.StringIO()):
        command.main(arguments, prog_name=f"packshot {name}", standalone_mode=False)


def common_options(function: Function) -> Function:
    """Options every command has: --workspace and --debug."""
    function = click.option(
        "--workspace",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path(),
        show_default="the current folder",
        help="Folder that holds datasets/, runs/, adapters/ and scenes/.",
    )(function)
    return click.option("--debug", is_flag=True, expose_value=False, help="Show tracebacks of errors.")(function)


def _complete_preset(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of the presets that a command takes, for the shell's TAB."""
    from finetune.core.config import presets_dir

    folder = presets_dir() / ("scenes" if ctx.info_name == "place" else "train")
    return sorted(path.stem for path in folder.glob("*.yaml") if path.stem.startswith(incomplete))


def config_options(function: Function) -> Function:
    """Options of commands that read a training configuration: --config and --set."""
    function = click.option(
        "--config",
        "config_name",
        metavar="FILE",
        shell_complete=_complete_preset,
        help="A YAML file or the name of a preset.",
    )(function)
    return click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        help="Override one setting, for example --set train.steps=200 (repeatable).",
    )(function)


if __name__ == "__main__":
    main(prog_name="packshot")
