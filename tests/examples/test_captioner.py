"""Words for surroundings by a captioner from disk: transformers' own BLIP, tiny and random, built on the spot."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from drawn_products import draw_bottle, write_set
from PIL import Image

import finetune.prepare as recipe
from finetune.core.commands import main
from finetune.core.errors import ConfigError
from finetune.core.products.catalog import Workspace, load_set
from finetune.examples.captioner import Captioner, captioner_fingerprint, place_words
from finetune.prepare import prepare_set, prepared_fingerprint
from finetune.settings import DataSection

pytestmark = pytest.mark.tiny
WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] [DEC] a photo of perfume bottle stone grass moss sand slate clay on under"


def write_blip(folder: Path, seed: int = 0) -> Path:
    """A BLIP of 32 px and 19 words with random weights, saved as transformers saves it."""
    import torch
    from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS.split()) + "\n", encoding="utf-8")
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    signs = {"bos_token_id": 5, "pad_token_id": 0, "eos_token_id": 3, "sep_token_id": 3}
    text = sizes | signs | {"vocab_size": len(WORDS.split()), "encoder_hidden_size": 16, "max_position_embeddings": 64}
    vision = sizes | {"image_size": 32, "patch_size": 8}
    torch.manual_seed(seed)
    model = BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=vision))
    with torch.no_grad():  # a random head seldom says a place: these words are made likely
        model.text_decoder.cls.predictions.bias[-8:] += 2
    model.save_pretrained(folder)
    BertTokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    BlipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def blip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blip(tmp_path_factory.mktemp("captioner") / "blip")


def outdoors(seed: int) -> tuple[Image.Image, Image.Image]:
    """The bottle before something rough, and its mask."""
    rng = np.random.default_rng(seed)
    scene = Image.fromarray(rng.integers(0, 255, (160, 160, 3), dtype=np.uint8))
    mask = draw_bottle(160).convert("L").point(lambda v: 255 if v < 250 else 0)
    scene.paste(draw_bottle(160), (0, 0), mask)
    return scene, mask


@pytest.fixture
def shelf(tmp_path: Path, blip: Path) -> Workspace:
    """Two photos outdoors, one of them with the user's own caption, and a packshot; the captioner in the workspace."""
    scenes = {name: outdoors(seed) for seed, name in enumerate(("rough", "told"))}
    folder = write_set(tmp_path, "box01", {"plain": draw_bottle(160)} | {name: s[0] for name, s in scenes.items()})
    (folder / "masks").mkdir()
    for name, (_, mask) in scenes.items():
        mask.save(folder / "masks" / f"{name}.png")
    (folder / "photos" / "told.txt").write_text("on a garden wall")
    shutil.copytree(blip, tmp_path / "blip")
    return Workspace(tmp_path)


def texts_of(workspace: Workspace) -> dict[tuple[str, bool], set[str]]:
    """Captions by photo and by whether the example shows the photo itself."""
    folder = workspace.datasets / "box01" / "prepared"
    found: dict[tuple[str, bool], set[str]] = {}
    for line in (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        record = json.loads((folder / "records" / f"{row['photo']}.json").read_text(encoding="utf-8"))
        example = next(e for e in record["examples"] if e["variant"] == row["variant"])
        found.setdefault((row["photo"], example["original"]), set()).add(row["text"])
    return found


DATA = DataSection(size=64, variants=4, keep_original=0.5)
WITH = DATA.model_copy(update={"captioner": "blip"})


def test_only_originals_on_unnamed_ground_are_described(shelf: Workspace, blip: Path) -> None:
    prepare_set(shelf, "box01", data=DATA)
    before = texts_of(shelf)
    prepare_set(shelf, "box01", data=WITH)
    after = texts_of(shelf)
    assert len(after) == 6
    assert {key for key in after if after[key] != before[key]} == {("rough", True)}
    picture = Image.open(shelf.datasets / "box01" / "photos" / "rough.png")
    words = Captioner(blip).surroundings(picture, "perfume bottle")
    assert words.split()[0] in ("on", "under")
    assert len(words.split()) >= 2
    assert all(f"bx01 perfume bottle {words}" in text for text in after["rough", True])
    assert all("on a garden wall" in text for text in after["told", True]), "own words win"
    assert all("on a plain white background" in text for text in after["plain", True]), "what was measured stays"


def test_a_photo_is_described_once_and_again_by_other_weights(
    shelf: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[Path] = []

    class Counted(Captioner):
        def __init__(self, folder: Path) -> None:
            loaded.append(folder)
            super().__init__(folder)

    monkeypatch.setattr(recipe, "Captioner", Counted)
    first, _ = prepare_set(shelf, "box01", data=WITH)
    assert len(loaded) == 1
    assert not prepare_set(shelf, "box01", data=WITH)[1]
    (shelf.datasets / "box01" / "photos" / "told.txt").write_text("on a garden bench")
    prepare_set(shelf, "box01", data=WITH)
    assert len(loaded) == 1, "the words are remembered"
    shutil.move(shelf.root / "blip", shelf.root / "moved")
    moved = DATA.model_copy(update={"captioner": "moved"})
    assert not prepare_set(shelf, "box01", data=moved)[1], "the weights count, not where they lie"
    other = write_blip(shelf.root / "other", seed=1)
    changed = DATA.model_copy(update={"captioner": "other"})
    product = load_set(shelf, "box01")
    assert prepared_fingerprint(shelf, product, changed) != prepared_fingerprint(shelf, product, moved)
    assert prepare_set(shelf, "box01", data=changed)[1]
    assert loaded[1:] == [other]
    assert first.fingerprint != prepared_fingerprint(shelf, product, DATA)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: shutil.rmtree(folder), "there is no folder"),
        (lambda folder: (folder / "model.safetensors").unlink(), "has no model.safetensors"),
        (lambda folder: (folder / "preprocessor_config.json").unlink(), "has no preprocessor_config.json"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"torn"), "is damaged"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json is damaged"),
        (lambda folder: (folder / "config.json").write_text('{"model_type": "git"}'), "of type 'git'"),
    ],
)
def test_a_captioner_that_cannot_be_used_is_said_before_any_work(shelf: Workspace, spoil: object, said: str) -> None:
    spoil(shelf.root / "blip")  # type: ignore[operator]
    line = ["prepare", "box01", "--workspace", str(shelf.root), "--config", "embedded", "--set", "data.captioner=blip"]
    result = CliRunner().invoke(main, line)
    assert result.exit_code == 1
    error = [text for text in result.stderr.splitlines() if text.startswith("Error: ")]
    assert len(error) == 1
    assert said in error[0]
    assert "preparing" not in result.stderr
    assert not (shelf.datasets / "box01" / "prepared").exists()


def test_files_that_do_not_belong_together_are_an_error(tmp_path: Path, blip: Path) -> None:
    mixed = tmp_path / "mixed"
    shutil.copytree(blip, mixed)
    config = json.loads((mixed / "config.json").read_text())
    config["text_config"]["hidden_size"] = 24
    (mixed / "config.json").write_text(json.dumps(config))
    assert captioner_fingerprint(mixed) != captioner_fingerprint(blip)
    with pytest.raises(ConfigError, match="cannot be loaded"):
        Captioner(mixed)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("on a wooden table", "on a wooden table"),
        ("With a gold cap sitting on top of a rock .", "sitting on top of a rock"),
        ("on a table with a gold cap", "on a table"),
        ("with a label on it", ""),
        ("and its box", ""),
        ("", ""),
    ],
)
def test_only_words_for_a_place_are_taken(said: str, words: str) -> None:
    assert place_words(said) == words
