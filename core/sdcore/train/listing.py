"""What the data of a training was, file by file, so that a resume can name what changed."""

import gzip
import json
from collections.abc import Iterable
from pathlib import Path

from sdcore.data import DataIndex
from sdcore.text import clean_line
from sdcore.train.parts import Write

_SHOWN = 3
Entry = tuple[str, int, str]


class DataPart:
    """``data.json.gz``: name, bytes and a hash of the captions of each row, in order.

    About 30 bytes an image on disk, and beside gigabytes of weights nothing.
    """

    name = "data.json.gz"

    def __init__(self, index: DataIndex) -> None:
        text = json.dumps(list(index.listing()), separators=(",", ":"))
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


def changes(folder: Path, index: DataIndex) -> str | None:
    """Say which files and captions differ from those a checkpoint was made with.

    Args:
        folder: The checkpoint; one of an earlier version holds no list, and the answer is None.
        index: The data of now.
    """
    path = folder / DataPart.name
    if not path.exists():
        return None
    old = _numbered(json.loads(gzip.decompress(path.read_bytes())))
    new = _numbered(index.listing())
    both = [name for name in new if name in old]
    told = [
        _told("changed", [name for name in both if old[name][0] != new[name][0]]),
        _told("with other captions", [name for name in both if old[name][1] != new[name][1]]),
        _told("added", [name for name in new if name not in old]),
        _told("lost", [name for name in old if name not in new]),
    ]
    return "; ".join(words for words in told if words) or "the same files in another order"


def _numbered(entries: Iterable[Entry]) -> dict[str, tuple[int, str]]:
    """Key by name; of an image with several rows, the later ones by name and number."""
    found: dict[str, tuple[int, str]] = {}
    seen: dict[str, int] = {}
    for name, size, captions in entries:
        seen[name] = seen.get(name, 0) + 1
        key = name if seen[name] == 1 else f"{name} (row {seen[name]})"
        found[key] = (size, captions)
    return found


def _told(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{what}: {', '.join(clean_line(name, 80) for name in names[:_SHOWN])}{more}"
