r"""A log of any size, read where it is looked at: opening one of 1 GB costs as much as one of 1 KB.

The file is divided into pages of 64 KiB. A line belongs to the page in which it *ends*, so what
can be seen of it is near at hand however long it is: of a progress bar that rewrote one line for a
day, only what follows the last ``\r`` is shown. A line without any end is broken where a whole page
holds neither ``\n`` nor ``\r``. A row is addressed by the byte at which it ends; there is no index
to build, and none to keep.

Not for the UI's thread: everything here reads. Not for two threads at once.
"""

import errno
import os
import stat
from collections import OrderedDict
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

from sdcore.runs.logs import LONGEST_END, TRACEBACK, LauncherEnds, Mask, shown_line
from sdcore.text import last_overwrite
from sdtui.live.log_cells import LONGEST, settle
from sdtui.live.log_levels import HEAD, Level, Levels

PAGE = 1 << 16  # bytes
_KEPT = 24  # pages, about 650 lines each
_TRACEBACK = TRACEBACK.encode()
# Controls that clean() takes out; a line is cut at its ``\r`` before.
_STEERING = bytes({*range(0x20), 0x7F} - {0x0A, 0x09, 0x0D})


class Row(NamedTuple):
    """One line as it is shown.

    Attributes:
        at: The byte at which it ends: its address.
        text: Clean, masked, settled; one line.
        level: How grave it is.
        rank: Which rank wrote it, if it says so.
    """

    at: int
    text: str
    level: Level
    rank: int | None


class _Placed(str):
    """A line that knows where it ends, so that it can pass through ``LauncherEnds``."""

    __slots__ = ("at",)
    at: int

    @classmethod
    def of(cls, text: str, at: int) -> "_Placed":
        placed = cls(text)
        placed.at = at
        return placed


@lru_cache(maxsize=1024)
def _alone(head: str) -> tuple[Level, int | None]:
    """Return level and rank of a line with no traceback near it; it is drawn again and again."""
    return Levels().of(head)


class Page:
    """The rows that end in one page, and what stands before them where that tells their level."""

    def __init__(self, ats: list[int], texts: list[str], before: list[str] | None = None) -> None:
        self.ats, self.texts = ats, texts
        self._before = before  # None: no traceback is near, each line tells its own level

    def __len__(self) -> int:
        return len(self.ats)

    def row(self, index: int) -> Row:
        """Return one row."""
        if self._before is None:
            level, rank = _alone(self.texts[index][:HEAD])
        else:
            level, rank = self._in_order[index]
        return Row(self.ats[index], self.texts[index], level, rank)

    @cached_property
    def _in_order(self) -> list[tuple[Level, int | None]]:
        levels = Levels()
        for text in self._before or ():
            levels.of(text)
        return [levels.of(text) for text in self.texts]


