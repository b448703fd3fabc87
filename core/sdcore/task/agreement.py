"""Which settings of a training make no sense together.

Apart from the settings themselves, which are long enough as a table.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sdcore.task.train_spec import TrainSpec

# The settings that change what adapters are; each is refused without ``train_lora``.
LORA_FIELDS = ("rank", "lora_alpha", "lora_target_modules", "lora_dropout", "train_text_encoder")

# The settings of buckets; each is refused without ``enable_bucket``.
BUCKET_FIELDS = ("min_bucket_reso", "max_bucket_reso", "bucket_reso_steps")


def conflict(spec: "TrainSpec") -> str | None:
    """Say which two settings make no sense together, and what to do."""
    if spec.dream_training and spec.input_perturbation:
        return "dream_training and input_perturbation cannot be combined"
    alone = _lora_alone(spec) or _buckets(spec) or _optimizer(spec)
    if alone is not None:
        return alone
    if spec.save_single_file and spec.train_lora:
        return (
            "save_single_file with train_lora: adapters are one file already, which image programs "
            "load beside a model; leave save_single_file out"
        )
    if spec.rescale_betas_zero_snr and spec.prediction_type == "epsilon":
        return (
            "rescale_betas_zero_snr with prediction_type epsilon: at the last timestep the input "
            "is the noise itself, and there is nothing to learn; use v_prediction"
        )
    if spec.timestep_bias_strategy == "range":
        begin, end = spec.timestep_bias_begin, spec.timestep_bias_end
        if begin >= end:
            return f"timestep_bias_begin {begin} must be below timestep_bias_end {end}"
    if spec.validation_split > 1 and not spec.validation_split.is_integer():
        return f"validation_split {spec.validation_split:g} is neither a share nor a whole number"
    return None


def _lora_alone(spec: "TrainSpec") -> str | None:
    """Say which setting of LoRA was changed for a training of the whole model."""
    if spec.train_lora:
        return None
    for name in _changed(spec, LORA_FIELDS):
        return (
            f"{name} is a setting of LoRA, and train_lora is off: all weights of the U-Net "
            f"would be trained; set train_lora, or leave {name} out"
        )
    return None


def _optimizer(spec: "TrainSpec") -> str | None:
    """Say which settings are of another optimizer."""
    if spec.use_8bit_adam and spec.optimizer != "adamw":
        return f"use_8bit_adam is a form of adamw; leave it out, or optimizer {spec.optimizer}"
    if spec.fused_optimizer is True and (spec.use_8bit_adam or spec.optimizer != "adamw"):
        return "fused_optimizer is a form of torch's own adamw; leave it at auto"
    if spec.scale_lr and spec.optimizer == "prodigy":
        return "prodigy finds the rate for its batch itself; leave scale_lr out"
    return None


def _changed(spec: "TrainSpec", names: tuple[str, ...]) -> list[str]:
    """Return which of these settings are not left at their default."""
    fields = type(spec).model_fields
    return [name for name in names if getattr(spec, name) != fields[name].default]


def bucket_limits(spec: "TrainSpec") -> tuple[int, int]:
    """Return the shortest and the longest side of a bucket, px."""
    least, most = spec.min_bucket_reso, spec.max_bucket_reso
    return least or spec.resolution // 2, most or 2 * spec.resolution


def _buckets(spec: "TrainSpec") -> str | None:
    """Say what is wrong with the settings of buckets."""
    if not spec.enable_bucket:
        for name in _changed(spec, BUCKET_FIELDS):
            return (
                f"{name} is a setting of buckets, and enable_bucket is off: every image would "
                f"be cut to a square; set enable_bucket, or leave {name} out"
            )
        return None
    least, most = bucket_limits(spec)
    square = spec.resolution // spec.bucket_reso_steps * spec.bucket_reso_steps
    if not least <= square <= most:
        return (
            f"with enable_bucket, resolution {spec.resolution} in steps of bucket_reso_steps "
            f"{spec.bucket_reso_steps} is a square of {square} px, which is not between "
            f"min_bucket_reso {least} and max_bucket_reso {most}: change one of them"
        )
    if spec.torch_compile:
        return (
            "torch_compile with enable_bucket: every size of image would be compiled anew, for "
            "minutes each; leave one of them out"
        )
    return None
