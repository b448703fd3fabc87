r"""The log of a run as a person reads it: clean, folded, its secrets masked, whatever its size.

``train.log`` holds raw bytes: escape sequences, progress bars that rewrite one line ten times a
second with ``\r``, perhaps a token that a library printed. Nothing here reads more than it shows.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Generic, TypeVar

from sdcore.runs.files import open_plain
from sdcore.text import clean, last_overwrite

_BLOCK = 1 << 16
_LONGEST = 1 << 16  # bytes of a line without end; beyond, it is shown in pieces
_LONGEST_SHOWN = 300  # characters of a line that is quoted
_MASKED = "***"
_MIN_SECRET = 6  # characters; TOKENIZERS_PARALLELISM=false must not riddle the log
# How accelerate ends after a failed trainer: with one process, and with several, of which it then
# tells between two such rules. The signal that ended one of them may stand nowhere else.
_LAUNCHER = re.compile(r'File ".*/accelerate/commands/launch\.py"')
_ONE_FAILED, _SOME_FAILED = "subprocess.CalledProcessError: Command ", "ChildFailedError"
_RULE = re.compile(r"={20,}$")
_SIGNAL = re.compile(r"died with <Signals\.|Signal \d+ \(SIG")
LONGEST_END = 100  # lines of such an end; its report of 64 failed processes would be longer
TRACEBACK = "Traceback (most recent call last)"  # how the end of a Python program begins

LineT = TypeVar("LineT", bound=str)


class Mask:
    """Takes the values of secrets out of clean text; very short ones are left alone."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        # By line, as they are shown: of a private key of many lines none may stay.
        cleaned = {clean(line) for value in values for line in value.splitlines()}
        # Longest first: a secret that begins with another must not leave its end behind.
        self._values = sorted((v for v in cleaned if len(v) >= _MIN_SECRET), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """Return ``text``, which is clean, without the secrets."""
        for value in self._values:
            text = text.replace(value, _MASKED)
        return text


class LauncherEnds(Generic[LineT]):
    """Leaves out the tracebacks with which accelerate ends after a trainer that did not end well.

    They tell of accelerate alone and read like a crash, also after a clean stop. A traceback is
    held back until its last line shows whose it is; all others pass whole, as the same objects.
    """

    def __init__(self) -> None:
        self._held: list[LineT] = []
        self._rules = -1  # seen in the report of several processes; -1 before it

    @property
    def holding(self) -> bool:
        """Whether a traceback is held back whose owner is not known yet."""
        return bool(self._held)

    def pass_on(self, lines: Iterable[LineT]) -> list[LineT]:
        """Return what can be shown of all lines so far and was not returned yet."""
        return [shown for line in lines for shown in self._take(line)]

    def rest(self) -> list[LineT]:
        """Return what is held back: no more lines come."""
        held, self._held, self._rules = self._held, [], -1
        return held

    def _take(self, line: LineT) -> list[LineT]:
        if line.startswith(TRACEBACK):
            before, self._held = self.rest(), [line]
            return before
        if not self._held:
            return [line]
        self._held.append(line)
        launchers = self._is_launchers(line)
        if launchers:
            return [held for held in self.rest() if _SIGNAL.search(held)]
        over = launchers is not None or len(self._held) > LONGEST_END
        return self.rest() if over else []

    def _is_launchers(self, line: str) -> bool | None:
        """Say whose traceback is held back, by its newest line; None while that is open."""
        if self._rules >= 0:
            self._rules += bool(_RULE.match(line))
            return True if self._rules == 2 else None
        if line.startswith((" ", "\t")):  # one more frame
            return None
        if not any(_LAUNCHER.search(frame) for frame in self._held):
            return False
        if _SOME_FAILED in line:
            self._rules = 0
            return None
        return line.startswith(_ONE_FAILED)


class LogReader:
    r"""Reads a log from a place on, as whole lines, without accelerate's own tracebacks.

    Args:
        path: The log; it may not exist yet.
        mask: Takes out what is never shown.
        offset: Where to begin, in bytes.
    """

    def __init__(self, path: Path, mask: Mask | None = None, offset: int = 0) -> None:
        self.path, self.offset = path, offset
        self._mask = mask or Mask()
        self._partial, self._ends = b"", LauncherEnds[str]()

    def read(self, limit: int = 1 << 20, *, final: bool = False) -> list[str]:
        """Return the lines that are new, up to about ``limit`` bytes of them.

        Args:
            limit: Bytes to read at most; call again for more.
            final: Also return a last line that has no end: its writer is gone.
        """
        lines = (self._partial + self._fresh(limit)).split(b"\n")
        self._partial = _folded(lines.pop())
        while len(self._partial) > _LONGEST:
            lines.append(self._partial[:_LONGEST])
            self._partial = self._partial[_LONGEST:]
        at_end = final and self.offset >= _size(self.path)
        if at_end and self._partial:
            lines.append(self._partial)
            self._partial = b""
        shown = self._ends.pass_on(self._shown(line) for line in lines)
        return shown + self._ends.rest() if at_end else shown

    def _fresh(self, limit: int) -> bytes:
        try:
            with open_plain(self.path) as file:
                if os.fstat(file.fileno()).st_size < self.offset:
                    self.offset, self._partial = 0, b""  # truncated: start over
                file.seek(self.offset)
                chunk = file.read(limit)
        except FileNotFoundError:
            return b""
        self.offset += len(chunk)
        return chunk

    def _shown(self, line: bytes) -> str:
        return shown_line(line, self._mask)


def shown_line(line: bytes, mask: Mask) -> str:
    """Return what a person sees of one raw line: its last overwrite, clean, without secrets."""
    text = clean(last_overwrite(line.decode("utf-8", errors="replace")))
    return mask(text)  # after cleaning: an escape inside must not hide it


def last_lines(path: Path, lines: int) -> tuple[str, ...]:
    """Return the last ``lines`` lines of a short log that say anything, clean."""
    try:
        with open_plain(path) as file:
            file.seek(start_of_tail(path, 2 * lines))
            chunk = file.read(_BLOCK)
    except OSError:
        return ()
    shown = (shown_line(line, Mask()).strip() for line in chunk.split(b"\n"))
    return tuple(line[:_LONGEST_SHOWN] for line in shown if line)[-lines:]


def start_of_tail(path: Path, lines: int) -> int:
    """Return the byte at which the last ``lines`` lines of a log begin, reading only its end."""
    if lines <= 0:
        return _size(path)
    wanted = lines
    try:
        with open_plain(path) as file:
            end = file.seek(0, os.SEEK_END)
            if end:
                file.seek(end - 1)
                # A newline at the very end closes the last line and begins none.
                wanted += file.read(1) == b"\n"
            while end > 0:
                begin = max(0, end - _BLOCK)
                file.seek(begin)
                block = file.read(end - begin)
                found = block.count(b"\n")
                if found >= wanted:
                    return begin + _nth_last(block, wanted) + 1
                wanted, end = wanted - found, begin
    except FileNotFoundError:
        return 0
    return 0


def _nth_last(block: bytes, nth: int) -> int:
    """Return where the ``nth`` newline from the end stands, counted from 1."""
    place = len(block)
    for _ in range(nth):
        place = block.rindex(b"\n", 0, place)
    return place


def _folded(partial: bytes) -> bytes:
    r"""Drop what a progress bar has overwritten; a closing ``\r`` may yet meet its newline."""
    body = partial.rstrip(b"\r")
    return body.rpartition(b"\r")[2] + (b"\r" if len(body) < len(partial) else b"")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
