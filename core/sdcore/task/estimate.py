"""Estimates of disk and memory from settings and the size of the U-Net. Pure."""

import math

from sdcore.task.train_spec import TrainSpec

# Bytes per trained parameter: fp32 weight, fp32 gradient, 8-bit state of Adam, fp32 EMA.
WEIGHT, _GRADIENT, _ADAM_8BIT, _EMA = 4, 4, 2, 4
# State of the others: two fp32 tensors; four; and of Adafactor 2.13 bytes with the SD 1.x U-Net.
_STATE = {"adamw": 8.0, "prodigy": 16.0, "adafactor": 2.13}
# Activations of the SD 1.x U-Net in half precision without gradient checkpointing, per image of
# 512 px: a coarse figure, from 17.2 GB static and batch 32 filling an 80 GB device.
_ACTIVATIONS_512 = 1.9e9
_PARAMETERS_SD1 = 859_520_964
# Parameters of adapters for each unit of rank: in the four projections of the 32 attention layers
# of that U-Net, and of the 12 of its text encoder, which has this share of the U-Net's parameters.
_LORA_UNET, _LORA_TEXT, _TEXT_ENCODER = 199_296, 73_728, 0.143
# What a training process holds before it has a model: libraries, CUDA context, cuDNN workspaces.
_PROCESS = 700_000_000


def trained(train: TrainSpec, parameters: int) -> int:
    """Return how many parameters are trained; of a LoRA, about: its layers are not looked at."""
    if not train.train_lora:
        return parameters
    share = parameters / _PARAMETERS_SD1
    beside = _LORA_UNET + (_LORA_TEXT if train.train_text_encoder else 0)
    return math.ceil(train.rank * beside * share)


def checkpoint_size(train: TrainSpec, parameters: int) -> int:
    """Return the bytes of one checkpoint: 13.8 GB for SD 1.x with EMA and AdamW."""
    each = WEIGHT + _state(train) + (_EMA if train.use_ema else 0)
    return int(trained(train, parameters) * each)


def memory_needed(train: TrainSpec, parameters: int) -> int:
    """Estimate the bytes one device needs; coarse, for a warning and never for a refusal."""
    each = WEIGHT + _GRADIENT + _state(train)
    if train.use_ema and not train.offload_ema:
        each += _EMA
    static = each * trained(train, parameters) + _frozen(train, parameters)
    per_image = _ACTIVATIONS_512 * (train.resolution / 512) ** 2 * parameters / _PARAMETERS_SD1
    if train.mixed_precision in {None, "no"}:
        per_image *= 2
    if train.gradient_checkpointing:  # "auto", too: it is turned on before memory is short
        per_image /= 5
    return int(_PROCESS + static + per_image * train.train_batch_size)


def _state(train: TrainSpec) -> float:
    return _ADAM_8BIT if train.use_8bit_adam else _STATE[train.optimizer]


def _frozen(train: TrainSpec, parameters: int) -> int:
    """Return the bytes of the weights beside adapters: in half precision, where there is any.

    The VAE and, unless it trains, the text encoder have left the device when training begins.
    """
    if not train.train_lora:
        return 0
    text = parameters * _TEXT_ENCODER if train.train_text_encoder else 0
    half = train.mixed_precision not in {None, "no"}
    return int((parameters + text) * (WEIGHT // 2 if half else WEIGHT))
