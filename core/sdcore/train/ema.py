"""The moving average of the trained weights."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from sdcore.task.train_spec import TrainSpec


@dataclass(frozen=True, slots=True)
class Decay:
    """The decay of each update, as diffusers' ``EMAModel`` computes it.

    Attributes:
        limit: Upper limit, in [0, 1).
        after: Updates that only copy the weights.
        warmup: Rise as 1 - (1 + n / gamma)^-power, else as (1 + n) / (10 + n).
        inv_gamma: See ``warmup``; > 0.
        power: See ``warmup``; > 0.
    """

    limit: float
    after: int = 0
    warmup: bool = False
    inv_gamma: float = 1.0
    power: float = 2 / 3

    @classmethod
    def of(cls, spec: TrainSpec) -> Self:
        """Return the decay a spec asks for."""
        return cls(
            spec.ema_decay, spec.ema_update_after_step, spec.use_ema_warmup, spec.ema_inv_gamma,
            spec.ema_power,
        )  # fmt: skip

    def at(self, update: int) -> float:
        """Return the decay of the ``update``-th update, from 1: 0 at first, then rising."""
        past = update - self.after - 1
        if past <= 0:
            return 0.0
        if self.warmup:
            rising: float = 1 - (1 + past / self.inv_gamma) ** -self.power
        else:
            rising = (1 + past) / (10 + past)
        return min(rising, self.limit)


class Ema:
    """Averages the weights after each update.

    A whole model rather than a list of tensors, so that it can be saved and sampled from without
    swapping weights in and out of the one that trains.

    Args:
        unet: Its weights now are the first average.
        decay: Of each update.
        offload: Keep the average in host memory; each step then waits for a copy.
    """

    def __init__(self, unet: Any, decay: Decay, *, offload: bool) -> None:
        self.model = copy.deepcopy(unet).requires_grad_(False).eval()
        if hasattr(self.model, "disable_gradient_checkpointing"):  # adapters alone compute nothing
            self.model.disable_gradient_checkpointing()
        if offload:
            self.model.to("cpu")
        self.decay, self.updates = decay, 0
        self._shadow: list[Tensor] = list(self.model.parameters())
        self._landing = Landing() if offload else None

    @torch.no_grad()
    def step(self, parameters: Sequence[Tensor]) -> None:
        """Take the weights after an update into the average."""
        self.updates += 1
        now = list(parameters) if self._landing is None else self._landing.copy(parameters)
        # One pass over memory and no copy; EMAModel's own foreach path makes a copy of all.
        torch._foreach_lerp_(self._shadow, now, 1 - self.decay.at(self.updates))


class Landing:
    """Host memory that weights are copied to; page-locked for a GPU's, and kept from step to step.

    Page-locked memory takes longer to get than to fill, and only copies to it are queued one
    behind the other instead of each being waited for.
    """

    def __init__(self) -> None:
        self._host: list[Tensor] = []

    def copy(self, weights: Sequence[Tensor]) -> list[Tensor]:
        """Return copies of ``weights``, which the next call overwrites."""
        if not self._host:
            self._host = [
                torch.empty_like(weight, device="cpu", pin_memory=weight.is_cuda)
                for weight in weights
            ]
        torch._foreach_copy_(self._host, list(weights), non_blocking=True)
        if weights[0].is_cuda:
            torch.cuda.current_stream(weights[0].device).synchronize()
        return self._host
