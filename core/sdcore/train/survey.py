"""What is known of each image without opening it again: its hash, its size, whether it decodes.

Kept on disk by the file's stamp (path, size, times), as git keeps its index, so that a restart
does not read 50 GB to find that nothing changed. Ranks share the work by row number and then
see each other's findings, which makes them agree on which images are left out.
"""

import hashlib
import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import PIL
from PIL import Image

from sdcore.data import BadImageError, DataIndex, decode_image
from sdcore.data.buckets import Size
from sdcore.train.cache import PackWriter, RecordStore, key_of
from sdcore.train.images import RULE_VERSION, Aim

Hashes = npt.NDArray[np.uint8]  # (rows, 32)

T = TypeVar("T")
R = TypeVar("R")

_RECORD = struct.Struct("<32sBII")  # content hash, decodes, width, height
_UNKNOWN, _GOOD, _BAD = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Seen:
    """What one reading of an image found.

    Attributes:
        row: In the index.
        content: SHA-256 of the encoded file.
        fault: Why it cannot be decoded, or None.
        size: Width and height as seen, px; zeros with a fault.
    """

    row: int
    content: bytes
    fault: BadImageError | None
    size: tuple[int, int]


class Survey:
    """Hash, size and state of every row's image, as far as known.

    Args:
        index: The data.
        cache_root: The findings are kept below it.
        aim: The size each image is trained at.
    """

    def __init__(self, index: DataIndex, cache_root: Path, aim: Aim) -> None:
        self.index, self._aim = index, aim
        # Another Pillow may decode what this one cannot, and the other way round.
        folder = cache_root / "images" / f"{RULE_VERSION}-pillow-{PIL.__version__}"
        self._store = RecordStore(folder, _RECORD.size)
        count = len(index)
        self._content = np.zeros((count, 32), np.uint8)
        self._state = np.zeros(count, np.uint8)
        self._size = np.zeros((count, 2), np.int64)
        self.load()

    def load(self) -> None:
        """Take over what this and other processes have found since."""
        self._store.refresh()
        if not len(self._store):
            return
        for row in self.unknown():
            key = self._key(row)
            place = self._store.place(key) if key else None
            if place is not None:
                content, state, width, height = _RECORD.unpack(self._store.record(place).tobytes())
                self._note(row, content, state, (width, height))

    def look(self, row: int) -> tuple[Seen, Image.Image | None]:
        """Read and decode the image of a row; safe in a thread. None: it cannot be decoded."""
        data, name = self.index.read(row), self.index.rows[row].name
        content = hashlib.sha256(data).digest()
        try:
            image = decode_image(data, name)
        except BadImageError as fault:
            return Seen(row, content, fault, (0, 0)), None
        return Seen(row, content, None, image.size), image

    def add(self, seen: Seen, writer: PackWriter) -> None:
        """Take over a finding and keep it."""
        state = _BAD if seen.fault else _GOOD
        self._note(seen.row, seen.content, state, seen.size)
        key = self._key(seen.row)
        if key:
            writer.put(key, _RECORD.pack(seen.content, state, *seen.size))

    def writer(self) -> PackWriter:
        """Return a writer for ``add``."""
        return self._store.writer()

    def unknown(self) -> list[int]:
        """Return the rows not looked at yet, in order."""
        return [int(row) for row in np.flatnonzero(self._state == _UNKNOWN)]

    def private(self, row: int) -> bool:
        """Tell whether findings on this row cannot be shared: its bytes have no stamp."""
        return self.index.stamp(row) is None

    def decodes(self, row: int) -> bool:
        """Tell whether the image was found good."""
        return bool(self._state[row] == _GOOD)

    def known(self, row: int) -> bool:
        """Tell whether the image was looked at."""
        return bool(self._state[row] != _UNKNOWN)

    def trains(self, row: int) -> bool:
        """Tell whether the image of a known row can be trained on; ``fault`` says why not."""
        return self.decodes(row) and self.unfit(row) is None

    @property
    def contents(self) -> Hashes:
        """The SHA-256 of every row's encoded image, (rows, 32); of an unknown row zeros."""
        return self._content

    def content(self, row: int) -> bytes:
        """Return the SHA-256 of the encoded image; only of a known row."""
        content: bytes = self._content[row].tobytes()
        return content

    def fault(self, row: int) -> BadImageError | None:
        """Return why the image of a known row cannot be trained on, or None."""
        if self.decodes(row):
            return self.unfit(row)
        seen, _ = self.look(row)
        name = self.index.rows[row].name
        return seen.fault or BadImageError(name, "it could not be decoded when it was first read")

    def sides(self, row: int) -> Size:
        """Return width and height as seen, px; only of a row that decodes."""
        return int(self._size[row, 0]), int(self._size[row, 1])

    def target(self, row: int) -> Size:
        """Return the size, px, at which a row that can be trained on is."""
        return self._aim.size(*self.sides(row), self.index.rows[row].name)

    def unfit(self, row: int) -> BadImageError | None:
        """Return why no size suits an image that decodes, or None."""
        try:
            self.target(row)
        except BadImageError as fault:
            return fault
        return None

    def _note(self, row: int, content: bytes, state: int, size: tuple[int, int]) -> None:
        self._content[row] = np.frombuffer(content, np.uint8)
        self._state[row], self._size[row] = state, size

    def _key(self, row: int) -> bytes | None:
        stamp = self.index.stamp(row)
        return None if stamp is None else key_of("image", stamp)


def in_order(
    pool: ThreadPoolExecutor, work: Callable[[T], R], items: Iterable[T], ahead: int
) -> Iterator[R]:
    """Yield ``work(item)`` for each item in order, while threads do the next ``ahead`` ones."""
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
