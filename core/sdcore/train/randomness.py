"""Every random number of a training, as a function of the seed and a sample's global position.

Nothing here has a state, so a resume cannot lose one: sample 1234 gets the same noise, timestep,
flip, crop and caption whatever was drawn before it and on whichever rank it is drawn. Philox
(Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") is a keyed counter: the key is
(seed, stream), the counter starts at (position, 0), and each position has 2^64 blocks to itself.

Numbers are made on the CPU, so they do not depend on the device either.
"""

import hashlib
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
    BLOCKS = 17


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

    # As in ``BlockOrder``: of one size, nothing keeps images together.
    block: int | None = None
    mark: str | None = None

    def __init__(self, seed: int, count: int) -> None:
        self.count = count
        self._epoch: Callable[[int], np.ndarray] = lru_cache(maxsize=2)(
            lambda epoch: generator(seed, Stream.ORDER, epoch).permutation(count)
        )

    def row(self, position: int) -> int:
        """Return which of ``count`` rows the sample at ``position`` shows."""
        epoch, place = divmod(position, self.count)
        return int(self._epoch(epoch)[place])

    def largest(self, start: int) -> int:
        """Return a position, ``start`` or later, where a pass over the largest images begins."""
        return start


class BlockOrder:
    """The endless sequence of rows where each block of positions shows images of one size.

    Every size has a sequence of its own, one permutation of its rows after another, and position
    p shows the next image of the size its block p // ``block`` belongs to. With n images of a
    size, epoch e holds that size's blocks from e n // block up to (e + 1) n // block, in an order
    drawn for the epoch. So no block is short and none is left out: what does not fill a block is
    carried over to the next epoch, and after e epochs a size has shown e n images, or up to
    ``block`` - 1 fewer. Like ``Order``, it follows from seed and epoch alone.

    Args:
        seed: Of the run.
        kinds: A number for the size of each row; that of the most pixels is 0.
        block: Images of a block; a forward pass must not reach over its end.

    Attributes:
        mark: Of ``kinds``; another one is another order.
    """

    def __init__(self, seed: int, kinds: Sequence[int], block: int) -> None:
        self.count, self.block = len(kinds), block
        self._seed, self._kinds = seed, np.asarray(kinds, np.int64)
        self._sizes = np.bincount(self._kinds)
        self.mark = hashlib.sha256(self._kinds.tobytes()).hexdigest()[:16]
        self._epoch = lru_cache(maxsize=2)(self._draw_epoch)
        self._members = lru_cache(maxsize=4)(self._draw_members)

    def row(self, position: int) -> int:
        """Return which of ``count`` rows the sample at ``position`` shows."""
        number, offset = divmod(position, self.block)
        kind, turn = self._block(number)
        epoch, place = divmod(turn * self.block + offset, int(self._sizes[kind]))
        return int(self._members(epoch)[kind][place])

    def largest(self, start: int) -> int:
        """Return a position, ``start`` or later, where a pass over the largest images begins."""
        number = -(-start // self.block)
        while self._block(number)[0] != 0:
            number += 1
        return number * self.block

    def _block(self, number: int) -> tuple[int, int]:
        """Return the size that a block shows, and which of that size's blocks it is."""
        epoch = number * self.block // self.count  # this one, or few later: what is carried over
        while self._before(epoch + 1).sum() <= number:
            epoch += 1
        kinds, turns = self._epoch(epoch)
        place = number - int(self._before(epoch).sum())
        return int(kinds[place]), int(turns[place])

    def _before(self, epoch: int) -> np.ndarray:
        """Return how many blocks of each size there are before an epoch."""
        blocks: np.ndarray = epoch * self._sizes // self.block
        return blocks

    def _draw_epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        first, end = self._before(epoch), self._before(epoch + 1)
        kinds = np.repeat(np.arange(len(self._sizes)), end - first)
        turns = np.concatenate([np.arange(*ends) for ends in zip(first, end, strict=True)])
        shuffled = generator(self._seed, Stream.BLOCKS, epoch).permutation(len(kinds))
        return kinds[shuffled], turns[shuffled]

    def _draw_members(self, epoch: int) -> list[np.ndarray]:
        """Return the rows of each size in the order of one of their permutations."""
        shuffled = generator(self._seed, Stream.ORDER, epoch).permutation(self.count)
        by_kind = shuffled[np.argsort(self._kinds[shuffled], kind="stable")]
        return np.split(by_kind, np.cumsum(self._sizes)[:-1])


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
