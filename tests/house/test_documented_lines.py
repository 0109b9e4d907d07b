"""Every line of the documentation passes its own program's parser: options exist, values parse."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from finetune.core.commands import main

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "datasets" / "README.md",
         *sorted((ROOT / "configs").rglob("*.yaml")), *sorted((ROOT / ".github").rglob("*.yml"))]  # fmt: skip
SOURCES = sorted([*(ROOT / "finetune").rglob("*.py"), *(ROOT / "inference").rglob("*.py")])
PROGRAMS = re.compile(r"^(?:\$ )?(?:\.venv/bin/)?(packshot|hf|torchrun .*packshot) (.+)$")


def documented() -> list[tuple[str, str, str]]:
    """(page, program, arguments) of every command in a code block of a page, or in an example of a --help."""
    found = []
    for page in PAGES:
        text = re.sub(r"\\\n\s*", " ", page.read_text(encoding="utf-8"))
        blocks = re.findall(r"```(?:sh|bash|console)?\n(.*?)```", text, flags=re.S) if page.suffix == ".md" else [text]
        commands = [PROGRAMS.match(line.strip()) for line in "\n".join(blocks).splitlines()]
        found += [(page.relative_to(ROOT).as_posix(), m[1].split()[-1], m[2]) for m in commands if m]
    for name in main.list_commands(click.Context(main)):
        command = main.get_command(click.Context(main), name)
        assert command is not None
        for one in [command, *(command.commands.values() if isinstance(command, click.Group) else [])]:
            examples = [match for line in (one.help or "").splitlines() if (match := PROGRAMS.match(line.strip()))]
            found += [(f"--help of {name}", m[1].split()[-1], re.sub(r"\s{2,}\(.*\)$", "", m[2])) for m in examples]
    return found


def words(arguments: str) -> list[str]:
    return shlex.split(re.sub(r"\s+(#|>>|2>&1|\|).*$", "", arguments))


def parse(arguments: list[str]) -> None:
    """Parse a command line with click as running it would, without running it."""
    command: click.Command = main
    context = click.Context(main, info_name="packshot")
    while isinstance(command, click.Group) and (arguments or not command.invoke_without_command):
        name, found, arguments = command.resolve_command(context, arguments)
        assert found is not None, arguments
        command, context = found, click.Context(found, info_name=name, parent=context)
    command.parse_args(context, list(arguments))


def test_there_are_lines_to_parse() -> None:
    programs = [program for _, program, _ in documented()]
    assert programs.count("packshot") >= 25
    assert programs.count("hf") >= 2


@pytest.mark.parametrize(("page", "program", "arguments"), [line for line in documented() if line[1] == "packshot"])
def test_a_documented_line_parses(page: str, program: str, arguments: str) -> None:
    try:
        parse(words(arguments))
    except click.ClickException as error:
        pytest.fail(f"{page}: packshot {arguments}: {error.format_message()}")


def test_a_wrong_line_is_found() -> None:
    for wrong in ("place perfume01 --promt x", "train --config", "plan perfume01 --effective-batch none", "plac x"):
        with pytest.raises((click.ClickException, AssertionError)):
            parse(words(wrong))


def test_downloads_ask_for_every_pattern() -> None:
    """`hf download --include A B` takes one pattern and reads the second as a file's name: repeat the option."""
    from huggingface_hub.cli.hf import app

    command = app.commands["download"]
    download = getattr(command, "materialize", lambda: command)()  # a placeholder until it is used
    lines = [(page, words(arguments)) for page, program, arguments in documented() if program == "hf"]
    hints = re.findall(r"hf download [^\"`;]+", "\n".join(path.read_text(encoding="utf-8") for path in SOURCES))
    assert hints, "the hint of a base that is not on disk"
    lines += [("a hint", words(re.sub(r"\{.*?\}", "org/name", hint).removeprefix("hf "))) for hint in hints]
    for page, line in lines:
        context = download.make_context("download", line[1:])
        assert not context.params.get("filenames"), (page, line)
        if "--include" in line:
            assert len(context.params["include"]) == line.count("--include"), (page, line)
            assert "*.json" in context.params["include"], (page, line)
