"""The embedded base's sizes, in one place: every module is built here and nowhere else.

The layout is SDXL's own (two text encoders, `text_time` conditioning, linear
projections, a first level without attention); only the widths are small.
"""

from __future__ import annotations

from diffusers import AutoencoderKL, EulerDiscreteScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

SAMPLE_SIZE = 256
LATENT_CHANNELS = 4
VAE_FACTOR = 8
MAX_TOKENS = 77
TEXT_WIDTH = 96
TEXT_2_WIDTH = 160
TIME_ID_WIDTH = 32
TIME_ID_COUNT = 6


def build_autoencoder() -> AutoencoderKL:
    """A picture (n, 3, h, w) in [-1, 1] to latents (n, 4, h/8, w/8) and back."""
    return AutoencoderKL(
        block_out_channels=(24, 40, 96, 128),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        sample_size=SAMPLE_SIZE,
        force_upcast=False,
    )


def build_unet() -> UNet2DConditionModel:
    """Noisy latents, mask and masked picture (n, 9, h/8, w/8) to noise (n, 4, h/8, w/8)."""
    return UNet2DConditionModel(
        sample_size=SAMPLE_SIZE // VAE_FACTOR,
        in_channels=2 * LATENT_CHANNELS + 1,
        out_channels=LATENT_CHANNELS,
        block_out_channels=(96, 128, 144),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        transformer_layers_per_block=(1, 1, 1),
        attention_head_dim=(3, 4, 4),
        cross_attention_dim=TEXT_WIDTH + TEXT_2_WIDTH,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=TIME_ID_WIDTH,
        projection_class_embeddings_input_dim=TEXT_2_WIDTH + TIME_ID_COUNT * TIME_ID_WIDTH,
        norm_num_groups=16,
    )


def build_text_encoders(
    vocab_size: int, start_id: int, end_id: int, pad_id: int
) -> tuple[CLIPTextModel, CLIPTextModelWithProjection]:
    """Token ids (n, 77) to states (n, 77, 96) and (n, 77, 160), pooled (n, 160).

    `end_id` picks the state that is pooled. It must not be 2: transformers
    takes that value for CLIP's legacy config and pools elsewhere.
    """
    if end_id == 2:
        raise ValueError("the end token must not have id 2")

    def config(width: int, heads: int, activation: str, pad: int) -> CLIPTextConfig:
        return CLIPTextConfig(
            vocab_size=vocab_size,
            hidden_size=width,
            intermediate_size=4 * width,
            projection_dim=width,
            num_hidden_layers=2,
            num_attention_heads=heads,
            max_position_embeddings=MAX_TOKENS,
            hidden_act=activation,
            bos_token_id=start_id,
            eos_token_id=end_id,
            pad_token_id=pad,
        )

    first = CLIPTextModel(config(TEXT_WIDTH, 3, "quick_gelu", end_id))
    second = CLIPTextModelWithProjection(config(TEXT_2_WIDTH, 5, "gelu", pad_id))
    return first, second


def build_scheduler() -> EulerDiscreteScheduler:
    """SDXL's scheduler with SDXL's settings."""
    return EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        num_train_timesteps=1000,
        prediction_type="epsilon",
        timestep_spacing="leading",
        steps_offset=1,
    )


def count_parameters(module: object) -> int:
    """Parameters of a torch module, in all."""
    return sum(p.numel() for p in module.parameters())  # type: ignore[attr-defined]
