"""What training and placing can't do is said before anything loads: torch is not even imported. By real commands."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from drawn_products import draw_bottle, write_set
from safetensors.torch import save_file

from finetune.core.adapters.file import write_adapter
from finetune.core.basemodel.resolve import resolve_base
from finetune.core.products.catalog import Workspace
from finetune.prepare import prepare_set
from finetune.settings import DataSection

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import json, sys
from click.testing import CliRunner
from finetune.core.commands import main
heavy = {"torch", "diffusers", "transformers", "peft", "accelerate", "datasets", "bitsandbytes"}
for line in json.load(sys.stdin):
    result = CliRunner().invoke(main, line)
    print(json.dumps([result.exit_code, result.stderr, repr(result.exception), sorted(heavy & set(sys.modules))]))
"""


Edit = Callable[[Path], object]


def setting(file: str, **values: object) -> Edit:
    """Changes a JSON file of a base."""

    def edit(base: Path) -> None:
        data = json.loads((base / file).read_text(encoding="utf-8"))
        (base / file).write_text(json.dumps(data | values), encoding="utf-8")

    return edit


def edm(base: Path) -> None:
    """As Playground 2.5 has it: the class in the index alone."""
    setting("model_index.json", scheduler=["diffusers", "EDMDPMSolverMultistepScheduler"])(base)


def refiner(base: Path) -> None:
    setting("model_index.json", _class_name="StableDiffusionXLImg2ImgPipeline", text_encoder=[None, None])(base)
    shutil.rmtree(base / "text_encoder")


def swapped_weights(base: Path) -> None:
    shutil.copyfile(*(base / part / "diffusion_pytorch_model.safetensors" for part in ("vae", "unet")))


IMPOSTORS: dict[str, tuple[Edit, str]] = {
    "refiner": (refiner, "lacks text_encoder"),
    "sixteen": (setting("unet/config.json", in_channels=16, out_channels=16), "has 16 input channels"),
    "wide-vae": (setting("vae/config.json", latent_channels=16), "its latents have 16 channels"),
    "wide-unet": (setting("unet/config.json", out_channels=8), "the UNet predicts 8"),
    "vae-by-4": (setting("vae/config.json", block_out_channels=[16, 32, 32]), "does not shrink pictures by 8"),
    "unconditioned": (setting("unet/config.json", addition_embed_type=None), "addition_embed_type"),
    "by-channel": (setting("vae/config.json", latents_mean=[0.1] * 4, latents_std=[5.0] * 4), "latents_mean"),
    "edm": (edm, "its noise process is that of EDMDPMSolverMultistepScheduler"),
    "flow": (
        setting("scheduler/scheduler_config.json", _class_name="FlowMatchEulerDiscreteScheduler"),
        "its noise process is that of FlowMatch",
    ),
    "no-vocabulary": (lambda base: (base / "tokenizer_2" / "tokenizer.json").unlink(), "lacks tokenizer_2/vocab.json"),
    "swapped": (swapped_weights, "conv_in.weight has 4 in_channels, not 9"),
    "vocabulary": (setting("text_encoder/config.json", vocab_size=9), "has 191 vocab_size, not 9"),
    "list": (
        lambda base: (base / "model_index.json").write_text("[]", encoding="utf-8"),
        "model_index.json is damaged",
    ),
}
"""Bases that call themselves SDXL, and what is said of each."""


@dataclass
class Told:
    """How a command ended."""

    code: int
    stderr: str
    exception: str
    imported: list[str]


@pytest.fixture(scope="module")
def told(tiny_base: Path, tiny_base_4: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Told]:
    """Every bad request, carried out one after the other in a process that has imported nothing."""
    folder = tmp_path_factory.mktemp("bad")
    write_set(folder, "bottle01", {"front": draw_bottle(), "side": draw_bottle(shift=6)})
    write_set(folder, "unprepared", {"front": draw_bottle()})
    prepare_set(Workspace(folder), "bottle01", data=DataSection(size=64, variants=2))
    bases(folder, tiny_base)
    adapter(folder, tiny_base)
    requests = {
        "not sdxl": ["train", "bottle01", "--set", f"base.model={folder / 'sd15'}"],
        "another architecture": ["train", "bottle01", "--set", f"base.model={folder / 'flux'}"],
        "strange file": ["train", "bottle01", "--set", f"base.model={folder / 'strange.safetensors'}"],
        "no weights": ["train", "bottle01", "--set", f"base.model={folder / 'text.safetensors'}"],
        **{name: ["train", "bottle01", "--set", f"base.model={folder / name}"] for name in IMPOSTORS},
        "refiner file": ["train", "bottle01", "--set", f"base.model={folder / 'refiner.safetensors'}"],
        "seed": ["train", "bottle01", "--set", f"train.seed={2**64}"],
        "no scenes": ["train", "bottle01", "--set", "preview.every=5", "--set", "preview.scenes=[]"],
        "unknown set": ["train", "botle01"],
        "two at once": ["train", "bottle01", "--set", "train.bach=2", "--set", "train.betas=[0.9,1.5]"],
        "place unprepared": ["place", "unprepared", "--prompt", "on marble"],
        "evaluate unprepared": ["evaluate", "unprepared"],
        "place on another base": ["place", "bottle01", "--prompt", "on marble", "--base", str(tiny_base_4)],
        "evaluate on another base": ["evaluate", "bottle01", "--base", str(tiny_base_4)],
    }
    lines = [
        [*line, "--workspace", str(folder), *(["--config", "embedded"] if line[0] == "train" else [])]
        for line in requests.values()
    ]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], input=json.dumps(lines), capture_output=True, text=True, check=True, cwd=ROOT
    )
    answers = [Told(*json.loads(line)) for line in done.stdout.splitlines()]
    assert len(answers) == len(requests)
    assert not (folder / "runs").exists()
    assert not (folder / "scenes").exists()
    return dict(zip(requests, answers, strict=True))


