"""From gradients to an update: optimizer, learning rate, clipping and loss scaling."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers.optimization import get_scheduler
from torch import Tensor

from sdcore.errors import NotReadyError, UsageError
from sdcore.task.train_spec import TrainSpec

Rate = Callable[[int], float]


def peak_rate(spec: TrainSpec, world_size: int) -> float:
    """Return the learning rate, multiplied by the effective batch if ``scale_lr`` says so."""
    if not spec.scale_lr:
        return spec.learning_rate
    window = spec.gradient_accumulation_steps * spec.train_batch_size * world_size
    return spec.learning_rate * window


def learning_rates(spec: TrainSpec, peak: float, steps: int) -> Rate:
    """Return the learning rate of each update, counted from 0, by diffusers' schedules.

    A function of the step, so a resume has nothing to restore.

    Raises:
        UsageError: The schedule does not take these numbers.
    """
    probe = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=peak)
    try:
        schedule = get_scheduler(
            spec.lr_scheduler,
            optimizer=probe,
            num_warmup_steps=spec.lr_warmup_steps,
            num_training_steps=steps,
        )
    except ValueError as error:
        raise UsageError(
            f"lr_scheduler {spec.lr_scheduler}",
            cause=str(error),
            remedy="change learning_rate, lr_warmup_steps or max_train_steps",
        ) from error
    factor = schedule.lr_lambdas[0]
    return lambda step: peak * float(factor(step))


def make_optimizer(
    parameters: Iterable[Tensor], spec: TrainSpec, peak: float
) -> torch.optim.Optimizer:
    """Return AdamW over fp32 weights: fused, or with 8-bit state if the spec says so.

    Raises:
        NotReadyError: bitsandbytes is wanted and not installed.
    """
    settings: dict[str, Any] = {
        "lr": peak,
        "betas": (spec.adam_beta1, spec.adam_beta2),
        "weight_decay": spec.adam_weight_decay,
        "eps": spec.adam_epsilon,
    }
    if not spec.use_8bit_adam:
        return torch.optim.AdamW(parameters, fused=True, **settings)
    try:
        import bitsandbytes  # noqa: PLC0415 - not a dependency
    except ImportError as error:
        raise NotReadyError(
            "use_8bit_adam",
            cause="the package bitsandbytes is not installed",
            remedy="pip install bitsandbytes, or leave the flag out",
        ) from error
    optimizer: torch.optim.Optimizer = bitsandbytes.optim.AdamW8bit(parameters, **settings)
    return optimizer


@dataclass
class Updater:
    """Makes one update from the gradients of a window.

    Attributes:
        parameters: Of the U-Net, all trained.
        optimizer: Over them.
        rate: Learning rate of each update.
        scaler: Of the loss; does nothing unless enabled (fp16).
        max_norm: Clip to this global L2 norm; 0 clips nothing.
        skipped: Updates left out so far because gradients overflowed; fp16 only.
    """

    parameters: Sequence[Tensor]
    optimizer: torch.optim.Optimizer
    rate: Rate
    scaler: torch.amp.GradScaler
    max_norm: float
    skipped: int = 0
    loss_scale: float | None = field(default=None, init=False)

    def apply(self, step: int) -> tuple[Tensor, bool]:
        """Clip, update and clear the gradients.

        Args:
            step: Updates made before this one.

        Returns:
            The global norm before clipping, a scalar on the device, and whether the weights
            were changed: under loss scaling an overflow leaves them as they are.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(step)
        self.scaler.unscale_(self.optimizer)
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if self.max_norm:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.max_norm, norm)
        self.scaler.step(self.optimizer)
        changed = self._rescale()
        self.optimizer.zero_grad(set_to_none=True)
        return norm, changed

    def _rescale(self) -> bool:
        """Adapt the loss scale; say whether the update was made.

        Reading the scale is the one wait for the device in a step, and in fp16 alone: whether
        an update was made decides the next learning rate, the average and the count.
        """
        if not self.scaler.is_enabled():
            return True
        before = self.loss_scale or self.scaler.get_scale()
        self.scaler.update()
        self.loss_scale = self.scaler.get_scale()
        changed = self.loss_scale >= before
        self.skipped += not changed
        return changed
