"""What an export writes: nothing that stands there is replaced unless that is asked for, and every file has a name."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from published_adapters import published
from safetensors import safe_open
from safetensors.torch import load_file

from finetune import export
from finetune.adapters.export_files import default_name, diffusers_lines, export_targets
from finetune.core.adapters import token_embeddings
from finetune.core.basemodel.load import load_pipeline
from finetune.core.basemodel.resolve import ResolvedBase, resolve_base
from finetune.core.commands import main
from finetune.core.products.catalog import Workspace

pytestmark = pytest.mark.tiny
TOKENS = {key: torch.linspace(-0.5, 0.5, 64).reshape(2, 32) for key in token_embeddings.ENCODERS}


@pytest.fixture(scope="module")
def workspace(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Three versions: two with tokens of their own, which differ, and one without."""
    found, base = Workspace(tmp_path_factory.mktemp("workspace")), resolve_base(str(tiny_base))
    for tokens in (TOKENS, {key: -rows for key, rows in TOKENS.items()}, None):
        published(found, base, tokens)
    return found


def run(workspace: Workspace, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["adapters", "export", "bottle01", *arguments, "--workspace", str(workspace.root)])


def metadata(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as handle:
        return dict(handle.metadata())


def test_versions_layouts_and_tokens_have_names_of_their_own() -> None:
    outputs = [default_name("mug", version, layout) for version in ("0001", "0002") for layout in export.LAYOUTS]
    assert outputs[:2] == ["mug-0001.safetensors", "mug-0001-diffusers.safetensors"]
    targets = [export_targets(Path("out") / name, "mgg01") for name in outputs]
    assert targets[0].tokens == Path("out/mug-0001-mgg01-tokens.safetensors")
    assert len({path for each in targets for path in (each.adapter, each.tokens)}) == 8


def test_in_a_real_order_every_file_stays_as_it_was_first_written(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    wanted = [(version, layout) for version in "123" for layout in export.LAYOUTS]
    order = random.Random(5).sample(wanted, 6)
    before: dict[str, bytes] = {}
    for version, layout in order + order:
        done = run(workspace, "--version", version, "--format", layout, "--device", "cpu")
        assert done.exit_code == (1 if len(before) == 10 else 0), done.output
        now = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        assert {name: now[name] for name in before} == before
        before = now
    assert len(before) == 6 + 4, "six files, and tokens beside four of them"
    for number, sign in (("0001", 1), ("0002", -1)):
        found = load_file(f"bottle01-{number}-bttl01-tokens.safetensors")
        assert torch.equal(found["clip_g"], sign * TOKENS["clip_g"])


@pytest.mark.parametrize("standing", ["bottle01-0001.safetensors", "bottle01-0001-bttl01-tokens.safetensors"])
@pytest.mark.parametrize("kind", ["file", "folder", "dead link"])
def test_a_refusal_comes_before_a_model_is_loaded_and_names_the_file(
    kind: str, standing: str, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(export, "load_pipeline", lambda *_, **__: pytest.fail("a model was loaded"))
    path = tmp_path / standing
    if kind == "file":
        path.touch()
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("nowhere")
    done = run(workspace, "--version", "1", "--format", "kohya")
    assert done.exit_code == 1
    error, hint = done.stderr.splitlines()
    assert error.startswith("Error: ")
    assert standing in error
    assert hint.strip().startswith("hint: give ")
    assert [each.name for each in tmp_path.iterdir()] == [standing]
    if kind == "folder":
        assert run(workspace, "--version", "1", "--format", "kohya", "--force").exit_code == 1


def test_with_force_both_files_are_replaced(workspace: Workspace, tmp_path: Path) -> None:
    path, beside = tmp_path / "a.safetensors", tmp_path / "a-bttl01-tokens.safetensors"
    path.write_text("unrelated")
    beside.write_text("unrelated")
    options = ("--version", "2", "--format", "kohya", "--output", str(path), "--device", "cpu")
    assert run(workspace, *options).exit_code == 1
    assert path.read_text() == beside.read_text() == "unrelated"
    done = run(workspace, *options, "--force")
    assert done.exit_code == 0, done.output
    assert torch.equal(load_file(beside)["clip_l"], -TOKENS["clip_l"])
    assert len(load_file(path)) > 100


def test_no_versions_folder_is_written_into(workspace: Workspace) -> None:
    folder = workspace.adapters / "bottle01" / "0003"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name in ("adapter.safetensors", "README.md", "new.safetensors"):
        done = run(workspace, "--version", "1", "--format", "kohya", "--output", str(folder / name), "--force")
        assert done.exit_code == 1
        assert "replace the version itself" in done.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_file_that_appears_during_the_check_is_kept(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = tmp_path / "a-bttl01-tokens.safetensors"

    def meanwhile(*_: Any, **__: Any) -> tuple[float, float]:
        beside.write_text("another's")
        return 0.0, 1.0

    monkeypatch.setattr(export, "compare", meanwhile)
    done = run(workspace, "--version", "1", "--format", "kohya", "--output", str(tmp_path / "a.safetensors"))
    assert done.exit_code == 1
    assert beside.read_text() == "another's"
    assert [path.name for path in tmp_path.iterdir()] == [beside.name]


def test_the_header_says_which_tokens_belong_to_the_file(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "compare", lambda *_, **__: (0.0, 1.0))  # what is written is compared elsewhere
    hints = {}
    for version in "13":
        for layout in export.LAYOUTS:
            path = tmp_path / f"{layout}{version}.safetensors"
            assert run(workspace, "--version", version, "--format", layout, "--output", str(path)).exit_code == 0
            hints[path.stem] = metadata(path)["modelspec.usage_hint"]
    assert "2 tokens of 'bttl01' belong to it: kohya1-bttl01-tokens.safetensors" in hints["kohya1"]
    assert "`embedding:kohya1-bttl01-tokens`" in hints["kohya1"]
    assert "diffusers1-bttl01-tokens.safetensors" in hints["diffusers1"]
    assert all("tokens" not in hints[name] for name in ("kohya3", "diffusers3"))
    assert [name for name in sorted(hints) if "ComfyUI, A1111, Forge and sd-scripts need" in hints[name]] == [
        "diffusers1",
        "diffusers3",
    ]
    own = json.loads(metadata(tmp_path / "kohya1.safetensors")["packshot_manifest"])["token_embeddings"]
    assert own["file"] == "kohya1-bttl01-tokens.safetensors"
    lines = run(workspace, "--version", "1", "--format", "diffusers", "--output", str(tmp_path / "d.safetensors"))
    for line in diffusers_lines(tmp_path / "d-bttl01-tokens.safetensors", "bttl01"):
        assert f"  {line}\n" in lines.stderr


def sdxl_like(base: ResolvedBase) -> Any:
    """A pipeline whose text encoders name the wrong end token, as SDXL's do."""
    pipeline = load_pipeline(base, dtype=torch.float32, device="cpu")
    for encoder in (pipeline.text_encoder, pipeline.text_encoder_2):
        named = [module for module in encoder.modules() if hasattr(module, "eos_token_id")]
        assert len(named) == 1
        named[0].eos_token_id = token_embeddings.OLD_END
    return pipeline


def encoded(pipeline: Any, prompt: str) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.no_grad():
        found = pipeline.encode_prompt(prompt, do_classifier_free_guidance=False)
    return found[0], found[2]


def test_the_printed_lines_give_diffusers_users_the_same_embeddings(base: ResolvedBase, tmp_path: Path) -> None:
    path = tmp_path / "it's-tokens.safetensors"
    export._write_tokens(path, TOKENS)
    own = sdxl_like(base)
    tokens = token_embeddings.add_tokens(own, "bttl01", TOKENS)
    wanted = encoded(own, tokens.expand("a photo of bttl01 on sand"))
    lines = diffusers_lines(path, "bttl01")
    pipeline = sdxl_like(base)
    names: dict[str, Any] = {"pipeline": pipeline}
    for line in lines:
        exec(line, names)
    found = encoded(pipeline, "a photo of bttl01 on sand")
    for ours, theirs in zip(wanted, found, strict=True):
        torch.testing.assert_close(theirs, ours, atol=1e-6, rtol=0)
    pipeline.text_encoder_2.text_model.eos_token_id = token_embeddings.OLD_END
    without = encoded(pipeline, "a photo of bttl01 on sand")
    assert (without[1] - wanted[1]).abs().max() > 0.01, "the last line is needed: without it the pooled one is wrong"