class LogFile:
    """One log, which may grow, be cut or not exist yet.

    Args:
        path: The file.
        mask: Takes out what is never shown.
    """

    def __init__(self, path: Path, mask: Mask) -> None:
        self.path, self.mask = path, mask
        self.size = 0  # bytes, when last looked at
        self.generation = 0  # rises whenever what was read before is void
        self._file: int | None = None
        self._identity = (0, 0)
        self._pages: OrderedDict[tuple[int, int], Page] = OrderedDict()

    def refresh(self) -> bool:
        """Look at the file again; say whether it changed."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            gone, self.size = self.size > 0, 0
            if gone:
                self._start_over()
            return gone
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "Not a plain file", str(self.path))
        identity = (found.st_dev, found.st_ino)
        if self._file is None or identity != self._identity or found.st_size < self.size:
            self._start_over()
            # Without waiting, in case a start command puts a pipe in its place just now.
            self._file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            self._identity = identity
            self.size = found.st_size
            return True
        changed, self.size = found.st_size != self.size, found.st_size
        return changed

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _start_over(self) -> None:
        self.close()
        self._pages.clear()
        self.generation += 1

    @property
    def pages(self) -> int:
        """The number of pages."""
        return -(-self.size // PAGE)

    def raw(self, number: int) -> bytes:
        """Return the bytes of a page; those outside of the file have none."""
        begin = number * PAGE
        if self._file is None or not 0 <= begin < self.size:
            return b""
        return os.pread(self._file, min(PAGE, self.size - begin), begin)

    def page(self, number: int) -> Page:
        """Return the rows of a page."""
        # What is shown of a page may hang on the next one: see ``_without_launcher``.
        key = number, min(self.size, (number + 2) * PAGE)
        page = self._pages.pop(key, None) or self._read(number)
        self._pages[key] = page
        while len(self._pages) > _KEPT:
            self._pages.popitem(last=False)
        return page

    def _read(self, number: int) -> Page:
        before, block = self.raw(number - 1), self.raw(number)
        if _TRACEBACK in before + block:
            return self._without_launcher(number)
        return Page(*self._lines(number, block))

    def _without_launcher(self, number: int) -> Page:
        """Read a page near a traceback: accelerate's own is not shown, wherever it ends."""
        before = self._placed(number - 1)[-LONGEST_END:]
        own = self._placed(number)
        ends = LauncherEnds[_Placed]()
        kept = ends.pass_on(before + own)
        for line in self._placed(number + 1)[:LONGEST_END] if ends.holding else ():
            kept += ends.pass_on([line])
            if not ends.holding:
                break
        kept += ends.rest()
        inside = [line for line in kept if number * PAGE <= line.at < (number + 1) * PAGE]
        return Page([line.at for line in inside], [str(line) for line in inside],
                    [str(line) for line in before])  # fmt: skip

    def _placed(self, number: int) -> list[_Placed]:
        ats, texts = self._lines(number, self.raw(number))
        return [_Placed.of(text, at) for at, text in zip(ats, texts, strict=True)]

    def _lines(self, number: int, block: bytes) -> tuple[list[int], list[str]]:
        """Return where the lines of a page end, and what is shown of each."""
        if not block:
            return [], []
        begin = number * PAGE
        *lines, tail = block.split(b"\n")
        ats, at = [], begin - 1
        for line in lines:
            at += len(line) + 1
            ats.append(at)
        if tail and (begin + len(block) == self.size or _endless(block)):
            # The last line, which may yet grow, or a piece of one without end.
            lines.append(tail)
            ats.append(begin + len(block) - 1)
        if not lines:
            return [], []
        lines[0] = self._lead(number) + lines[0]
        return ats, self._shown(lines)

    def _lead(self, number: int, depth: int = 2) -> bytes:
        r"""Return what is shown of the line that goes on into this page, from before it."""
        block = self.raw(number - 1)
        if not block or _endless(block):
            return b""
        body = block.rstrip(b"\r")  # a closing ``\r`` overwrites nothing yet
        cut = max(body.rfind(b"\n"), body.rfind(b"\r"))
        if cut < 0 and depth:
            return self._lead(number - 1, depth - 1) + block
        return block[cut + 1 :]

    def _shown(self, lines: list[bytes]) -> list[str]:
        whole = b"\n".join(lines)
        if whole.isascii() and len(whole.translate(None, _STEERING)) == len(whole):
            # Nothing to take out but secrets, and none of those reaches over a line end.
            text = whole.decode("ascii")
            if "\r" in text:
                text = "\n".join(map(last_overwrite, text.split("\n")))
            texts = self.mask(text).split("\n")
            if "\t" in text or any(len(text) > LONGEST for text in texts):
                return [settle(text) for text in texts]
            return texts
        return [settle(shown_line(line, self.mask)) for line in lines]


def _endless(block: bytes) -> bool:
    """Say whether a line is broken at the end of this page because nothing in it ends one."""
    return len(block) == PAGE and b"\n" not in block and b"\r" not in block
