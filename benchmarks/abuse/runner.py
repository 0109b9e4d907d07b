"""One case: its workspace, its command in a forked child (or, where torch is needed, a process), and the verdict.

The parent has imported everything but torch, so a child starts in milliseconds. A child that reaches for torch ends at
once: an input that may be accepted has been accepted; where an error is expected, the command runs as a process.
"""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any, Literal

Expected = Literal["error", "fine", "either"]
SECONDS, MEMORY_MIB, ADDRESS_SPACE = 20.0, 1024, 6 << 30
REACHED_TORCH, SLOWER = 99, 6
"""Exit code of a child that reached for torch; factor of the time limit for a process that imports it."""
HEAVY = ("torch", "diffusers", "transformers", "peft", "accelerate", "datasets")
HINTS = ("hint: ", "Try '")
CAPABILITIES = (1, 2)
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: without them root has the rights that a file's mode says."""


@dataclass(frozen=True)
class Case:
    """One abuse."""

    kind: str
    name: str
    change: Callable[[Path], None]
    """Spoils the workspace; it is given the folder."""
    arguments: tuple[str, ...]
    expected: Expected = "error"
    without_rights: bool = False
    """Whether the command runs without root's power over files."""
    said: str = ""
    """What stderr has to say, where the command succeeds."""
    linked: bool = False
    """Whether a top-level folder is a link to a folder outside, so that Packshot may put new entries there."""

    inside: Callable[[], None] | None = None
    """Is called in the command's own process before it; for commands that never need torch."""

    @property
    def key(self) -> str:
        """Its name among all."""
        return f"{self.kind}: {self.name}: {' '.join(self.arguments)}"[:400]


@dataclass(frozen=True)
class Verdict:
    """How a case ended."""

    faults: tuple[str, ...]
    """`traceback`, `hang`, `lines`, `hint`, `exit`, `left over`, `outside`, `memory`, `silent`."""
    code: int
    seconds: float
    mib: int
    in_process: bool
    stderr: str


class _Gate(MetaPathFinder):
    """Ends the process where torch would be imported."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        if fullname.split(".")[0] in HEAVY:
            os._exit(REACHED_TORCH)


def load() -> None:
    """Import what the commands need, all but torch."""
    import importlib

    os.environ["HF_HUB_OFFLINE"] = "1"

    names = ["finetune.core.commands", "finetune.prepare", "finetune.check", "finetune.nightly", "finetune.train"]
    names += ["inference.place", "inference.evaluate", "inference.manifest", "finetune.core.fidelity.gate"]
    names += [f"finetune.cli.{name}" for name in ("adapters", "cache", "check", "plan", "training")]
    names += ["inference.cli.place", "inference.cli.evaluate", "inference.cli.plates", "inference.plate_scene"]
    names += ["finetune.cli.cutout", "finetune.cutout", "finetune.dataset.importing", "finetune.core.label_ocr"]
    for name in names:
        importlib.import_module(name)
    assert not set(HEAVY) & set(sys.modules), "the parent of the cases has no torch"


def run(case: Case, template: Path, folder: Path) -> Verdict:
    """Run a case in a new folder.

    Args:
        case: The case.
        template: The workspace to copy.
        folder: Is removed, made, and removed.
    """
    remove(folder)
    shutil.copytree(template, folder / "workspace", symlinks=True)
    outside = folder / "outside"
    outside.mkdir()
    (outside / "kept.txt").write_text("kept", encoding="utf-8")
    (folder / "home").mkdir()
    try:
        case.change(folder / "workspace")
        before = listing(folder)
        code, seconds, mib, stderr, in_process = _attempt(case, folder)
        faults = judge(case, code, stderr) + _disk_faults(case, before, listing(folder), code)
        slow = seconds > SECONDS * (1 if in_process else SLOWER)
        faults += ("hang",) if slow or code == -signal.SIGKILL else ()
        assert stat.S_ISCHR(Path("/dev/zero").stat().st_mode), "a command replaced a device of this machine"
        faults += ("memory",) if mib > MEMORY_MIB and in_process else ()
        return Verdict(faults, code, round(seconds, 2), mib, in_process, stderr[-1500:])
    finally:
        remove(folder)


def _attempt(case: Case, folder: Path) -> tuple[int, float, int, str, bool]:
    began = time.perf_counter()
    code, mib = _forked(case, folder)
    stderr = _read(folder / "home" / "stderr")
    if code == REACHED_TORCH and case.expected != "error":
        return 0, time.perf_counter() - began, mib, stderr, True
    if code != REACHED_TORCH:
        return code, time.perf_counter() - began, mib, stderr, True
    began = time.perf_counter()
    code = _process(case, folder)
    return code, time.perf_counter() - began, 0, _read(folder / "home" / "stderr"), False


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="backslashreplace") if path.exists() else ""


def _forked(case: Case, folder: Path) -> tuple[int, int]:
    """Exit code and peak MiB of the command in a forked child."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        _become(case, folder)
    deadline = time.monotonic() + SECONDS
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), usage.ru_maxrss // 1024
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.wait4(child, 0)
            return -signal.SIGKILL, 0
        time.sleep(0.01)


