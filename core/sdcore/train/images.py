"""From an encoded image to the tensor the VAE takes: resize, crop, mirror, scale.

The arithmetic is that of ``framing``, then ``Normalize(0.5, 0.5)``, on Pillow images, so that a
cached set equals one prepared by diffusers' script. Where the crop lies is a parameter: nothing
here draws a random number.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sdcore.data.buckets import Buckets, Size, too_small
from sdcore.data.decode import MAX_PIXELS, BadImageError
from sdcore.task.train_spec import Interpolation, TrainSpec
from sdcore.train.framing import cover, frame_of

# Part of every cache key: a change of what a picture becomes must not meet old records.
RULE_VERSION = 1


@dataclass(frozen=True, slots=True)
class Aim:
    """The size each picture is trained at.

    Attributes:
        square: What all are cut to where there are no buckets.
        buckets: Sizes by shape.
    """

    square: Size
    buckets: Buckets | None

    @classmethod
    def of(cls, spec: TrainSpec) -> Self:
        """Return what the settings ask for."""
        return cls((spec.resolution, spec.resolution), Buckets.of(spec))

    def size(self, width: int, height: int, name: str) -> Size:
        """Return the width and height, px, at which a picture is trained.

        Args:
            width: Of the upright picture, px.
            height: Of the upright picture, px.
            name: The row's name, for errors.

        Raises:
            BadImageError: It is too small for every bucket, or too long and narrow.
        """
        size = self.buckets.size_for(width, height) if self.buckets else self.square
        if size is None:
            assert self.buckets is not None
            raise BadImageError(
                name,
                too_small(width, height, self.buckets),
                "lower train.min_bucket_reso, use a larger image, or set train.on_bad_image = "
                '"skip" to train without it',
            )
        check_sides(width, height, size, name)
        return size


def cut(
    image: Image.Image,
    size: Size,
    interpolation: Interpolation,
    *,
    crop: tuple[float, float] | None,
    flip: bool,
) -> Tensor:
    """Turn a picture into the tensor the VAE takes.

    Args:
        image: Upright, of mode RGB, as ``decode_image`` gives it.
        size: Width W and height H of the result, px.
        interpolation: How to resize.
        crop: Where it lies, as in ``frame_of``.
        flip: Mirror left and right, after the crop.

    Returns:
        (3, H, W), float32, in [-1, 1].
    """
    frame = frame_of(*image.size, size, crop)
    if frame.resized != image.size:
        image = image.resize(frame.resized, Image.Resampling[interpolation.upper()])
    left, top = frame.corner
    image = image.crop((left, top, left + size[0], top + size[1]))
    if flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return _tensor(image)


def check_sides(width: int, height: int, size: Size, name: str) -> None:
    """Refuse a picture that would not fit in memory once it covers ``size``.

    Raises:
        BadImageError: A strip of 1 x 100,000 px would become 26 gigapixels at 512.
    """
    wide, high = cover(width, height, size)
    if wide * high > MAX_PIXELS:
        raise BadImageError(
            name,
            f"its sides, {width:,} and {height:,} px, differ too much: resized to cover "
            f"{size[0]} x {size[1]} px it would be {max(wide, high):,} px long",
        )


def _tensor(image: Image.Image) -> Tensor:
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
    return pixels.to(torch.float32).div_(255).sub_(0.5).div_(0.5)
