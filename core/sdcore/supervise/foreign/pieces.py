r"""Finds the pieces of a log that may tell a loss, at any speed of the log.

A progress bar is redrawn behind a ``\r`` ten times a second or a thousand: of those between two
reads the newest is enough. A line that ended in a newline counts whatever surrounds it. What holds
neither costs a search for one word.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sdcore.runs.files import open_plain

CHUNK = 1 << 20  # bytes of one read
_MAX_PIECE = 1 << 14  # bytes; a longer line is no line of metrics
_HEAD = 1200  # bytes behind a line, in which the bar that belongs to it begins
_WORD = b"loss"
_EPOCH = re.compile(rb"\bepoch[ :#\[]{0,3}(\d{1,9})")


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of a log.

    Attributes:
        kind: ``line``: ended in a newline. ``bar``: the newest drawing of a bar. ``next``: what
            was drawn right behind the line before. ``epoch``: the first number of one.
        text: Without its end.
    """

    kind: Literal["line", "bar", "next", "epoch"]
    text: str


class Tail:
    """Reads what a log has grown by.

    Args:
        path: The log, which need not exist.
        offset: Where to begin.
        every_line: Not only lines with the word "loss" count.
    """

    def __init__(self, path: Path, offset: int = 0, *, every_line: bool = False) -> None:
        self.path, self.offset, self._every_line = path, offset, every_line
        self._rest = b""  # what follows the last newline, without drawings that were replaced
        self._next_due = self._inside_long_line = self._epoch_seen = False

    def read(self, *, final: bool = False) -> Iterator[Piece] | None:
        """Return the pieces of up to ``CHUNK`` new bytes; None when there are none.

        Args:
            final: Nothing will follow: an unfinished last line counts as a line.
        """
        chunk = self._fresh()
        if not chunk and not (final and self._rest):
            return None
        return self._pieces(self._rest + chunk + (b"" if chunk or not final else b"\n"))

    def _fresh(self) -> bytes:
        try:
            with open_plain(self.path) as file:
                if os.fstat(file.fileno()).st_size < self.offset:
                    self.offset, self._rest = 0, b""  # cut: what is there now is new
                chunk = os.pread(file.fileno(), CHUNK, self.offset)
        except FileNotFoundError:
            return b""  # its writer has not started
        self.offset += len(chunk)
        return chunk

    def _pieces(self, data: bytes) -> Iterator[Piece]:
        data = self._without_long_line(data.replace(b"\r\n", b"\n"))
        lower = data.lower()  # of ASCII alone: places stay the same
        if not self._epoch_seen and (epoch := _EPOCH.search(lower, max(0, lower.find(b"epoch")))):
            self._epoch_seen = True
            yield Piece("epoch", _text(epoch[1]))
        at = 0
        while True:
            if self._next_due:
                head, known = _head(data[at : at + _HEAD])
                if not known:
                    self._rest = data[at:]
                    return
                self._next_due = False
                if head:
                    yield Piece("next", _text(head))
            begin, end = self._next_line(data, lower, at)
            if end < 0:
                break
            yield from self._line(data[begin:end])
            at, self._next_due = end + 1, True
        rest = data[max(at, data.rfind(b"\n") + 1) :]
        yield from self._newest(rest)
        self._keep(rest)

    def _next_line(self, data: bytes, lower: bytes, at: int) -> tuple[int, int]:
        """Return where the next line of interest begins and ends; an end of -1: there is none."""
        if self._every_line:
            return at, data.find(b"\n", at)
        hit = lower.find(_WORD, at)
        if hit < 0:
            return at, -1
        return max(at, data.rfind(b"\n", at, hit) + 1), data.find(b"\n", hit)

    def _line(self, line: bytes) -> Iterator[Piece]:
        drawn, _, last = line.rstrip(b"\r").rpartition(b"\r")
        yield from self._newest(drawn)
        if len(last) <= _MAX_PIECE and (self._every_line or _WORD in last.lower()):
            yield Piece("line", _text(last))

    def _newest(self, drawn: bytes) -> Iterator[Piece]:
        """Yield the newest whole drawing that tells a loss, else the newest of any bar."""
        lower = drawn.lower()
        for word in (_WORD, b"%|"):
            hit = lower.rfind(word)
            for _ in range(2):  # the newest may be half written
                if hit < 0:
                    break
                begin, end = drawn.rfind(b"\r", 0, hit) + 1, drawn.find(b"\r", hit)
                piece = drawn[begin : end if end >= 0 else len(drawn)]
                if b"]" in piece[hit - begin :] and len(piece) <= _MAX_PIECE:
                    yield Piece("bar", _text(piece))
                    return
                hit = lower.rfind(word, 0, begin)

    def _keep(self, rest: bytes) -> None:
        body = rest.rstrip(b"\r")
        rest = body.rpartition(b"\r")[2] + rest[len(body) :][:1]
        self._inside_long_line = len(rest) > _MAX_PIECE
        self._rest = b"" if self._inside_long_line else rest

    def _without_long_line(self, data: bytes) -> bytes:
        if not self._inside_long_line:
            return data
        ends = [end for sign in (b"\n", b"\r") if (end := data.find(sign)) >= 0]
        self._inside_long_line = not ends
        return data[min(ends) + 1 :] if ends else b""


def _head(data: bytes) -> tuple[bytes, bool]:
    """Return what is drawn first in ``data``, and whether it is there in full."""
    line, newline, _ = data.partition(b"\n")
    drawn = [piece for piece in line.split(b"\r") if piece.strip()]
    if not drawn:
        return b"", bool(newline) or len(data) >= _HEAD
    whole = bool(newline) or len(drawn) > 1 or b"]" in drawn[0] or len(data) >= _HEAD
    return drawn[0], whole


def _text(piece: bytes) -> str:
    return piece.decode("utf-8", errors="replace")
