"""Imports all that a training command does; preloaded by the server that `started_commands` forks from."""

import gc
from importlib import import_module

from PIL import Image

from finetune.core import console

LIBRARIES = (
    "accelerate.utils",
    "bitsandbytes",
    "datasets",
    "peft",
    "diffusers.models.autoencoders.autoencoder_kl",
    "diffusers.models.unets.unet_2d_condition",
    "diffusers.optimization",
    "diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl_inpaint",
    "diffusers.schedulers.scheduling_euler_discrete",
    "transformers.models.clip.modeling_clip",
    "transformers.models.clip.tokenization_clip",
    "diffusers.training_utils",
    "matplotlib.backends.backend_svg",
    "matplotlib.figure",
    "finetune.cli.training",
    "finetune.prepare",
    "finetune.runs.report",
    "finetune.training.observers",
    "finetune.validation.previews",
    "finetune.train",
    "finetune.training.session",
    "finetune.validation.session",
)

gc.disable()  # what is imported stays: looking for garbage in it takes a tenth of the time
console.quiet_libraries()
for name in LIBRARIES:
    import_module(name)
Image.init()
gc.collect()
gc.freeze()  # what is imported lives as long as every command that is forked from here
gc.enable()
