"""The size a picture is trained at, by its shape: about as many pixels in other proportions.

NovelAI, 2022, "Aspect Ratio Bucketing", with one difference: no picture is enlarged. Apart from
the training, so that a check can say in a second where the images would go.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Self

from sdcore.task.agreement import bucket_limits
from sdcore.task.train_spec import TrainSpec

Size = tuple[int, int]  # width, height, px


class Buckets:
    """The sizes of a training, and which of them a picture gets.

    Args:
        resolution: Its square is the most pixels a size has.
        least: Shortest side, px.
        most: Longest side, px.
        step: Sides are multiples of it, px.

    Attributes:
        sizes: For pictures that are large enough, from the narrowest to the widest; smaller ones
            get sizes of their own.
    """

    def __init__(self, resolution: int, least: int, most: int, step: int) -> None:
        self.least = least
        self._pixels, self._most, self._step = resolution**2, most, step
        square = resolution // step * step
        tall = [(wide, self._high(wide, most)) for wide in self._wides(most)]
        upright = {(wide, high) for wide, high in tall if high >= least}
        upright |= {(square, square)} if least <= square <= most else set()
        sizes = upright | {(high, wide) for wide, high in upright}
        self.sizes = tuple(sorted(sizes, key=lambda size: size[0] / size[1]))
        self.size_for = lru_cache(maxsize=1 << 16)(self._size_for)

    @classmethod
    def of(cls, spec: TrainSpec) -> Self | None:
        """Return the buckets of a training, or None where it has one size."""
        if not spec.enable_bucket:
            return None
        least, most = bucket_limits(spec)
        return cls(spec.resolution, least, most, spec.bucket_reso_steps)

    def _size_for(self, width: int, height: int) -> Size | None:
        """Return the size a picture is trained at; None: it is too small for any.

        That of the nearest proportions. A picture that does not cover it gets the size with the
        most pixels that it does cover.
        """
        near = min(self.sizes, key=lambda size: _unlike(size, width, height))
        if near[0] <= width and near[1] <= height:
            return near
        covered = [(wide, self._high(wide, height)) for wide in self._wides(width)]
        return max(
            (size for size in covered if size[1] >= self.least),
            key=lambda size: (size[0] * size[1], -_unlike(size, width, height), size),
            default=None,
        )

    def _wides(self, most: int) -> Iterator[int]:
        first = -(-self.least // self._step) * self._step
        return iter(range(first, min(most, self._most) + 1, self._step))

    def _high(self, wide: int, most: int) -> int:
        """Return the largest height beside ``wide`` within ``most`` and the pixels allowed."""
        return min(most, self._most, self._pixels // wide) // self._step * self._step


def too_small(width: int, height: int, buckets: Buckets) -> str:
    """Say why a picture for which there is no size cannot be used."""
    return (
        f"it has {width:,} x {height:,} px, and no bucket is that small (min_bucket_reso is "
        f"{buckets.least}): with enable_bucket no image is enlarged"
    )


def _unlike(size: Size, width: int, height: int) -> float:
    """Return how far the proportions are apart, as the factor between them, >= 1."""
    one, other = size[0] * height, size[1] * width
    return max(one, other) / min(one, other)
