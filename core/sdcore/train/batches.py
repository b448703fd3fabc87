"""From a global position to what a forward pass sees."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sdcore.data import BadImageError, DataIndex
from sdcore.task.train_spec import TrainSpec
from sdcore.train.families import conditions
from sdcore.train.latefaults import Found, LateFaults
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


class Loaded(NamedTuple):
    """The host's half of a batch.

    Attributes:
        draws: What is shown in the end.
        images: What ``LatentSource.load`` gave for them.
        parts: The other fields of ``Batch``, by name.
        before: The rows that were left out when this was begun.
        found: The images that were found bad meanwhile.
    """

    draws: list[Draw]
    images: Tensor
    parts: dict[str, Any]
    before: frozenset[int]
    found: tuple[Found, ...]

    @property
    def after(self) -> frozenset[int]:
        """The rows that are left out once this is taken."""
        return self.before | {one.row for one in self.found}


@dataclass(frozen=True, slots=True)
class Batches:
    """Makes the batch of any positions, on the device.

    In two halves: ``load`` reads, decodes and draws, changes nothing and runs in any thread;
    ``place`` does what concerns the device.
    """

    chances: Chances
    latents: LatentSource
    texts: Texts
    device: torch.device
    faults: LateFaults
    sized: bool  # whether the model is told sizes and crops
    locks: PageLocks = field(default_factory=PageLocks)

    def at(self, positions: Sequence[int]) -> Batch:
        """Return the batch of these samples; the same on every device and rank."""
        return self.place(self.load(positions, self.faults.bad))

    def load(self, positions: Sequence[int], bad: frozenset[int]) -> Loaded:
        """Return the host's half of the batch of these samples.

        Args:
            positions: Of the samples.
            bad: The rows to leave out.

        Raises:
            SdError: An image cannot be read, and is not to be left out.
        """
        draws, images, found = self._shown([self.chances.draw(p) for p in positions], bad)
        shape, spec = self._shape(draws), self.chances.spec
        parts = {
            "posterior": self._normal(Stream.POSTERIOR, positions, shape),
            "noise": self._normal(Stream.NOISE, positions, shape),
            "offset": self._normal(Stream.OFFSET, positions, (shape[0], 1, 1))
            if spec.noise_offset
            else None,
            "perturbation": self._normal(Stream.PERTURBATION, positions, shape)
            if spec.input_perturbation
            else None,
            "timesteps": self._held(torch.tensor(self.chances.timesteps_at(positions))),
            **self._text(draws),
        }
        return Loaded(draws, self._held(images), parts, bad, found)

    def place(self, loaded: Loaded) -> Batch:
        """Return a batch on the device, and leave out what was found bad; in the main thread."""
        self.faults.take(loaded.found)
        moments = self.latents.moments(loaded.draws, self._moved(loaded.images))
        parts = {name: self._moved(part) for name, part in loaded.parts.items()}
        return Batch(moments=moments, **parts)

    def held_out(self, draws: Sequence[Draw], timesteps: Sequence[int]) -> Batch:
        """Return the batch of a validation, under plain noise that ``Draw.position`` decides."""
        bad = self.faults.bad
        shown, images, found = self._shown(draws, bad)
        numbers, shape = [draw.position for draw in shown], self._shape(shown)
        parts = {
            "posterior": self._normal(Stream.VALIDATION_POSTERIOR, numbers, shape),
            "noise": self._normal(Stream.VALIDATION_NOISE, numbers, shape),
            "offset": None,
            "perturbation": None,
            "timesteps": self._held(torch.tensor(timesteps)),
            **self._text(shown),
        }
        return self.place(Loaded(shown, self._held(images), parts, bad, found))

    def _text(self, draws: Sequence[Draw]) -> dict[str, Any]:
        """Return the fields of a batch that say what is to be drawn."""
        text = self.texts(draws)
        frames = [self.latents.frame(draw) for draw in draws] if self.sized else None
        added = conditions(text, frames)
        held = None if added is None else {name: self._held(part) for name, part in added.items()}
        return {"text": self._held(text.states), "added": held}

    def _shown(
        self, draws: Sequence[Draw], bad: frozenset[int]
    ) -> tuple[list[Draw], Tensor, tuple[Found, ...]]:
        """Return what is shown in the end, its images, and those that went bad meanwhile."""
        found: list[Found] = []
        while True:
            out = bad | {one.row for one in found}
            shown = self.faults.around(draws, self.chances.redraw, out)
            try:
                return shown, self.latents.load(shown), tuple(found)
            except BadImageError as error:
                names = [self.chances.index.rows[draw.row].name for draw in shown]
                found.append(self.faults.judge(error, shown, names, out))

    def _shape(self, draws: Sequence[Draw]) -> tuple[int, ...]:
        """Return the shape of the latents, (C, H, W)."""
        channels, *sides = self.latents.shape(draws[0].row)
        return channels // 2, *sides

    def _normal(self, stream: Stream, positions: Sequence[int], shape: tuple[int, ...]) -> Tensor:
        return self._held(normal(self.chances.seed, stream, positions, shape))

    def _held(self, tensor: Tensor) -> Tensor:
        """Return a tensor in memory from which a GPU copies while it computes the last step."""
        return tensor if self.device.type == "cpu" else self.locks.locked(tensor)

    def _moved(self, part: Any) -> Any:
        """Return a field of a batch on the device; its copy is queued there."""
        if isinstance(part, dict):
            return {name: self._moved(each) for name, each in part.items()}
        return None if part is None else part.to(self.device, non_blocking=True)
