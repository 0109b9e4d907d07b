"""The training configuration: eight sections, strict, every field documented.

Only recipes, the command line and `training.session` see these objects (tested); everything else takes plain values.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from finetune.core.config import Strict
from finetune.core.console import warn

LARGEST_SEED = 2**63 - 1
"""The largest seed of torch's generators."""
WARMUP_SHARE = 10
"""A warm-up that is too long becomes one step in so many."""
MASK_KINDS = ("background", "product", "box", "full")


class BaseSection(Strict):
    """The base model."""

    model: str = "embedded"
    """`embedded`, a hub id, a folder in diffusers' layout, or a single-file `.safetensors` checkpoint."""
    revision: str = ""
    """Hub revision (commit or branch); empty for the default branch."""
    vae: str = ""
    """A VAE in place of the base's own, such as sdxl-vae-fp16-fix: a folder in diffusers' layout or a `.safetensors`
    file; empty for the base's own. An adapter then fits this base with this VAE."""


class DataSection(Strict):
    """How photos become training examples."""

    size: int = Field(default=256, ge=64, le=2048)
    """Side of the square training examples in pixels; the base's native size is best."""
    buckets: bool = False
    """Examples in the product's aspect ratio at the square's area, as SDXL was trained; the embedded base knows squares
    only."""
    variants: int = Field(default=24, ge=1, le=400)
    """Examples made of each photo; epochs cycle through them, so all of them can be cached."""
    keep_original: float = Field(default=0.15, ge=0, le=1)
    """Share of the examples that show the photo on its own ground."""
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    """Fixes backdrop, placement and mask kind of (photo, variant)."""
    backdrops: str = ""
    """Folder of photographs, relative to the workspace, used as blurred backdrops besides the procedural ones."""
    captioner: str = ""
    """Folder of a BLIP captioner (safetensors), relative to the workspace: it names the surroundings of original photos
    that are not on a plain ground and have no caption of their own; empty for none."""
    mask_shares: dict[str, float] = Field(
        default_factory=lambda: {"background": 0.4, "product": 0.25, "box": 0.25, "full": 0.1}
    )
    """Shares of the inpainting masks: background around the product, dilated product, box, full frame."""

    @field_validator("size")
    @classmethod
    def _multiple(cls, value: int) -> int:
        if value % 64:
            raise ValueError(f"{value} is not a multiple of 64")
        return value

    @field_validator("mask_shares")
    @classmethod
    def _shares(cls, value: dict[str, float]) -> dict[str, float]:
        if strangers := set(value) - set(MASK_KINDS):
            raise ValueError(f"unknown mask kind {sorted(strangers)[0]!r}; choose among {', '.join(MASK_KINDS)}")
        if any(v < 0 for v in value.values()) or abs(sum(value.values()) - 1) > 1e-6:
            raise ValueError(f"shares must be positive and sum to 1, not {sum(value.values()):g}")
        return value


class AdapterSection(Strict):
    """The LoRA."""

    rank: int = Field(default=16, ge=1, le=256)
    """Rank of every LoRA matrix."""
    alpha: float = Field(default=0, ge=0)
    """Scale numerator (scale = alpha / rank); 0 means equal to the rank."""
    rslora: bool = False
    """Scale by alpha / sqrt(rank) instead (arXiv 2312.03732)."""
    dora: bool = False
    """Weight-decomposed LoRA (arXiv 2402.09353): better at low rank, slower a step."""
    token_embeddings: int = Field(default=0, ge=0, le=8)
    """New tokens that the trigger word stands for, trained with the LoRA for the first half of the steps (pivotal
    tuning); 2 is usual, 0 turns it off. They are stored beside the adapter and belong to it."""
    token_learning_rate: float = Field(default=3e-4, gt=0, le=1)
    """Learning rate of these tokens."""
    targets: Literal["attention", "attention+feedforward"] = "attention"
    """`attention`: q, k, v, out of every attention; or those, the feed-forward and the block projections."""
    init_from: str = ""
    """Adapter whose weights this one starts from: a set's name (its published version, else its newest), `category` for
    the set that set.yaml names, or the path of an adapter; of the same base, rank, alpha and targets. Its tokens are
    taken over: token_embeddings has to be their number; an adapter without tokens fits any number. Empty: none."""

    @property
    def effective_alpha(self) -> float:
        """Alpha with 0 resolved to the rank."""
        return self.alpha or float(self.rank)


