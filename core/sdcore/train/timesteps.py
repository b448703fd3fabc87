"""Timesteps: which are drawn, and the loss by where in the schedule it was made."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sdcore.errors import UsageError
from sdcore.task.train_spec import TrainSpec
from sdcore.train.randomness import Stream, integers, uniform

BUCKETS = 10  # equal parts of the schedule, the least noise first
_TOLD_EVERY = 100  # steps between two reports


@dataclass(frozen=True, slots=True)
class Timesteps:
    """Draws the timestep of each sample.

    Attributes:
        seed: Of the run.
        count: Length of the schedule: timesteps are in [0, ``count``).
        ends: Rising, the last 1: timestep t is drawn for numbers below ``ends[t]`` that are not
            below ``ends[t - 1]``. None draws all alike.
    """

    seed: int
    count: int
    ends: npt.NDArray[np.float64] | None = None

    @classmethod
    def of(cls, spec: TrainSpec, seed: int, count: int) -> Self:
        """Return what a spec asks for, by the flags of diffusers' SDXL script.

        Raises:
            UsageError: The range of the bias does not lie within the schedule.
        """
        if spec.timestep_bias_strategy == "none":
            return cls(seed, count)
        if spec.timestep_bias_strategy == "range" and spec.timestep_bias_end > count:
            raise UsageError(
                f"timestep_bias_end {spec.timestep_bias_end}",
                cause=f"the model's schedule has {count} timesteps",
                remedy=f"set it to {count} or less",
            )
        weights = np.ones(count)
        weights[_biased(spec, count)] *= spec.timestep_bias_multiplier
        ends = np.cumsum(weights)
        return cls(seed, count, ends / ends[-1])

    def at(self, positions: Sequence[int]) -> list[int]:
        """Return each sample's timestep."""
        if self.ends is None:
            return integers(self.seed, Stream.TIMESTEP, positions, self.count)
        numbers = [uniform(self.seed, Stream.TIMESTEP, position) for position in positions]
        return [int(t) for t in np.searchsorted(self.ends, numbers, side="right")]


def _biased(spec: TrainSpec, count: int) -> slice:
    portion = int(spec.timestep_bias_portion * count)
    if spec.timestep_bias_strategy == "earlier":
        return slice(0, portion)
    if spec.timestep_bias_strategy == "later":
        return slice(count - portion, count)
    return slice(spec.timestep_bias_begin, spec.timestep_bias_end)


def by_bucket(loss_B: Tensor, timesteps_B: Tensor, count: int) -> Tensor:
    """Return the sum of the losses in each bucket, then how many they are, (2 * BUCKETS,).

    Args:
        loss_B: Of each image, (B,).
        timesteps_B: Integers in [0, ``count``), (B,).
        count: Length of the schedule.
    """
    numbers_K = torch.arange(BUCKETS, device=timesteps_B.device)
    inside_BK = (timesteps_B * BUCKETS // count)[:, None] == numbers_K
    # Not a scatter, whose sums on a GPU depend on the order; nor a product, which would spread NaN.
    sums_K = torch.where(inside_BK, loss_B.detach()[:, None], 0.0).sum(dim=0)
    return torch.cat([sums_K, inside_BK.sum(dim=0)])


class BucketMeans:
    """Adds up what ``by_bucket`` gave, on the host, until it is time to tell."""

    def __init__(self) -> None:
        self._totals, self._first = np.zeros((2, BUCKETS)), 0

    @property
    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, so that a resume goes on adding; exact in JSON."""
        sums, counts = self._totals.tolist()
        return {"first_step": self._first, "sums": sums, "images": counts}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self._first = int(state["first_step"])
        self._totals = np.asarray([state["sums"], state["images"]], np.float64)

    def take(self, step: int, numbers: Sequence[float]) -> None:
        """Add the numbers of a step, as ``by_bucket`` orders them."""
        self._first = self._first or step
        self._totals += np.asarray(numbers).reshape(2, BUCKETS)

    def due(self, step: int, last: int) -> dict[str, object] | None:
        """Return the fields of an event and begin anew, every 100 steps and at the end.

        Args:
            step: Just taken.
            last: Of the run.
        """
        if step % _TOLD_EVERY and step != last:
            return None
        sums, counts = self._totals.tolist()
        means = [total / n if n else None for total, n in zip(sums, counts, strict=True)]
        found: dict[str, object] = {
            "first_step": self._first, "step": step, "means": means,
            "images": [int(n) for n in counts],
        }  # fmt: skip
        self._totals, self._first = np.zeros((2, BUCKETS)), 0
        return found
