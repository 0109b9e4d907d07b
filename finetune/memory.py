"""Which preset fits this machine. Reads the device, decides nothing else."""

from __future__ import annotations

from finetune.core.device import gpu_memory_gib
from finetune.core.errors import OutOfMemory

# preset -> least total memory of the GPU in GiB (cards report a little under their nominal size)
SDXL_PRESETS = (("sdxl-24gb", 22.0), ("sdxl-16gb", 15.0), ("sdxl-12gb", 11.0), ("sdxl-8gb", 7.4))


def preset_for_this_machine() -> tuple[str, str]:
    """Name of the training preset for this machine, and one line that says why.

    Raises:
        OutOfMemory: there is a GPU, too small for SDXL.
    """
    memory = gpu_memory_gib()
    if memory == 0:
        return "embedded", (
            "no CUDA device: training on the embedded base (256 px), to try Packshot out; "
            "such an adapter fits only the embedded base"
        )
    for name, least in SDXL_PRESETS:
        if memory >= least:
            return name, f"GPU with {memory:.1f} GiB: preset {name}"
    raise OutOfMemory(
        f"the GPU has {memory:.1f} GiB; SDXL needs {SDXL_PRESETS[-1][1]:.0f}",
        "use a larger GPU, or --config embedded to try Packshot out",
    )
