"""Every random number of a training, as a function of the seed and a sample's global position.

Nothing here has a state, so a resume cannot lose one: sample 1234 gets the same noise, timestep,
flip, crop and caption whatever was drawn before it and on whichever rank it is drawn. Philox
(Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") is a keyed counter: the key is
(seed, stream), the counter starts at (position, 0), and each position has 2^64 blocks to itself.

Numbers are made on the CPU, so they do not depend on the device either.
"""

from collections.abc import Callable, Sequence
from enum import IntEnum
from functools import lru_cache

import numpy as np
import torch


class Stream(IntEnum):
    """What a number is for. The values are part of the checkpoint format: never renumber."""

    ORDER = 0
    NOISE = 1
    POSTERIOR = 2
    TIMESTEP = 3
    FLIP = 4
    CROP = 5
    CAPTION = 6
    OFFSET = 7
    PERTURBATION = 8
    DROPOUT = 9
    EMPTY_CAPTION = 10
    HELD_OUT = 11
    VALIDATION_NOISE = 12
    VALIDATION_POSTERIOR = 13
    ADAPTER = 16


def generator(seed: int, stream: Stream, position: int) -> np.random.Generator:
    """Return the source of the numbers of ``stream`` at ``position``, both from 0."""
    return np.random.Generator(
        np.random.Philox(key=np.array([seed, stream], np.uint64), counter=[0, position, 0, 0])
    )


def normal(
    seed: int, stream: Stream, positions: Sequence[int], shape: tuple[int, ...]
) -> torch.Tensor:
    """Return standard normal numbers, (len(positions), *shape), float32 on the CPU."""
    out = torch.empty(len(positions), *shape)
    view = out.numpy()
    for i, position in enumerate(positions):
        generator(seed, stream, position).standard_normal(dtype=np.float32, out=view[i])
    return out


def uniform(seed: int, stream: Stream, position: int) -> float:
    """Return one number in [0, 1)."""
    return float(generator(seed, stream, position).random())


def integers(seed: int, stream: Stream, positions: Sequence[int], below: int) -> list[int]:
    """Return an integer in [0, ``below``) for each position."""
    return [int(generator(seed, stream, position).integers(below)) for position in positions]


def draw_seed() -> int:
    """Return a seed nobody chose, in [0, 2^31): short enough to type again."""
    return int(np.random.SeedSequence().generate_state(1)[0]) >> 1


class Order:
    """The endless sequence of rows: one permutation after another, each from (seed, epoch).

    Windows of accumulation run across the seam, so no window is short.
    """

    def __init__(self, seed: int, count: int) -> None:
        self.count = count
        self._epoch: Callable[[int], np.ndarray] = lru_cache(maxsize=2)(
            lambda epoch: generator(seed, Stream.ORDER, epoch).permutation(count)
        )

    def row(self, position: int) -> int:
        """Return which of ``count`` rows the sample at ``position`` shows."""
        epoch, place = divmod(position, self.count)
        return int(self._epoch(epoch)[place])


def micro_positions(start: int, micro: int, rank: int, world_size: int, batch: int) -> list[int]:
    """Return the global positions of one forward pass on one rank.

    Args:
        start: Position of the window's first sample.
        micro: The pass within the window, from 0.
        rank: Of this process.
        world_size: Number of processes.
        batch: Images per pass and process.
    """
    first = start + (micro * world_size + rank) * batch
    return list(range(first, first + batch))
