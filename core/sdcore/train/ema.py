"""The moving average of the U-Net's weights."""

import copy
from collections.abc import Sequence

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor


class Ema:
    """Averages the weights after each update, as diffusers' ``EMAModel`` does by default.

    A whole model rather than a list of tensors, so that it can be saved and sampled from without
    swapping weights in and out of the one that trains.

    Args:
        unet: Its weights now are the first average.
        limit: Upper limit of the decay.
        offload: Keep the average in host memory; each step then waits for a copy.
    """

    def __init__(self, unet: UNet2DConditionModel, limit: float, *, offload: bool) -> None:
        self.model = copy.deepcopy(unet).requires_grad_(False).eval()
        self.model.disable_gradient_checkpointing()
        if offload:
            self.model.to("cpu")
        self.limit, self.updates = limit, 0
        self._shadow: list[Tensor] = list(self.model.parameters())

    def decay_at(self, update: int) -> float:
        """Return the decay of the ``update``-th update, from 1: 0 at first, then rising."""
        past = update - 1
        return min((1 + past) / (10 + past), self.limit) if past > 0 else 0.0

    @torch.no_grad()
    def step(self, parameters: Sequence[Tensor]) -> None:
        """Take the weights after an update into the average."""
        self.updates += 1
        home = self._shadow[0].device
        now = [parameter.to(home) for parameter in parameters]
        # One pass over memory and no copy; EMAModel's own foreach path makes a copy of all.
        torch._foreach_lerp_(self._shadow, now, 1 - self.decay_at(self.updates))
