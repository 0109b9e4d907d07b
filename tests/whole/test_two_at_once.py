"""Two commands on one SKU: the second writer is told who works, nothing is doubled, readers never wait."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from drawn_products import write_shop
from started_commands import Started, start

from finetune.core.adapters import versions
from finetune.core.products.catalog import Workspace
from finetune.core.storage.durable import atomic_folder
from finetune.core.storage.locks import exclusive, sku_lock

pytestmark = pytest.mark.e2e
CONFIG = """
base: {model: BASE}
data: {size: 64, variants: 2}
adapter: {rank: 2}
train: {steps: 2, batch: 1, min_8bit_size: 64}
memory: {check: false}
validation: {every: 0, choose: last}
"""


def packshot(workspace: Path, *line: str) -> Started:
    said = workspace / f"said-{len(list(workspace.glob('said-*')))}.txt"
    said.touch()
    return start(said, *line, "--workspace", str(workspace))


def ended(process: Started) -> tuple[int, str]:
    code, said = process.wait(), process.said()
    assert "Traceback" not in said, said
    return code, said


def test_two_trainings_make_one_version(tmp_path: Path, tiny_base: Path) -> None:
    write_shop(tmp_path, CONFIG, tiny_base)
    line = ("train", "bottle01", "--config", str(tmp_path / "tiny.yaml"))
    first, second = packshot(tmp_path, *line), packshot(tmp_path, *line, "--wait")
    results = [ended(process) for process in (first, second)]
    assert results[1][0] == 0, results[1][1]
    assert [v.number for v in versions.list_versions(Workspace(tmp_path), "bottle01")] == ["0001"]
    assert len(list((tmp_path / "runs" / "bottle01").iterdir())) == 1
    if results[0][0]:  # the second came first: the one that does not wait says who is at work
        assert "is training bottle01 already" in results[0][1]


def test_a_writer_is_refused_while_another_works(tmp_path: Path, tiny_base: Path) -> None:
    write_shop(tmp_path, CONFIG, tiny_base)
    config = ("--config", str(tmp_path / "tiny.yaml"))
    with exclusive(sku_lock(tmp_path / ".cache", "bottle01"), "training bottle01"):
        commands = [packshot(tmp_path, name, "bottle01", *config) for name in ("prepare", "train")]
        for code, said in map(ended, commands):
            assert code == 1
            assert "Error: process" in said
            assert "hint: wait until it ends" in said
    assert not (tmp_path / "datasets" / "bottle01" / "prepared").exists()
    code, said = ended(packshot(tmp_path, "check", "bottle01"))
    assert code == 0, said


def test_folders_that_replace_one_another(tmp_path: Path) -> None:
    """Eight processes replace the same folder over and over: each ends well, and one whole folder stands there."""
    code = (
        "import sys; from pathlib import Path; from finetune.core.storage.durable import atomic_folder\n"
        "for round in range(30):\n"
        "    with atomic_folder(Path(sys.argv[1]), replace=True) as part:\n"
        "        (part / 'a').write_text(sys.argv[2]); (part / 'b').write_text(sys.argv[2])\n"
    )
    target = tmp_path / "scenes" / "run"
    with atomic_folder(target) as part:
        (part / "a").write_text("0", encoding="utf-8")
    workers = [
        subprocess.Popen([sys.executable, "-c", code, str(target), str(n)], stderr=subprocess.PIPE, text=True)
        for n in range(4)
    ]
    for worker in workers:
        _, said = worker.communicate(timeout=120)
        assert worker.returncode == 0, said
    assert (target / "a").read_text(encoding="utf-8") == (target / "b").read_text(encoding="utf-8")
    assert [path.name for path in target.parent.iterdir()] == ["run"]
