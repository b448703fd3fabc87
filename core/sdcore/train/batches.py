"""From a global position to what a forward pass sees."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sdcore.data import DataIndex
from sdcore.task.train_spec import TrainSpec
from sdcore.train.latents import Draw, LatentSource
from sdcore.train.randomness import Order, Stream, generator, integers, normal, uniform
from sdcore.train.step import Batch
from sdcore.train.texts import TextSource


@dataclass(frozen=True, slots=True)
class Chances:
    """What chance decides about samples, before any pixel is read."""

    index: DataIndex
    rows: Sequence[int]
    order: Order
    spec: TrainSpec
    seed: int
    timesteps: int

    def draw(self, position: int) -> Draw:
        """Decide row, caption, flip and crop of the sample at a global position."""
        row = self.rows[self.order.row(position)]
        captions = len(self.index.rows[row].captions)
        crop = generator(self.seed, Stream.CROP, position).random(2)
        return Draw(
            position=position,
            row=row,
            caption=int(uniform(self.seed, Stream.CAPTION, position) * captions),
            flip=self.spec.random_flip and uniform(self.seed, Stream.FLIP, position) < 0.5,
            crop=(float(crop[0]), float(crop[1])),
        )

    def timesteps_at(self, positions: Sequence[int]) -> list[int]:
        """Return each sample's timestep, in [0, ``timesteps``)."""
        return integers(self.seed, Stream.TIMESTEP, positions, self.timesteps)

    def names(self, positions: Sequence[int]) -> list[str]:
        """Return the names of the images shown at these positions, for messages."""
        return [self.index.rows[self.draw(position).row].name for position in positions]


@dataclass(frozen=True, slots=True)
class Batches:
    """Makes the batch of any positions, on the device."""

    chances: Chances
    latents: LatentSource
    texts: TextSource
    device: torch.device

    def at(self, positions: Sequence[int]) -> Batch:
        """Return the batch of these samples; the same on every device and rank."""
        draws = [self.chances.draw(position) for position in positions]
        moments = self.latents.moments(draws)
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
            text=move(self.texts.embeddings(draws)),
        )

    def _normal(self, stream: Stream, positions: Sequence[int], shape: tuple[int, ...]) -> Tensor:
        return normal(self.chances.seed, stream, positions, shape)

    def _mover(self) -> Callable[[Tensor], Tensor]:
        if self.device.type == "cpu":
            return lambda tensor: tensor

        def move(tensor: Tensor) -> Tensor:
            if tensor.device == self.device:
                return tensor
            # Pinned, so that the copy runs while the device still computes the last step.
            return tensor.pin_memory().to(self.device, non_blocking=True)

        return move
