"""What every form of data becomes: rows, problems, a fingerprint, and bytes on demand."""

import hashlib
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from sdcore.data.wording import SHOWN, why
from sdcore.errors import NotReadyError

Form = Literal["imagefolder", "captions", "parquet", "saved dataset", "hub"]


@dataclass(frozen=True, slots=True)
class Row:
    """One image and what is said about it.

    Attributes:
        name: Unique in the set: the path below the folder with ``/``, or ``part-0.parquet#17``.
        captions: At least one; with several, training picks one at each visit.
    """

    name: str
    captions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Few:
    """A count and the first few names behind it."""

    count: int = 0
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, names: Iterable[str]) -> "Few":
        """Count ``names`` and keep the first five."""
        kept: list[str] = []
        count = 0
        for name in names:
            count += 1
            if count <= SHOWN:
                kept.append(name)
        return cls(count, tuple(kept))


@dataclass(frozen=True, slots=True)
class DataProblems:
    """What is odd about the data but does not stop a training; each is a warning.

    Attributes:
        images_without_row: Image files that no metadata row, or no ``.txt``, speaks of; unused.
        captions_without_image: ``.txt`` files with no image of the same name; unused.
        duplicates: Images with more than one row; each row is used.
        empty_captions: Rows with a caption of no text; used as they are.
        other_splits: Files of a test or validation split beside a train split; unused.
    """

    images_without_row: Few = Few()
    captions_without_image: Few = Few()
    duplicates: Few = Few()
    empty_captions: Few = Few()
    other_splits: Few = Few()


class Reader(Protocol):
    """Gives the encoded images of one opened source, by row. Safe to share among threads."""

    def read(self, i: int) -> bytes:
        """Return the encoded image file of row ``i``.

        Raises:
            NotReadyError: It cannot be read any more.
        """

    def stamp(self, i: int) -> str | None:
        """Return what changes when the image may have changed, without reading it.

        None when there is no such thing; the bytes must then be read to tell.
        """

    def size(self, i: int) -> int:
        """Return bytes of the encoded image, or 0 where that is only known by reading it."""

    @property
    def containers(self) -> Sequence[tuple[str, int]]:
        """The files that hold many images each, by name and bytes; empty for loose images."""


class DataIndex:
    """The rows of a data set, and a way to read each image.

    Holds no image bytes. Immutable, so any number of threads may read.
    """

    def __init__(
        self,
        *,
        form: Form,
        source: str,
        rows: Sequence[Row],
        reader: Reader,
        problems: DataProblems,
        picked: Sequence[int] | None = None,
    ) -> None:
        self.form: Form = form
        self.source = source
        self.problems = problems
        self._reader = reader
        self._picked = picked
        self.rows: Sequence[Row] = rows if picked is None else [rows[i] for i in picked]
        self.fingerprint = self._fingerprint()

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, i: int) -> bytes:
        """Return the encoded image file of row ``i``; safe to call from several threads.

        Raises:
            NotReadyError: The file went away or cannot be read.
        """
        return self._reader.read(self._at(i))

    def stamp(self, i: int) -> str | None:
        """Return a text that changes when the image of row ``i`` may have, or None if unknown.

        Made of path, size and times, like git's index: it costs no read of the image.
        """
        return self._reader.stamp(self._at(i))

    def sample(self, count: int, seed: int) -> "DataIndex":
        """Return the first ``count`` rows of a shuffle by ``seed``, in their original order."""
        if count >= len(self.rows):
            return self
        order = list(range(len(self.rows)))
        random.Random(seed).shuffle(order)
        kept = sorted(order[:count])
        base = self._picked
        clone = object.__new__(DataIndex)
        clone.form, clone.source, clone.problems = self.form, self.source, self.problems
        clone._reader = self._reader
        clone._picked = kept if base is None else [base[i] for i in kept]
        clone.rows = [self.rows[i] for i in kept]
        clone.fingerprint = clone._fingerprint()
        return clone

    def listing(self) -> Iterator[tuple[str, int, str]]:
        """Yield what the fingerprint is made of: names, bytes, and a hash of the captions."""
        for name, size in self._reader.containers:
            yield name, size, ""
        for i, row in enumerate(self.rows):
            captions = hashlib.sha256(_encode("\0".join(row.captions))).hexdigest()[:12]
            yield row.name, self._reader.size(self._at(i)), captions

    def _at(self, i: int) -> int:
        if not 0 <= i < len(self.rows):
            raise IndexError(f"row {i} of {len(self.rows)}")
        return i if self._picked is None else self._picked[i]

    def _fingerprint(self) -> str:
        """Hash names, sizes and captions in order; lengths keep the parts apart."""
        digest = hashlib.sha256()
        for name, size in self._reader.containers:
            digest.update(_encode(f"{len(name)}:{name}{size};"))
        for i, row in enumerate(self.rows):
            parts = [f"{len(row.name)}:{row.name}{self._reader.size(self._at(i))};"]
            parts += [f"{len(caption)}:{caption}" for caption in row.captions]
            digest.update(_encode("".join(parts) + "\n"))
        return digest.hexdigest()


def empty_captions(rows: Iterable[Row]) -> Few:
    """Count the rows that have a caption of no text."""
    return Few.of(row.name for row in rows if not all(text.strip() for text in row.captions))


def gone(name: str, error: Exception) -> NotReadyError:
    """Build the error for an image that was there when the data was opened."""
    return NotReadyError(
        f"the image {name} cannot be read",
        cause=why(error),
        remedy="check that the data folder is still there and readable, then start again",
    )


def _encode(text: str) -> bytes:
    # A file name can hold bytes that are no UTF-8; Python carries them as lone surrogates.
    return text.encode("utf-8", "surrogateescape")
