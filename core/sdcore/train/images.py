"""From an encoded image to the tensor the VAE takes: resize, crop, mirror, scale.

The arithmetic is torchvision's ``Resize(short side)``, ``CenterCrop`` or ``RandomCrop``, and
``Normalize(0.5, 0.5)``, on Pillow images, so that a cached set equals one prepared by diffusers'
script. Where the crop lies is a parameter: nothing here draws a random number.
"""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sdcore.data.decode import MAX_PIXELS, BadImageError
from sdcore.task.train_spec import Interpolation

# Part of every cache key: a change of what a picture becomes must not meet old records.
RULE_VERSION = 1


def square(
    image: Image.Image,
    name: str,
    resolution: int,
    interpolation: Interpolation,
    *,
    crop: tuple[float, float] | None,
    flip: bool,
) -> Tensor:
    """Turn a picture into the tensor the VAE takes.

    Args:
        image: Upright, of mode RGB, as ``decode_image`` gives it.
        name: The row's name, for errors.
        resolution: Side of the square R, in px.
        interpolation: How to resize.
        crop: Where the square lies: (u, v) in [0, 1), from left and top over what can be cut
            off; None for the centre.
        flip: Mirror left and right.

    Returns:
        (3, R, R), float32, in [-1, 1].

    Raises:
        BadImageError: The image is too long and narrow.
    """
    check_sides(*image.size, resolution, name)
    size = resized(*image.size, resolution)
    if size != image.size:
        image = image.resize(size, Image.Resampling[interpolation.upper()])
    left, top = _corner(size, resolution, crop)
    image = image.crop((left, top, left + resolution, top + resolution))
    if flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return _tensor(image)


def resized(width: int, height: int, resolution: int) -> tuple[int, int]:
    """Return the size after the short side became ``resolution``, in px."""
    short, long = sorted((width, height))
    other = int(resolution * long / short)  # torchvision cuts off, it does not round
    return (resolution, other) if width <= height else (other, resolution)


def check_sides(width: int, height: int, resolution: int, name: str) -> None:
    """Refuse a picture that would not fit in memory once its short side is ``resolution``.

    Raises:
        BadImageError: A strip of 1 x 100,000 px would become 26 gigapixels at 512.
    """
    wide, high = resized(width, height, resolution)
    if wide * high > MAX_PIXELS:
        raise BadImageError(
            name,
            f"its sides, {width:,} and {height:,} px, differ too much: at {resolution} px on "
            f"the short one it would be {max(wide, high):,} px long",
        )


def _corner(
    size: tuple[int, int], resolution: int, crop: tuple[float, float] | None
) -> tuple[int, int]:
    spare = (size[0] - resolution, size[1] - resolution)
    if crop is None:
        # round() takes halves to the even side, as torchvision's CenterCrop does
        return round(spare[0] / 2), round(spare[1] / 2)
    left, top = (min(int(part * (rest + 1)), rest) for part, rest in zip(crop, spare, strict=True))
    return left, top


def _tensor(image: Image.Image) -> Tensor:
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
    return pixels.to(torch.float32).div_(255).sub_(0.5).div_(0.5)
