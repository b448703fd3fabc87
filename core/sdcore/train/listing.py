"""What the data of a training was, file by file, so that a resume can name what changed."""

import gzip
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from sdcore.data import DataIndex
from sdcore.text import clean_line
from sdcore.train.parts import Write
from sdcore.train.survey import Hashes

_SHOWN = 3


class Entry(NamedTuple):
    """A file of many images, or a row.

    Attributes:
        captions: A hash of them.
        content: 128 bits of the SHA-256 of the encoded image, in hex; empty where it is not
            known, and in checkpoints of earlier versions.
    """

    name: str
    size: int
    captions: str
    content: str = ""


class DataPart:
    """``data.json.gz``: name, bytes, and hashes of captions and image of each row, in order.

    About 50 bytes an image on disk, and beside gigabytes of weights nothing.

    Args:
        index: The data.
        contents: Hashes of its images.
    """

    name = "data.json.gz"

    def __init__(self, index: DataIndex, contents: Hashes) -> None:
        text = json.dumps(list(_entries(index, contents)), separators=(",", ":"))
        # No time in it: the same data makes the same bytes.
        raw = text.encode(errors="backslashreplace")
        self._content = gzip.compress(raw, compresslevel=1, mtime=0)

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return len(self._content)

    @property
    def held(self) -> int:
        """Bytes of host memory that copies hold already: it is its own copy."""
        return len(self._content)

    def snapshot(self, *, copied: bool) -> Write:  # noqa: ARG002 - it never changes
        """See ``Part``."""

        def write(folder: Path) -> None:
            (folder / self.name).write_bytes(self._content)

        return write


def changes(folder: Path, index: DataIndex, contents: Hashes | None) -> list[str] | None:
    """Say which files and captions differ from those a checkpoint was made with.

    Args:
        folder: The checkpoint; one of an earlier version holds no list, and the answer is None.
        index: The data of now.
        contents: Hashes of its images; None before they are known.
    """
    path = folder / DataPart.name
    if not path.exists():
        return None
    listed = json.loads(gzip.decompress(path.read_bytes()))
    old = _numbered(Entry(*entry) for entry in listed)
    new = _numbered(_entries(index, contents))
    both = [(name, old[name], new[name]) for name in new if name in old]
    told = [
        _told("changed", [name for name, before, now in both if _changed(before, now)]),
        _told("with other captions",
              [name for name, before, now in both if before.captions != now.captions]),
        _told("added", [name for name in new if name not in old]),
        _told("lost", [name for name in old if name not in new]),
    ]  # fmt: skip
    return [words for words in told if words]


def _entries(index: DataIndex, contents: Hashes | None) -> Iterator[Entry]:
    """Yield files of many images, then rows, in order."""
    listing = list(index.listing())
    containers = len(listing) - len(index)
    for number, entry in enumerate(listing):
        row = number - containers
        content = b"" if contents is None or row < 0 else contents[row].tobytes()
        yield Entry(*entry, content.hex()[:32])


def _changed(before: Entry, now: Entry) -> bool:
    known = bool(before.content and now.content)
    return before.size != now.size or (known and before.content != now.content)


def _numbered(entries: Iterable[Entry]) -> dict[str, Entry]:
    """Key by name; of an image with several rows, the later ones by name and number."""
    found: dict[str, Entry] = {}
    seen: dict[str, int] = {}
    for entry in entries:
        number = seen[entry.name] = seen.get(entry.name, 0) + 1
        found[entry.name if number == 1 else f"{entry.name} (row {number})"] = entry
    return found


def _told(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{what}: {', '.join(clean_line(name, 80) for name in names[:_SHOWN])}{more}"
