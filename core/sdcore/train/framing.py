"""Which part of a picture is trained on: resized until it covers the wanted size, then cropped.

``images`` cuts by these numbers and SDXL is told them (Podell et al. 2023, arXiv:2307.01952,
section 2.2), so picture and condition cannot disagree. The arithmetic is torchvision's
``Resize(short side)``, ``CenterCrop`` and ``RandomCrop``, for any target and not squares alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sdcore.data.buckets import Size


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a training picture lies in its image.

    Attributes:
        original: Width and height of the upright image, px.
        resized: Width and height after resizing, px; each at least that of ``size``.
        corner: Left and top of the crop in the resized image as it is shown, px.
        size: Width and height of what is trained on, px.
    """

    original: Size
    resized: Size
    corner: tuple[int, int]
    size: Size

    @property
    def exact(self) -> bool:
        """Whether nothing is cut off, so that a random crop has no choice."""
        return self.resized == self.size

    def mirrored(self) -> "Frame":
        """Return the frame of the same cut shown mirrored: what was left of it is right of it."""
        spare = self.resized[0] - self.size[0]
        return replace(self, corner=(spare - self.corner[0], self.corner[1]))


def frame_of(width: int, height: int, size: Size, crop: tuple[float, float] | None) -> Frame:
    """Choose the part of an image that is trained on.

    Args:
        width: Of the upright image, px.
        height: Of the upright image, px.
        size: Width and height of what is trained on, px.
        crop: Where it lies: (u, v) in [0, 1), from left and top over what can be cut off; None
            for the centre.
    """
    whole = cover(width, height, size)
    return Frame((width, height), whole, _corner(whole, size, crop), size)


def cover(width: int, height: int, size: Size) -> Size:
    """Return the smallest size, px, of an image's proportions that covers ``size``.

    One side then fits; the other is cut off to whole pixels, not rounded, as torchvision does.
    """
    wide, high = size
    if width * high >= height * wide:
        return width * high // height, high
    return wide, height * wide // width


def _corner(whole: Size, size: Size, crop: tuple[float, float] | None) -> tuple[int, int]:
    spare = (whole[0] - size[0], whole[1] - size[1])
    if crop is None:
        # round() takes halves to the even side, as torchvision's CenterCrop does
        return round(spare[0] / 2), round(spare[1] / 2)
    left, top = (min(int(part * (rest + 1)), rest) for part, rest in zip(crop, spare, strict=True))
    return left, top


class Framer:
    """The frame of every visit to an image, without opening it again.

    Args:
        originals: Width and height of each row's upright image, px.
        targets: Width and height at which each is trained, px.
        centred: Crops lie in the centre; else where a draw says.
        mirrors: Whether draws may mirror.
    """

    def __init__(
        self, originals: Mapping[int, Size], targets: Mapping[int, Size], *, centred: bool,
        mirrors: bool,
    ) -> None:  # fmt: skip
        self._originals, self._targets = originals, targets
        self._centred, self._mirrors = centred, mirrors

    def original(self, row: int) -> Size:
        """Return width and height of a row's upright image, px."""
        return self._originals[row]

    def target(self, row: int) -> Size:
        """Return width and height at which a row is trained, px."""
        return self._targets[row]

    def frame(self, row: int, crop: tuple[float, float], *, flip: bool) -> Frame:
        """Return what a visit shows; ``crop`` counts only where crops are drawn."""
        place = None if self._centred else crop
        frame = frame_of(*self._originals[row], self._targets[row], place)
        return frame.mirrored() if flip and self._mirrors else frame
