"""The loss on images that are held out of training.

What is measured is the same at every step: the same images at the same timesteps under the same
noise. So the curve moves only with the weights, and a run's figures can be compared with those of
another run over the same data and seed, whatever its loss settings.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sdcore.data import DataIndex
from sdcore.data.buckets import Size
from sdcore.errors import NotReadyError
from sdcore.task.train_spec import TrainSpec
from sdcore.train.batches import Batches
from sdcore.train.ema import Ema
from sdcore.train.latents import Draw
from sdcore.train.precision import Precision
from sdcore.train.randomness import Stream, generator
from sdcore.train.report import Report
from sdcore.train.step import Objective, predictor
from sdcore.train.trainees import Trainee
from sdcore.train.world import World
from sdcore.units import count

_LEAST_VISITS = 64  # few images are visited several times, for a mean over the whole schedule
_CENTRE = (0.5, 0.5)


def split(rows: Sequence[int], spec: TrainSpec, seed: int) -> tuple[Sequence[int], Sequence[int]]:
    """Part the usable rows into those that are trained on and those that are held out.

    Raises:
        NotReadyError: Nothing would be left to train on.
    """
    wish = spec.validation_split
    if not wish:
        return rows, ()
    held = max(1, round(wish * len(rows))) if wish < 1 else int(wish)
    if held >= len(rows):
        raise NotReadyError(
            f"validation_split {wish:g}",
            cause=f"it holds out {held} of {count(len(rows), 'image')}: none is left to train on",
            remedy="hold out fewer",
        )
    shuffled = generator(seed, Stream.HELD_OUT, 0).permutation(len(rows))
    out = {int(place) for place in shuffled[:held]}
    return (
        [row for place, row in enumerate(rows) if place not in out],
        [row for place, row in enumerate(rows) if place in out],
    )


class Visit(NamedTuple):
    """One forward pass over one held-out image."""

    draw: Draw
    timestep: int


def visits_of(index: DataIndex, rows: Sequence[int], seed: int, timesteps: int) -> list[Visit]:
    """Spread visits over images and schedule.

    Each round visits every image once, at timesteps that part the schedule evenly; an image's
    place among them changes from round to round.

    Args:
        index: The data.
        rows: Held out.
        seed: Of the run.
        timesteps: Length of the schedule.
    """
    rounds = math.ceil(_LEAST_VISITS / len(rows))
    total = rounds * len(rows)
    visits: list[Visit] = []
    for turn in range(rounds):
        places = generator(seed, Stream.HELD_OUT, 1 + turn).permutation(len(rows))
        for row, place in zip(rows, places, strict=True):
            caption = turn % len(index.rows[row].captions)
            draw = Draw(len(visits), row, caption, flip=False, crop=_CENTRE)
            visits.append(Visit(draw, int((int(place) * rounds + turn + 0.5) / total * timesteps)))
    return visits


class Validation(NamedTuple):
    """What was measured.

    Attributes:
        loss: Of the weights that are trained.
        ema: Of their average; None without one.
        until: When it was done, monotonic s.
    """

    loss: float
    ema: float | None
    until: float

    @property
    def named(self) -> dict[str, float]:
        """By their names in the metrics."""
        found = {"val_loss": self.loss}
        return found if self.ema is None else {**found, "val_loss_ema": self.ema}


@dataclass(frozen=True, slots=True)
class Validator:
    """Measures the mean squared error over the visits; called by all ranks alike.

    Attributes:
        visits: The same on all ranks.
        batch: Images per forward pass.
        trainee: What is trained.
    """

    visits: Sequence[Visit]
    batch: int
    batches: Batches
    objective: Objective
    trainee: Trainee
    ema: Ema | None
    world: World
    precision: Precision
    report: Report

    def measure(self, step: int) -> Validation:
        """Measure, tell, and return what was found; waits for the device."""
        loss = self._loss_of(self.trainee.net)
        averaged = self._loss_of_average(self.ema) if self.ema is not None else None
        self.report.event("validation", step=step, loss=loss, ema=averaged,
                          visits=len(self.visits))  # fmt: skip
        also = "" if averaged is None else f", of the average {averaged:.5f}"
        self.report.say(f"validation loss at step {step:,}: {loss:.5f}{also}")
        return Validation(loss, averaged, time.monotonic())

    def _loss_of_average(self, ema: Ema) -> float:
        trainee = self.trainee
        with trainee.with_average(ema.model) as unet:
            return self._loss_of(unet if trainee.net is trainee.unet else trainee.net)

    @torch.no_grad()
    def _loss_of(self, net: nn.Module) -> float:
        device = self.world.device
        home, trained = next(net.parameters()).device, net.training
        net.to(device).eval()
        # Each figure has its own place, zero on the other ranks: the sum does not round.
        losses_N = torch.zeros(len(self.visits), device=device)
        try:
            for some in self._passes()[self.world.rank :: self.world.size]:
                losses_N[some] = self._losses(net, some)
        finally:
            net.to(home).train(trained)
        return float(self.world.sum_(losses_N).double().mean())

    def _passes(self) -> list[list[int]]:
        """Return which visits go through the network together: those of one size."""
        by_size: dict[Size, list[int]] = {}
        for number, visit in enumerate(self.visits):
            by_size.setdefault(self.batches.latents.size(visit.draw.row), []).append(number)
        return [
            some[start : start + self.batch]
            for some in by_size.values()
            for start in range(0, len(some), self.batch)
        ]

    def _losses(self, net: nn.Module, numbers: Sequence[int]) -> Tensor:
        some = [self.visits[number] for number in numbers]
        batch = self.batches.held_out([v.draw for v in some], [v.timestep for v in some])
        enabled = self.precision.mode != "no"
        with torch.autocast(self.world.device.type, self.precision.dtype, enabled=enabled):
            return self.objective.unweighted(batch, predictor(net))
