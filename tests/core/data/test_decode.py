"""Decoding images of every kind, and refusing what is none."""

import struct
import zlib
from contextlib import suppress
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sdcore.data import BadImageError, decode_image, image_size


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    out = BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def pixel(data: bytes, x: int = 0, y: int = 0) -> tuple[int, ...]:
    value = decode_image(data, "a").getpixel((x, y))
    assert isinstance(value, tuple)
    return value


def with_orientation(orientation: int) -> bytes:
    """Three by two pixels, red at the top left as stored."""
    image = Image.new("RGB", (3, 2))
    image.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(image, "PNG", exif=exif)


@pytest.mark.parametrize(
    ("orientation", "size", "corner"),
    [
        (1, (3, 2), (0, 0)),
        (2, (3, 2), (2, 0)),
        (3, (3, 2), (2, 1)),
        (4, (3, 2), (0, 1)),
        (5, (2, 3), (0, 0)),
        (6, (2, 3), (1, 0)),
        (7, (2, 3), (1, 2)),
        (8, (2, 3), (0, 2)),
        (99, (3, 2), (0, 0)),
    ],
)
def test_a_picture_is_turned_as_its_camera_says(
    orientation: int, size: tuple[int, int], corner: tuple[int, int]
) -> None:
    """Telephones store portraits lying; a model would learn sideways people."""
    data = with_orientation(orientation)
    assert decode_image(data, "a").size == image_size(data, "a") == size
    assert pixel(data, *corner) == (255, 0, 0)


def test_transparency_becomes_white() -> None:
    """Dropping alpha shows whatever colour hides there, mostly black."""
    clear = Image.new("RGBA", (2, 2), (0, 0, 0, 0))
    assert pixel(encoded(clear, "PNG")) == (255, 255, 255)
    half = Image.new("LA", (2, 2), (0, 128))
    assert pixel(encoded(half, "PNG")) == (127, 127, 127)
    palette = Image.new("P", (2, 2), 0)
    palette.putpalette([9, 9, 9, 200, 100, 50])
    palette.putpixel((1, 0), 1)
    data = encoded(palette, "PNG", transparency=0)
    assert (pixel(data), pixel(data, 1, 0)) == ((255, 255, 255), (200, 100, 50))


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    """Pillow's own conversion turns every 16-bit picture white."""
    wide = Image.fromarray(np.full((2, 2), 32768, np.uint16))
    assert pixel(encoded(wide, "PNG")) == (128, 128, 128)
    real = Image.fromarray(np.full((2, 2), 0.5, np.float32))
    assert pixel(encoded(real, "TIFF")) == (128, 128, 128)


@pytest.mark.parametrize("mode", ["1", "L", "CMYK", "YCbCr"])
def test_other_colour_models_become_rgb(mode: str) -> None:
    image = Image.new("RGB", (8, 8), (255, 255, 255)).convert(mode)
    form = "PNG" if mode in {"1", "L"} else "TIFF"
    assert min(pixel(encoded(image, form))) > 250


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert pixel(data) == (255, 0, 0)


def png_claiming(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


_WHOLE = encoded(Image.effect_noise((64, 64), 90).convert("RGB"), "JPEG")


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (_WHOLE[: len(_WHOLE) // 2], "truncated"),
        (b"", "empty"),
        (b"<html>not found</html>", "not an image in a format we read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image in a format we read"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "Git LFS pointer"),
        (png_claiming(60_000, 60_000), "more than fits in memory"),
        (png_claiming(15_000, 15_000), "more than fits in memory"),
        (png_claiming(0, 5), "not an image"),
    ],
)
def test_what_cannot_be_used_is_one_error_with_the_name(data: bytes, cause: str) -> None:
    """60,000 x 60,000 px in one kilobyte is 10 GB of memory; EPS would start Ghostscript."""
    with pytest.raises(BadImageError) as caught:
        decode_image(data, "sub/a.png")
    assert caught.value.name == "sub/a.png"
    assert "the image sub/a.png cannot be used" in caught.value.what
    assert cause in caught.value.cause


@settings(max_examples=150, deadline=None)
@given(at=st.integers(0, len(_WHOLE) - 1), junk=st.binary(min_size=1, max_size=40))
def test_damaged_bytes_never_raise_anything_else(at: int, junk: bytes) -> None:
    """One decoder's IndexError in a worker thread would end a training without a file name."""
    data = _WHOLE[:at] + junk + _WHOLE[at + len(junk) :]
    with suppress(BadImageError):
        assert decode_image(data, "a").mode == "RGB"
