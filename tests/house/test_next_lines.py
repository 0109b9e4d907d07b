"""The line `next:` after a training names commands that its kind of set can be given."""

from __future__ import annotations

import shlex

import click
import pytest

from finetune.cli.training import _next_step
from finetune.core.commands import main


@pytest.mark.parametrize(
    ("kind", "commands"), [("sku", ["evaluate", "place"]), ("category", ["train"]), ("brand", ["place"])]
)
def test_next_lines_fit_the_kind_of_set(kind: str, commands: list[str]) -> None:
    told = _next_step("jars", kind).partition(" (")[0]
    lines = [shlex.split(line.strip(", ")) for line in told.split("packshot ")[1:]]
    assert [line[0] for line in lines] == commands
    for name, *arguments in lines:
        command = main.get_command(click.Context(main), name)
        assert command is not None
        context = command.make_context(name, arguments)
        if kind != "sku":
            assert context.params["sku"] != "jars", "a set of this kind is neither placed nor judged"
