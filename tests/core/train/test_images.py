"""From picture to tensor, against the definition of torchvision's transforms."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sdcore.data import BadImageError
from sdcore.train.framing import cover
from sdcore.train.images import check_sides, cut


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def shades(tensor: torch.Tensor) -> np.ndarray:
    """Return the 8-bit picture in a tensor of [-1, 1], (R, R, 3)."""
    return np.asarray(((tensor + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0))


@pytest.mark.parametrize("size", [(40, 30), (30, 40), (33, 32), (500, 32), (20, 16), (32, 32)])
def test_centre_is_cut_as_torchvision_cuts_it(size: tuple[int, int]) -> None:
    """One pixel off against the reference recipe would make results incomparable.

    Resize: ``int(R * long / short)``; CenterCrop: ``int(round((side - R) / 2))``.
    """
    image, side = noise(*size), 32
    got = cut(image, (side, side), "lanczos", crop=None, flip=False)
    width, height = size
    if width <= height:
        wide, high = side, int(side * height / width)
    else:
        wide, high = int(side * width / height), side
    whole = image.resize((wide, high), Image.Resampling.LANCZOS)
    left, top = round((wide - side) / 2.0), round((high - side) / 2.0)
    wanted = np.asarray(whole)[top : top + side, left : left + side]
    assert got.shape == (3, side, side)
    assert got.dtype == torch.float32
    np.testing.assert_array_equal(shades(got), wanted)


def test_values_are_normalised_as_the_reference_does() -> None:
    """ToTensor then Normalize(0.5, 0.5), bit for bit."""
    image = noise(8, 8)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    wanted = (pixels.to(torch.float32).div(255) - 0.5) / 0.5
    assert torch.equal(cut(image, (8, 8), "box", crop=None, flip=False), wanted)


def test_a_mirrored_image_is_the_mirrored_tensor() -> None:
    """The cache relies on it: it mirrors the tensor, training live mirrors the picture."""
    image = noise(50, 40)
    plain = cut(image, (24, 24), "bicubic", crop=(0.3, 0.9), flip=False)
    mirrored = cut(image.crop((0, 0, 50, 40)), (24, 24), "bicubic", crop=(0.3, 0.9), flip=True)
    assert torch.equal(plain.flip(-1), mirrored)


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    u=st.floats(0, 1, exclude_max=True),
    v=st.floats(0, 1, exclude_max=True),
)
def test_a_crop_never_leaves_the_picture(width: int, height: int, u: float, v: float) -> None:
    """Pillow fills what lies outside with black, without an error."""
    image = Image.new("RGB", (width, height), (255, 255, 255))
    assert (cut(image, (16, 16), "nearest", crop=(u, v), flip=False) == 1).all()


def test_every_place_of_a_random_crop_can_be_drawn() -> None:
    """The left edge at u = 0, the right one just below 1."""
    image = noise(10, 8)
    places = [cut(image, (8, 8), "nearest", crop=(u, 0.5), flip=False) for u in (0, 0.34, 0.999)]
    whole = np.asarray(image)
    for left, got in enumerate(places):
        np.testing.assert_array_equal(shades(got), whole[:, left : left + 8])


def test_a_strip_is_refused_before_it_fills_the_memory() -> None:
    """1 x 100,000 px at 512 would be 26 gigapixels."""
    with pytest.raises(BadImageError, match=r"strip\.png cannot be used") as caught:
        check_sides(1, 100_000, (512, 512), "strip.png")
    assert "1 and 100,000 px, differ too much" in caught.value.cause
    assert cover(100, 101, (50, 50)) == (50, 50)
