r"""The log of a run as a person reads it: clean, folded, its secrets masked, whatever its size.

``train.log`` holds raw bytes: escape sequences, progress bars that rewrite one line ten times a
second with ``\r``, perhaps a token that a library printed. Nothing here reads more than it shows.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from sdcore.text import clean, last_overwrite

_BLOCK = 1 << 16
_LONGEST = 1 << 16  # bytes of a line without end; beyond, it is shown in pieces
_MASKED = "***"
_MIN_SECRET = 6  # characters; TOKENIZERS_PARALLELISM=false must not riddle the log


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


class LogReader:
    r"""Reads a log from a place on, as whole lines.

    Args:
        path: The log; it may not exist yet.
        mask: Takes out what is never shown.
        offset: Where to begin, in bytes.
    """

    def __init__(self, path: Path, mask: Mask | None = None, offset: int = 0) -> None:
        self.path, self.offset = path, offset
        self._mask = mask or Mask()
        self._partial = b""

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
        if final and self._partial and self.offset >= _size(self.path):
            lines.append(self._partial)
            self._partial = b""
        return [self._shown(line) for line in lines]

    def _fresh(self, limit: int) -> bytes:
        try:
            with self.path.open("rb") as file:
                if os.fstat(file.fileno()).st_size < self.offset:
                    self.offset, self._partial = 0, b""  # truncated: start over
                file.seek(self.offset)
                chunk = file.read(limit)
        except FileNotFoundError:
            return b""
        self.offset += len(chunk)
        return chunk

    def _shown(self, line: bytes) -> str:
        text = clean(last_overwrite(line.decode("utf-8", errors="replace")))
        return self._mask(text)  # after cleaning: an escape inside must not hide it


def start_of_tail(path: Path, lines: int) -> int:
    """Return the byte at which the last ``lines`` lines of a log begin, reading only its end."""
    if lines <= 0:
        return _size(path)
    wanted = lines
    try:
        with path.open("rb") as file:
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