def _become(case: Case, folder: Path) -> None:
    """Turn this process into the case's command; never returns."""
    code = 70
    try:
        home = folder / "home"
        for number, name in ((1, "stdout"), (2, "stderr")):
            handle = os.open(home / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(handle, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
        os.environ.update({"HOME": str(home), "HF_HOME": str(home / "hf"), "HF_HUB_OFFLINE": "1"})
        os.chdir(folder / "workspace")
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
        if case.without_rights:
            drop_power()
        sys.meta_path.insert(0, _Gate())
        if case.inside:
            case.inside()
        sys.argv = ["packshot", *case.arguments]
        code = _main(list(case.arguments))
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def _main(arguments: list[str]) -> int:
    import traceback

    from finetune.core.commands import main

    try:
        main(arguments, prog_name="packshot")
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else int(done.code is not None)
    except BaseException:
        traceback.print_exc()
        return 70
    return 0


def _process(case: Case, folder: Path) -> int:
    """The same as a process of its own, for commands that import torch."""
    home, stdout = folder / "home", subprocess.DEVNULL
    environment = os.environ | {"HOME": str(home), "HF_HOME": str(home / "hf"), "HF_HUB_OFFLINE": "1"}
    line = [sys.executable, "-P", "-m", "finetune.core.commands", *case.arguments]
    with (home / "stderr").open("wb") as stderr:
        try:
            return subprocess.run(
                [os.fsencode(part) for part in line],
                cwd=folder / "workspace",
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                timeout=SECONDS * SLOWER,
                preexec_fn=drop_power if case.without_rights else None,
            ).returncode
        except subprocess.TimeoutExpired:
            return -signal.SIGKILL


def drop_power() -> None:
    """Give up root's power over files, for this process and what it starts; nothing to give up for other users."""
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    for number in CAPABILITIES:
        libc.prctl(24, number, 0, 0, 0)  # PR_CAPBSET_DROP
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)()
    libc.capget(header, data)
    for number in CAPABILITIES:
        for part in range(3):
            data[part] &= ~(1 << number)
    if libc.capset(header, data):
        raise OSError(ctypes.get_errno(), "capset")


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Every entry below a folder with its mode and size; a link by what it says."""
    found = {}
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(root, name)
            status = path.lstat()
            size = 0 if stat.S_ISDIR(status.st_mode) else status.st_size
            found[str(path.relative_to(folder))] = (status.st_mode, size)
    return found


def _disk_faults(
    case: Case, before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]], code: int
) -> tuple[str, ...]:
    """What a command left: an error nothing but caches, success no temporary file, and neither anything outside."""
    changed = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
    changed = [name for name in changed if not name.startswith("home")]
    outside = [
        name for name in changed if not name.startswith("workspace") and not (case.linked and name not in before)
    ]
    inside = [name.removeprefix("workspace/") for name in changed if name.startswith("workspace")]
    left = [name for name in inside if name.endswith(".part") or ".part/" in name]
    if code != 0:
        left += [name for name in inside if name.split("/")[0] not in (".cache", "workspace")]
        left = [name for name in left if not (name in ("runs", "adapters", "scenes") or case.expected == "fine")]
    return (("outside",) if outside else ()) + (("left over",) if left else ())


def judge(case: Case, code: int, stderr: str) -> tuple[str, ...]:
    """What is wrong with how a command ended and what it said."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    if "Traceback (most recent call last)" in stderr or code in (70, -signal.SIGSEGV, -signal.SIGABRT):
        return ("traceback",)
    if code == -signal.SIGKILL:
        return ()
    if code == 0:
        silent = bool(case.said) and case.said not in stderr
        return (("exit",) if case.expected == "error" else ()) + (("silent",) if silent else ())
    faults = ("exit",) if code not in (1, 2) or case.expected == "fine" else ()
    errors = [number for number, line in enumerate(lines) if line.startswith("Error: ")]
    hints = [number for number, line in enumerate(lines) if line.startswith(HINTS)]
    if code == 2:  # click prints usage and `Try '... --help'` before the error
        return faults + (() if len(errors) == 1 and errors[0] == len(lines) - 1 - ("hint" in lines[-1]) else ("lines",))
    if not hints or hints[-1] < (errors or [0])[0]:
        faults += ("hint",)
        return faults if len(errors) == 1 and errors[0] == len(lines) - 1 else (*faults, "lines")
    return faults if len(errors) == 1 and errors[0] + 1 == hints[-1] == len(lines) - 1 else (*faults, "lines")


def remove(folder: Path) -> None:
    """Remove a case's folder, whatever its rights."""
    if not folder.exists():
        return
    for root, folders, _ in os.walk(folder):
        for name in folders:
            if not (path := Path(root, name)).is_symlink():
                path.chmod(0o700)
    shutil.rmtree(folder)