def bases(folder: Path, tiny_base: Path) -> None:
    """Bases that are none: an SD 1.5 in diffusers' layout, a FLUX, a file of other tensors, a file of text."""
    sd15 = folder / "sd15"
    shutil.copytree(tiny_base, sd15)
    unet = json.loads((sd15 / "unet" / "config.json").read_text(encoding="utf-8"))
    unet |= {"addition_embed_type": None, "projection_class_embeddings_input_dim": None}
    (sd15 / "unet" / "config.json").write_text(json.dumps(unet), encoding="utf-8")
    shutil.rmtree(sd15 / "text_encoder_2")
    shutil.rmtree(sd15 / "tokenizer_2")
    index = {"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}
    (sd15 / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    flux = folder / "flux"
    (flux / "transformer").mkdir(parents=True)
    (flux / "model_index.json").write_text('{"_class_name": "FluxPipeline"}', encoding="utf-8")
    (flux / "transformer" / "config.json").write_text("{}", encoding="utf-8")
    for name, (edit, _) in IMPOSTORS.items():
        shutil.copytree(tiny_base, folder / name)
        edit(folder / name)
    vector, first = "model.diffusion_model.label_emb.0.0.weight", "model.diffusion_model.input_blocks.0.0.weight"
    tensors = {vector: torch.zeros(4, 2560), first: torch.zeros(4, 4, 3, 3)}
    save_file(tensors, str(folder / "refiner.safetensors"))
    save_file({"double_blocks.0.img_attn.qkv.weight": torch.zeros(4, 4)}, str(folder / "strange.safetensors"))
    (folder / "text.safetensors").write_text("no weights at all", encoding="utf-8")


def adapter(folder: Path, base: Path) -> None:
    """Version 0001 of bottle01, of one adapted layer, made for the 9-channel base."""
    version = folder / "adapters" / "bottle01" / "0001"
    version.mkdir(parents=True)
    layer = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    state = {f"{layer}.lora_A.weight": torch.zeros(4, 64), f"{layer}.lora_B.weight": torch.zeros(64, 4)}
    manifest = {"sku": "bottle01", "base": resolve_base(str(base)).summary(), "fingerprint": "0" * 16}
    write_adapter(
        version / "adapter.safetensors", state, {"r": 4, "lora_alpha": 4, "target_modules": ["to_q"]}, manifest
    )


@pytest.mark.tiny
@pytest.mark.parametrize(
    ("request_name", "said"),
    [
        ("not sdxl", "sd15"),
        ("another architecture", "flux"),
        ("strange file", "strange.safetensors"),
        ("no weights", "text.safetensors"),
        *((name, said) for name, (_, said) in IMPOSTORS.items()),
        ("refiner file", "is SDXL's refiner"),
        ("seed", "train.seed: Input should be less than or equal to 9223372036854775807"),
        ("no scenes", "preview.every needs at least one of preview.scenes"),
        ("unknown set", "did you mean 'bottle01'?"),
        ("two at once", "unknown key 'train.bach'"),
        ("two at once", "train.betas"),
        ("place unprepared", "run: packshot train unprepared"),
        ("evaluate unprepared", "run: packshot prepare unprepared"),
        ("place on another base", "9 channels"),
        ("evaluate on another base", "9 channels"),
    ],
)
def test_it_is_said_before_anything_loads(told: dict[str, Told], request_name: str, said: str) -> None:
    answer = told[request_name]
    assert answer.code == 1, answer
    assert sum(line.startswith("Error: ") for line in answer.stderr.splitlines()) == 1, answer
    assert "\nhint: " in answer.stderr, answer
    assert said in answer.stderr
    assert answer.imported == []


def test_fp16_on_a_cpu_is_refused_before_a_set_is_prepared(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from finetune.core.commands import main

    if torch.cuda.is_available():
        pytest.skip("there is a device that computes in fp16")
    folder = write_set(tmp_path, "bottle01", {"front": draw_bottle()})
    line = ["train", "bottle01", "--config", "embedded", "--set", "memory.precision=fp16", "--workspace", str(tmp_path)]
    result = CliRunner().invoke(main, line)
    assert result.exit_code == 1
    assert "fp16 needs a CUDA device" in result.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["photos", "set.yaml"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["datasets"]


@pytest.mark.slow
def test_what_changed_since_a_set_was_prepared_is_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = write_set(tmp_path, "bottle01", {n: draw_bottle(shift=6 * i) for i, n in enumerate(("a", "b", "c"))})
    data = DataSection(size=64, variants=2)
    prepare_set(Workspace(tmp_path), "bottle01", data=data)
    capsys.readouterr()
    draw_bottle(colour=(20, 90, 190)).save(folder / "photos" / "b.png")
    (folder / "photos" / "c.png").rename(folder / "photos" / "d.png")
    prepare_set(Workspace(tmp_path), "bottle01", data=data)
    said = capsys.readouterr().err
    assert (
        "bottle01 has changed since it was prepared: photos/b.png changed, photos/c.png is gone, photos/d.png is new\n"
        in said
    )
    (folder / "set.yaml").write_text("class_noun: flacon\n", encoding="utf-8")
    prepare_set(Workspace(tmp_path), "bottle01", data=data)
    assert "since it was prepared: set.yaml changed\n" in capsys.readouterr().err
    prepare_set(Workspace(tmp_path), "bottle01", data=DataSection(size=64, variants=3))
    assert "since it was prepared" not in capsys.readouterr().err, "settings are no change of the set"