class ObjectiveSection(Strict):
    """The loss."""

    snr_gamma: float = Field(default=5.0, ge=0)
    """Min-SNR-gamma weighting (arXiv 2303.09556); 0 turns it off."""
    caption_dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of examples trained with exactly the base's null embedding, for classifier-free guidance."""
    product_weight: float = Field(default=1.0, gt=0)
    """Weight of the product region (true noise as target)."""
    ring_weight: float = Field(default=0.5, ge=0)
    """Weight of the ring around the product (true noise as target: it learns contact and prevents growth)."""
    ring_px: int = Field(default=16, ge=0, le=128)
    """Width of that ring in pixels of the training example."""
    base_preservation_weight: float = Field(default=0.5, ge=0)
    """Weight of everything else (the frozen base's prediction as target); 0 saves its forward pass."""
    prior_weight: float = Field(default=0.0, ge=0)
    """Weight of classic prior preservation (arXiv 2208.12242): pictures of the class noun that the base draws itself
    are trained beside the product, each with noise, timestep and min-SNR weight of its own. It takes one more pass
    per step and no more memory. 0 turns it off: `base_preservation_weight` keeps to the base without pictures."""
    prior_pictures: int = Field(default=32, ge=1, le=1000)
    """Number of these pictures; drawn once and cached. Drawing needs as much memory as `packshot place`."""


class TrainSection(Strict):
    """The training loop."""

    steps: int = Field(default=300, ge=1, le=100_000)
    """Number of optimizer steps."""
    batch: int = Field(default=1, ge=1, le=64)
    """Examples per forward pass."""
    accumulation: int = Field(default=1, ge=1, le=64)
    """Forward passes per optimizer step."""
    learning_rate: float = Field(default=1e-4, gt=0, le=10)
    """Peak learning rate; about 1 for `prodigy`, which finds the step size by itself."""
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    """Learning-rate schedule after the warm-up."""
    warmup: int = Field(default=0, ge=0)
    """Warm-up steps. At or above `train.steps` they are cut to a tenth of those, which is reported and counts."""
    optimizer: Literal["adamw8bit", "adamw", "prodigy"] = "adamw8bit"
    """bitsandbytes AdamW8bit, torch's AdamW, or Prodigy (arXiv 2306.06101, extra `optimizers`)."""
    min_8bit_size: int = Field(default=4096, ge=1)
    """Tensors with fewer elements keep 32-bit optimizer state."""
    weight_decay: float = Field(default=1e-2, ge=0)
    """Decoupled weight decay of the LoRA matrices."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] | None = None
    """Decay rates of the moments; left out, 0.9 and 0.999, for `prodigy` 0.9 and 0.99."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradient norm clip."""
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    """Seed of initialisation, order, noise, timesteps and dropout."""
    checkpoint_every: int = Field(default=100, ge=1)
    """Optimizer steps between checkpoints for resume."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """How many of the newest checkpoints are kept."""
    deterministic: bool = False
    """Use deterministic algorithms only, so that on a GPU too a resumed run equals an uninterrupted one; slower there.
    On a CPU runs are bit-equal anyway."""
    compile: bool = False
    """Compile the transformer blocks (torch.compile, regional): a faster step after a minute or so of compiling. On a
    CPU it saves 12 % at batch 8, so it pays from about 600 steps of the embedded base."""
    trackers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ("tensorboard",)
    """Where accelerate logs besides metrics.jsonl; wandb and trackio come with the extra `trackers`."""


class MemorySection(Strict):
    """How the run fits the device."""

    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Precision of the frozen base and of the computation; LoRA weights are fp32.

    auto: bf16 on a GPU that has it, fp16 on an older one; on a CPU bf16 from batch 4 where it multiplies in bf16 (AMX),
    else fp32."""
    quantize: Literal["none", "nf4"] = "none"
    """The frozen base's transformer layers in 4 bits (QLoRA, arXiv 2305.14314), for cards too small for bf16: a third
    of the weights' memory. The adapter is used on the unquantised base."""
    gradient_checkpointing: Literal["none", "partial", "all"] = "none"
    """Recompute activations in the backward pass instead of keeping them: for no block, for those where a
    byte saved costs least (docs/memory.md), or for all. `false` and `true` mean `none` and `all`."""

    channels_last: bool = False
    """Keep the base's convolutions in NHWC, as tensor cores read them; no gain on a CPU."""
    check: bool = True
    """Check the planned peak against the device's free memory before anything loads, and refuse what would not fit."""

    @field_validator("gradient_checkpointing", mode="before")
    @classmethod
    def _as_level(cls, value: object) -> object:
        return {"false": "none", "true": "all"}.get(str(value).lower(), value)


