"""From gradients to an update: optimizer, learning rate, clipping and loss scaling."""

import importlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
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
    """Return the optimizer a spec names, over fp32 weights.

    Its learning rate is set from outside before each update: what Adafactor could choose by
    itself is off. Prodigy multiplies the rate it finds by the one that is set.

    Raises:
        NotReadyError: Its package is not installed.
    """
    kind = optimizer_class(spec)
    shared = {"lr": peak, "weight_decay": spec.adam_weight_decay}
    adam = {"betas": (spec.adam_beta1, spec.adam_beta2), "eps": spec.adam_epsilon}
    made: torch.optim.Optimizer
    if spec.optimizer == "adafactor":
        made = kind(parameters, scale_parameter=False, relative_step=False, **shared)
    elif spec.optimizer == "prodigy":
        with redirect_stdout(StringIO()):  # it prints a word about its weight decay
            made = kind(parameters, **shared, **adam)
    else:
        fused = {} if spec.use_8bit_adam else {"fused": spec.fused_optimizer is not False}
        made = kind(parameters, **shared, **adam, **fused)
    return made


def optimizer_class(spec: TrainSpec) -> Any:
    """Import and return the class of the optimizer; to be tried before hours of caching.

    Raises:
        NotReadyError: Its package is not installed.
    """
    if spec.optimizer == "adafactor":
        from transformers.optimization import Adafactor  # noqa: PLC0415 - seldom used, 1 s

        return Adafactor
    if spec.optimizer == "prodigy":
        return _imported("prodigyopt", "optimizer prodigy", "choose another optimizer").Prodigy
    if spec.use_8bit_adam:
        return _imported("bitsandbytes", "use_8bit_adam", "leave the flag out").optim.AdamW8bit
    return torch.optim.AdamW


def _imported(package: str, what: str, otherwise: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise NotReadyError(
            what,
            cause=f"the package {package} is not installed",
            remedy=f"pip install {package}, or {otherwise}",
        ) from error


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

    @property
    def estimate(self) -> float | None:
        """Prodigy's factor of the next update's rate; None with other optimizers."""
        found = self.optimizer.param_groups[0].get("d")
        return None if found is None else float(found)

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
