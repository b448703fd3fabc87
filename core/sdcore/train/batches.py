"""From a global position to what a forward pass sees."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from sdcore.data import BadImageError, DataIndex
from sdcore.task.train_spec import TrainSpec
from sdcore.train.families import conditions
from sdcore.train.latefaults import LateFaults
from sdcore.train.latents import Draw, LatentSource
from sdcore.train.pinning import PageLocks
from sdcore.train.randomness import BlockOrder, Order, Stream, generator, normal, uniform
from sdcore.train.step import Batch
from sdcore.train.texts import Texts
from sdcore.train.timesteps import Timesteps


@dataclass(frozen=True, slots=True)
class Chances:
    """What chance decides about samples, before any pixel is read.

    Attributes:
        index: The data.
        rows: Of the images that are trained on.
        order: Over ``rows``.
        spec: Flip, empty captions, noise.
        seed: Of the run.
        timesteps: Draws them.
    """

    index: DataIndex
    rows: Sequence[int]
    order: Order | BlockOrder
    spec: TrainSpec
    seed: int
    timesteps: Timesteps

    def draw(self, position: int) -> Draw:
        """Decide row, caption, flip and crop of the sample at a global position."""
        row = self.rows[self.order.row(position)]
        captions = len(self.index.rows[row].captions)
        crop = generator(self.seed, Stream.CROP, position).random(2)
        return Draw(
            position=position,
            row=row,
            caption=self._caption(position, captions),
            flip=self.spec.random_flip and uniform(self.seed, Stream.FLIP, position) < 0.5,
            crop=(float(crop[0]), float(crop[1])),
        )

    def timesteps_at(self, positions: Sequence[int]) -> list[int]:
        """Return each sample's timestep."""
        return self.timesteps.at(positions)

    def names(self, positions: Sequence[int]) -> list[str]:
        """Return the names of the images shown at these positions, for messages."""
        return [self.index.rows[self.draw(position).row].name for position in positions]

    def redraw(self, draw: Draw, row: int) -> Draw:
        """Return ``draw`` with a caption of ``row``."""
        captions = len(self.index.rows[row].captions)
        return replace(draw, caption=self._caption(draw.position, captions))

    def _caption(self, position: int, captions: int) -> int | None:
        share = self.spec.proportion_empty_prompts
        if share and uniform(self.seed, Stream.EMPTY_CAPTION, position) < share:
            return None
        return int(uniform(self.seed, Stream.CAPTION, position) * captions)


@dataclass(frozen=True, slots=True)
class Batches:
    """Makes the batch of any positions, on the device."""

    chances: Chances
    latents: LatentSource
    texts: Texts
    device: torch.device
    faults: LateFaults
    sized: bool  # whether the model is told sizes and crops
    locks: PageLocks = field(default_factory=PageLocks)

    def at(self, positions: Sequence[int]) -> Batch:
        """Return the batch of these samples; the same on every device and rank."""
        draws, moments = self._shown([self.chances.draw(position) for position in positions])
        _, channels, *sides = moments.shape
        shape = (channels // 2, *sides)
        spec, move = self.chances.spec, self._mover()
        return Batch(
            moments=move(moments),
            posterior=move(self._normal(Stream.POSTERIOR, positions, shape)),
            noise=move(self._normal(Stream.NOISE, positions, shape)),
            offset=move(self._normal(Stream.OFFSET, positions, (shape[0], 1, 1)))
            if spec.noise_offset
            else None,
            perturbation=move(self._normal(Stream.PERTURBATION, positions, shape))
            if spec.input_perturbation
            else None,
            timesteps=move(torch.tensor(self.chances.timesteps_at(positions))),
            **self._text(draws, move),
        )

    def held_out(self, draws: Sequence[Draw], timesteps: Sequence[int]) -> Batch:
        """Return the batch of a validation, under plain noise that ``Draw.position`` decides."""
        draws, moments = self._shown(draws)
        numbers = [draw.position for draw in draws]
        _, channels, *sides = moments.shape
        shape, move = (channels // 2, *sides), self._mover()
        return Batch(
            moments=move(moments),
            posterior=move(self._normal(Stream.VALIDATION_POSTERIOR, numbers, shape)),
            noise=move(self._normal(Stream.VALIDATION_NOISE, numbers, shape)),
            offset=None,
            perturbation=None,
            timesteps=move(torch.tensor(timesteps)),
            **self._text(draws, move),
        )

    def _text(self, draws: Sequence[Draw], move: Callable[[Tensor], Tensor]) -> dict[str, Any]:
        """Return the fields of a batch that say what is to be drawn."""
        text = self.texts(draws)
        frames = [self.latents.frame(draw) for draw in draws] if self.sized else None
        added = conditions(text, frames)
        moved = None if added is None else {name: move(part) for name, part in added.items()}
        return {"text": move(text.states), "added": moved}

    def _shown(self, draws: Sequence[Draw]) -> tuple[list[Draw], Tensor]:
        """Return what is shown in the end, and its moments, where an image went bad meanwhile."""
        while True:
            bad = self.faults.bad
            shown = self.faults.around(draws, self.chances.redraw, bad)
            try:
                return shown, self.latents.moments(shown)
            except BadImageError as error:
                names = [self.chances.index.rows[draw.row].name for draw in shown]
                self.faults.take([self.faults.judge(error, shown, names, bad)])

    def _normal(self, stream: Stream, positions: Sequence[int], shape: tuple[int, ...]) -> Tensor:
        return normal(self.chances.seed, stream, positions, shape)

    def _mover(self) -> Callable[[Tensor], Tensor]:
        if self.device.type == "cpu":
            return lambda tensor: tensor

        def move(tensor: Tensor) -> Tensor:
            if tensor.device == self.device:
                return tensor
            # Page-locked, so that the copy runs while the device still computes the last step.
            return self.locks.locked(tensor).to(self.device, non_blocking=True)

        return move
