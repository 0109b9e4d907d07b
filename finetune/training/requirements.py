"""What a training needs besides its data, checked before anything loads."""

from __future__ import annotations

from finetune.core.basemodel.resolve import ResolvedBase
from finetune.core.device import pick_device, pick_dtype
from finetune.core.errors import BaseModelError
from finetune.training.optimizers import check_optimizer
from finetune.training.trackers import check_trackers
from finetune.unet import execution


def check_libraries(*, optimizer: str, trackers: tuple[str, ...], precision: str, compiled: bool) -> None:
    """Refuse settings this machine cannot honour.

    Args:
        optimizer: `train.optimizer`.
        trackers: `train.trackers`.
        precision: `memory.precision`.
        compiled: `train.compile`.

    Raises:
        ConfigError: a package, a compiler or a GPU is missing.
    """
    check_optimizer(optimizer)
    if precision == "fp16":
        pick_dtype("fp16", pick_device())
    if compiled:
        execution.check_compiler()
    check_trackers(trackers)


def check_schedule(base: ResolvedBase) -> None:
    """Refuse a base whose noise schedule and prediction type cannot be trained together.

    Raises:
        BaseModelError: it predicts neither noise nor v, or noise where its schedule ends in pure noise.
    """
    if base.prediction_type not in ("epsilon", "v_prediction"):
        raise BaseModelError(
            f"base '{base.name}' predicts '{base.prediction_type}'; Packshot trains epsilon and v_prediction",
            "use an SDXL base that predicts noise (epsilon) or v",
        )
    if base.zero_snr and base.prediction_type == "epsilon":
        single = base.layout == "single-file"
        declare = (
            "the empty tensor `v_pred` in the checkpoint"
            if single
            else "prediction_type: v_prediction in scheduler_config.json"
        )
        remove = "`ztsnr` from the checkpoint" if single else "rescale_betas_zero_snr from scheduler_config.json"
        raise BaseModelError(
            f"base '{base.name}' predicts noise, but its schedule ends in pure noise (zero terminal SNR), "
            "where noise prediction carries no information about the picture",
            f"if its UNet predicts v, declare it ({declare}); otherwise remove {remove}",
        )
