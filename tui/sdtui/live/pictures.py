"""From a PNG on disk to the dots of a terminal; called from worker threads alone.

The file may be cut, huge or made to break a decoder: what cannot be shown is told in words, and
costs neither the console nor the host's memory. Pillow is imported at the first picture.
"""

import os
import stat
import struct
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from sdcore.text import clean_line
from sdtui.language import _
from sdtui.told import told_why

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_PIXELS = 64_000_000
_MOST_BYTES = 256 << 20
_KEPT = 96  # pictures; each is at most a screen full of dots


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture in the size of its place.

    Attributes:
        cols: Cells.
        rows: Cells.
        pixels: RGB bytes, (2 * rows, cols): two dots one above the other in each cell. Without
            colours (``dithered``) one byte of braille bits per cell, (rows, cols).
        dithered: Made for a terminal without colours.
        size: Of the file, in pixels.
        trouble: Why there is nothing to show, in words; empty when there is.
    """

    cols: int
    rows: int
    pixels: bytes = b""
    dithered: bool = False
    size: tuple[int, int] = (0, 0)
    trouble: str = ""


_Key = tuple[str, int, int, int, int, bool]
_cache: "OrderedDict[_Key, Picture]" = OrderedDict()
_lock = threading.Lock()


def load(path: Path, cols: int, rows: int, *, dithered: bool = False) -> Picture:
    """Return the picture in ``path`` fitted into ``cols`` x ``rows`` cells, its shape kept.

    Never raises for a bad file: see ``Picture.trouble``.
    """
    try:
        found = path.lstat()
    except OSError as error:
        return Picture(cols, rows, trouble=_gone(error))
    key = (str(path), found.st_mtime_ns, found.st_size, cols, rows, dithered)
    with _lock:
        if key in _cache:
            _cache.move_to_end(key)
            return _cache[key]
    picture = _load(path, cols, rows, dithered=dithered)
    with _lock:
        _cache[key] = picture
        while len(_cache) > _KEPT:
            _cache.popitem(last=False)
    return picture


def fit(width: int, height: int, cols: int, rows: int) -> tuple[int, int]:
    """Return the cells that a picture takes in a place of ``cols`` x ``rows``.

    A cell is taken to be twice as high as wide, as nearly all terminals draw it.
    """
    scale = min(cols / width, 2 * rows / height)
    return (
        max(1, min(cols, round(width * scale))),
        max(1, min(rows, round(height * scale / 2))),
    )


def _load(path: Path, cols: int, rows: int, *, dithered: bool) -> Picture:
    try:
        with open_image(path) as image:
            size = fit(*image.size, cols, rows)
            return _drawn(image, size, image.size, dithered=dithered)
    except ValueError as error:
        return Picture(cols, rows, trouble=str(error))


def open_image(path: Path) -> "Image":
    """Return the picture in a file, decoded, as RGB.

    Raises:
        ValueError: It cannot be shown; the words are for people.
    """
    from PIL import Image  # noqa: PLC0415  # for the first picture

    try:
        with _open(path) as file:
            _check(file.read(24))
            file.seek(0)
            with Image.open(file, formats=("PNG",)) as image:
                return image.convert("RGB")
    except _UnfitError as error:
        raise ValueError(str(error)) from error
    except OSError as error:
        raise ValueError(_broken(error) if error.errno is None else _gone(error)) from error
    # A decoder raises anything on bytes made to break it: SyntaxError, struct.error, zlib.error,
    # MemoryError, ValueError. All mean the same here.
    except Exception as error:
        raise ValueError(_broken(error)) from error


class _UnfitError(Exception):
    """The file is none that is decoded at all."""


def _check(head: bytes) -> None:
    """Refuse by a PNG's first bytes what no decoder should see."""
    if len(head) < 24 or head[:8] != b"\x89PNG\r\n\x1a\n" or head[12:16] != b"IHDR":
        raise _UnfitError(_("this is no PNG picture"))
    width, height = struct.unpack(">II", head[16:24])
    if not 0 < width * height <= MOST_PIXELS:
        text = _("{width:,} x {height:,} px is too large to show here")
        raise _UnfitError(text.format(width=width, height=height))


def _drawn(
    image: "Image", size: tuple[int, int], real: tuple[int, int], *, dithered: bool
) -> Picture:
    from PIL import Image  # noqa: PLC0415  # as above

    cols, rows = size
    if dithered:
        dots = image.resize((2 * cols, 4 * rows), Image.Resampling.LANCZOS).convert("1")
        return Picture(cols, rows, braille(dots.convert("L").tobytes(), cols, rows), True, real)
    small = image.resize((cols, 2 * rows), Image.Resampling.LANCZOS)
    return Picture(cols, rows, small.tobytes(), False, real)


def braille(dots: bytes, cols: int, rows: int) -> bytes:
    """Return the braille bits of ``cols`` x ``rows`` cells from dots of 0 or 255, row by row."""
    bits = ((0, 0, 0x01), (0, 1, 0x02), (0, 2, 0x04), (1, 0, 0x08),
            (1, 1, 0x10), (1, 2, 0x20), (0, 3, 0x40), (1, 3, 0x80))  # fmt: skip
    wide = 2 * cols
    return bytes(
        sum(bit for x, y, bit in bits if dots[(4 * row + y) * wide + 2 * col + x])
        for row in range(rows)
        for col in range(cols)
    )


def _open(path: Path) -> BinaryIO:
    """Open a regular file of a sensible size; a link that came meanwhile is not followed."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    file = os.fdopen(descriptor, "rb")
    found = os.fstat(file.fileno())
    if not stat.S_ISREG(found.st_mode) or found.st_size > _MOST_BYTES:
        file.close()
        raise _UnfitError(_("not a file of a picture's size"))
    return file


def _gone(error: OSError) -> str:
    return _("cannot be read: {cause}").format(cause=clean_line(told_why(error), 80))


def _broken(error: Exception) -> str:
    cause = clean_line(str(error), 80) or type(error).__name__
    return _("damaged picture: {cause}").format(cause=cause)