class ValidationSection(Strict):
    """Loss on held-out examples, candidate adapters, and which of them becomes the version."""

    every: int = Field(default=50, ge=0)
    """Optimizer steps between validations, each of which keeps the adapter of its step as a candidate; the last step is
    always one. 0 turns all of this off: `choose` is then `last`, `patience` 0."""
    examples: int = Field(default=8, ge=1, le=1000)
    """Held-out examples whose loss is taken, spread over all of them."""
    timesteps: int = Field(default=4, ge=1, le=64)
    """Timesteps of each, in the middle of as many equal parts of the noise schedule."""
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    """Seed of their noise, which is the same at every validation."""
    patience: int = Field(default=0, ge=0)
    """Validations without a new lowest loss after which training ends; 0 never ends it early."""
    candidates: int = Field(default=3, ge=1, le=20)
    """Adapters kept to select among: those of lowest validation loss, besides the last."""
    choose: Literal["measured", "loss", "last"] = "measured"
    """Which candidate becomes the version. `measured`: each draws the product as `packshot evaluate` does, with other
    seeds; gate passed, then likeness, then validation loss decide. `loss`: lowest validation loss. `last`:
    the last step."""
    pictures: int = Field(default=6, ge=1, le=100)
    """Pictures each candidate draws: the gate's scenes in turn, then again with the next seed."""
    gate: str = ""
    """Gate file for this selection; empty: the shipped configs/gate.yaml."""


class PreviewSection(Strict):
    """Pictures drawn during training."""

    every: int = Field(default=0, ge=0)
    """Optimizer steps between previews; 0 draws none."""
    scenes: tuple[str, ...] = ("on a white marble vanity, soft daylight",)
    """Where the product stands, in the words one would give `place --prompt`; each scene is drawn as placed (the
    packshot, its surroundings painted) and as inserted (the product drawn by the adapter)."""
    steps: int = Field(default=20, ge=1, le=200)
    """Sampler steps a preview."""
    seed: int = Field(default=0, ge=0, le=LARGEST_SEED)
    """Seed of the previews."""


class TrainConfig(Strict):
    """The configuration of a training run."""

    REFERENCE = "`packshot config show` prints every key and value of a training config"

    base: BaseSection = BaseSection()
    data: DataSection = DataSection()
    adapter: AdapterSection = AdapterSection()
    objective: ObjectiveSection = ObjectiveSection()
    train: TrainSection = TrainSection()
    memory: MemorySection = MemorySection()
    validation: ValidationSection = ValidationSection()
    preview: PreviewSection = PreviewSection()

    @model_validator(mode="after")
    def _fits_together(self) -> TrainConfig:
        if self.train.optimizer == "prodigy" and self.train.learning_rate < 0.1:
            raise ValueError(
                f"prodigy scales its own step size by train.learning_rate ({self.train.learning_rate:g}); set it to 1"
            )
        if self.train.optimizer == "prodigy" and self.adapter.token_embeddings:
            raise ValueError(
                "prodigy has a single learning rate and adapter.token_embeddings needs its own; use adamw8bit"
            )
        if self.train.optimizer != "prodigy" and self.train.learning_rate > 1:
            raise ValueError(f"train.learning_rate {self.train.learning_rate:g} is only for prodigy; use 1 or less")
        if self.objective.ring_weight and not self.objective.ring_px:
            raise ValueError("objective.ring_weight has no effect with objective.ring_px 0; set it to 0 too")
        if self.memory.quantize != "none" and self.adapter.dora:
            raise ValueError(
                "adapter.dora learns the magnitudes of the base's weights, which memory.quantize changes; use one"
            )
        if self.preview.every and not self.preview.scenes:
            raise ValueError("preview.every needs at least one of preview.scenes; add one, or set preview.every=0")
        return self._in_force()

    def _in_force(self) -> TrainConfig:
        """The configuration that holds: a warm-up under the steps, nothing to choose where nothing is validated."""
        changes: dict[str, Any] = {}
        t, v = self.train, self.validation
        if t.warmup >= t.steps:
            cut = t.steps // WARMUP_SHARE
            warn(f"train.warmup ({t.warmup}) must be below train.steps ({t.steps}): using {cut} warm-up steps")
            changes["train"] = t.model_copy(update={"warmup": cut})
        if not v.every and (v.choose != "last" or v.patience):
            changes["validation"] = v.model_copy(update={"choose": "last", "patience": 0})
        return self.model_copy(update=changes) if changes else self
