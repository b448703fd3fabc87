"""From an encoded image file to an upright RGB picture. Pillow only.

The bytes come from anywhere, so what is decoded is limited: known raster formats (EPS would
start Ghostscript), a size that fits in memory, and every fault of a decoder becomes one error
that names the row.
"""

from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from sdcore.data.wording import shown
from sdcore.errors import NotReadyError

# 13,377 x 13,377 px: half a gigabyte as RGB. Pillow warns at half of this and refuses here;
# one limit with one message is clearer, and 100-megapixel cameras stay on the right side.
MAX_PIXELS = 178_956_970
Image.MAX_IMAGE_PIXELS = MAX_PIXELS

# No MPO: Pillow reads it by way of JPEG and knows no opener of that name.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "JPEG2000", "AVIF")
SUFFIXES = frozenset({
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff",
    ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".avif",
})  # fmt: skip
_LFS = b"version https://git-lfs"
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class BadImageError(NotReadyError):
    """An image that cannot be used.

    Args:
        name: The row's name.
        cause: What is wrong with it.
        remedy: One next action.
    """

    def __init__(self, name: str, cause: str, remedy: str | None = None) -> None:
        super().__init__(
            f"the image {shown(name, 300)} cannot be used",
            cause=cause,
            remedy=remedy
            or 'replace or remove it, or set train.on_bad_image = "skip" to train without it',
        )
        self.name = name


def decode_image(data: bytes, name: str) -> Image.Image:
    """Return the picture in ``data`` as its maker meant it to be seen.

    Turned upright by its EXIF orientation; the first frame of an animation; transparency over
    white; 16 bits per channel scaled down to 8.

    Args:
        data: An encoded image file.
        name: The row's name, for the error.

    Returns:
        An image of mode RGB.

    Raises:
        BadImageError: Truncated, not an image, too large, or of a kind that has no RGB.
    """
    try:
        with _open(data, name) as image:
            image.load()
            return _rgb(_upright(image))
    except BadImageError:
        raise
    # Pillow's decoders raise anything on bytes made to break them: OSError, SyntaxError,
    # struct.error, IndexError, zlib.error, MemoryError. All mean the same here.
    except Exception as error:
        raise BadImageError(name, _why(error)) from error


def image_size(data: bytes, name: str) -> tuple[int, int]:
    """Return width and height in px as seen, read from the header alone.

    Raises:
        BadImageError: The header is not one of an image we read.
    """
    try:
        with _open(data, name) as image:
            width, height = image.size
            turned = _orientation(image) in {5, 6, 7, 8}
    except BadImageError:
        raise
    except Exception as error:  # as in decode_image
        raise BadImageError(name, _why(error)) from error
    return (height, width) if turned else (width, height)


def _open(data: bytes, name: str) -> Image.Image:
    if data.startswith(_LFS):
        raise BadImageError(
            name,
            "it is a Git LFS pointer: the picture itself was never downloaded",
            "run `git lfs pull` in the data folder",
        )
    if not data:
        raise BadImageError(name, "it is empty (0 bytes)")
    image = Image.open(BytesIO(data), formats=FORMATS)
    width, height = image.size
    if width * height > MAX_PIXELS:
        image.close()
        raise BadImageError(name, f"{width:,} x {height:,} px is more than fits in memory")
    return image


def _why(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "it is not an image in a format we read"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"it has more than {MAX_PIXELS:,} px, which is more than fits in memory"
    return f"it cannot be decoded: {shown(str(error), 200) or type(error).__name__}"


def _orientation(image: Image.Image) -> int:
    # A broken EXIF block does not make the picture unusable: it then has no orientation.
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 -- Pillow's EXIF reader raises as freely as its decoders
        return 1
    return value if isinstance(value, int) else 1


def _upright(image: Image.Image) -> Image.Image:
    turn = _TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return _from_wide(image)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_wide(image: Image.Image) -> Image.Image:
    """Scale a 16- or 32-bit picture to 8 bits; Pillow's own conversion clips it to white."""
    pixels: np.ndarray[Any, np.dtype[np.float64]] = np.asarray(image, dtype=np.float64)
    if not np.isfinite(pixels).all():
        raise ValueError("it holds values that are not finite")
    top = 1.0 if image.mode == "F" and pixels.max() <= 1 else 255.0
    if image.mode.startswith("I;16") or pixels.max() > 255:
        top = 65535.0
    grey = np.clip(pixels / top * 255, 0, 255).round().astype(np.uint8)
    return Image.fromarray(grey, "L").convert("RGB")
