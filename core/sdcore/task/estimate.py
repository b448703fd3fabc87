"""Estimates of disk and memory from settings and the size of the U-Net. Pure."""

import math
from typing import Literal, NamedTuple

from sdcore.task.train_spec import TrainSpec

FamilyName = Literal["SD", "SDXL"]  # 1.x and 2.x are of one family here

# Bytes per trained parameter: fp32 weight, fp32 gradient, 8-bit state of Adam, fp32 EMA.
WEIGHT, _GRADIENT, _ADAM_8BIT, _EMA = 4, 4, 2, 4
# State of the others: two fp32 tensors; four; and of Adafactor 2.13 bytes with the SD 1.x U-Net.
_STATE = {"adamw": 8.0, "prodigy": 16.0, "adafactor": 2.13}


class _Kind(NamedTuple):
    """A family, by the figures of its model.

    Attributes:
        unet: Parameters of the U-Net.
        activations: Bytes of activations for an image of 512 px, in half precision, without
            gradient checkpointing. Coarse.
        copies: Bytes for each parameter of the U-Net beside what is trained, under autocast: its
            weights in half precision.
        lora: Parameters of adapters for each unit of rank, in the four projections of all
            attention layers of the U-Net.
        lora_text: The same of the text encoders.
        text: Parameters of the text encoders.
        vae: Parameters of the VAE.
    """

    unet: int
    activations: float
    copies: int
    lora: int
    lora_text: int
    text: int
    vae: int


_KINDS: dict[FamilyName, _Kind] = {
    # From 17.2 GB static and batch 32 filling an 80 GB device, so its copies are in there.
    "SD": _Kind(859_520_964, 1.9e9, 0, 199_296, 73_728, 123_060_480, 83_653_863),
    # What autograd keeps of this U-Net at 1024 px is 7.5 times what it keeps of that at 512 px.
    "SDXL": _Kind(2_567_463_684, 1.9e9 * 7.5 / 4, 2, 1_451_520, 395_264, 817_720_320, 83_653_863),
}
# Of the memory that is free, what an estimate may fill: it is coarse, and a full device ends a run.
USABLE = 0.9
# What a training process holds before it has a model: libraries, CUDA context, cuDNN workspaces.
_PROCESS = 700_000_000


def unet_parameters(family: FamilyName) -> int:
    """Return the parameters of the family's own U-Net: of 1.x, and of XL."""
    return _KINDS[family].unet


def trained(train: TrainSpec, parameters: int, family: FamilyName = "SD") -> int:
    """Return how many parameters are trained; of a LoRA, about: its layers are not looked at."""
    if not train.train_lora:
        return parameters
    kind = _KINDS[family]
    beside = kind.lora + (kind.lora_text if train.train_text_encoder else 0)
    return math.ceil(train.rank * beside * parameters / kind.unet)


def pipeline_size(parameters: int, family: FamilyName = "SD") -> int:
    """Return about the bytes of a published pipeline: the U-Net and the frozen parts, in fp32."""
    kind = _KINDS[family]
    return int(WEIGHT * parameters * (1 + (kind.text + kind.vae) / kind.unet))


def checkpoint_size(train: TrainSpec, parameters: int, family: FamilyName = "SD") -> int:
    """Return the bytes of one checkpoint: with EMA and AdamW 13.8 GB for SD 1.x, 41 GB for SDXL."""
    each = WEIGHT + _state(train) + (_EMA if train.use_ema else 0)
    return int(trained(train, parameters, family) * each)


def memory_needed(train: TrainSpec, parameters: int, family: FamilyName = "SD") -> int:
    """Estimate the bytes one device needs; coarse, for a warning and never for a refusal."""
    kind, half = _KINDS[family], train.mixed_precision not in {None, "no"}
    each = WEIGHT + _GRADIENT + _state(train)
    if train.use_ema and not train.offload_ema:
        each += _EMA
    static = each * trained(train, parameters, family) + _frozen(train, parameters, kind)
    if half and not train.train_lora:
        static += kind.copies * parameters
    per_image = kind.activations * (train.resolution / 512) ** 2 * parameters / kind.unet
    if not half:
        per_image *= 2
    if train.gradient_checkpointing:  # "auto", too: it is turned on before memory is short
        per_image /= 5
    return int(_PROCESS + static + per_image * train.train_batch_size)


def memory_expected(
    train: TrainSpec, parameters: int, total: int | None, family: FamilyName = "SD"
) -> int:
    """Estimate the bytes one device will need once what is left to ``auto`` is decided.

    Args:
        train: The settings.
        parameters: Of the U-Net.
        total: Bytes of the device; None where it is not known: activations are then taken to be
            computed twice, which is the least it needs.
        family: Of the model.
    """
    bare = train.model_copy(update={"gradient_checkpointing": False})
    without = memory_needed(bare, parameters, family)
    if train.gradient_checkpointing == "auto" and total and without <= USABLE * total:
        return without
    return memory_needed(train, parameters, family)


def _state(train: TrainSpec) -> float:
    return _ADAM_8BIT if train.use_8bit_adam else _STATE[train.optimizer]


def _frozen(train: TrainSpec, parameters: int, kind: _Kind) -> int:
    """Return the bytes of the weights beside adapters: in half precision, where there is any.

    The VAE and, unless they train, the text encoders have left the device when training begins.
    """
    if not train.train_lora:
        return 0
    text = parameters * kind.text / kind.unet if train.train_text_encoder else 0
    half = train.mixed_precision not in {None, "no"}
    return int((parameters + text) * (WEIGHT // 2 if half else WEIGHT))
