"""How much an optimizer keeps per weight."""

import torch
from torch import Tensor

# Tensors of the weight's own size; of Adam's 8-bit state two bytes, and the scales.
_TENSORS = {"AdamW": 2, "Prodigy": 4}


def state_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Return about how many bytes an optimizer's state takes, also before it has one."""
    weights: list[Tensor] = [p for group in optimizer.param_groups for p in group["params"]]
    kind = type(optimizer).__name__
    if kind == "Adafactor":
        return sum(_factored(weight) for weight in weights)
    return _TENSORS.get(kind, 1) * sum(weight.nbytes for weight in weights)


def _factored(weight: Tensor) -> int:
    """Return the bytes of a row and a column for each matrix of the last two axes."""
    if weight.ndim < 2:
        return weight.nbytes
    return weight.nbytes // weight.shape[-1] + weight.nbytes // weight.shape[-2]
