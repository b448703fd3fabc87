"""Records that are replaced whole, streams that grow by whole lines.

Every file is opened 0600 from its first byte: a chmod afterwards leaves a moment in which
another user of a shared host can open it.
"""

import errno
import json
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from io import BufferedReader
from pathlib import Path
from typing import Any

PRIVATE = 0o600
_SHORT = 4096  # bytes of a line of which many may be kept


def open_plain(path: Path) -> BufferedReader:
    """Open a file for reading without ever waiting for a writer.

    A start command may put anything into the run directory; a pipe in the place of a record
    would hold whoever opens it as other files are opened, for ever.

    Raises:
        OSError: It cannot be opened, or is no plain file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, "Not a plain file", str(path))


def read_plain(path: Path) -> bytes:
    """Return the content of a file; see ``open_plain``."""
    with open_plain(path) as file:
        return file.read()


def write_bytes(path: Path, content: bytes) -> None:
    """Replace ``path`` so that a reader sees the old content or the new, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, PRIVATE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # else a power cut can leave the new name on an empty file
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Replace ``path`` with ``record``; see ``write_bytes``."""
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_once(path: Path, record: dict[str, Any]) -> bool:
    """Write ``record`` unless another process already wrote its own; say whether it was we.

    Raises:
        OSError: It cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w") as file:
        json.dump(record, file)
    return True


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the record in ``path``, or None when there is none that can be read."""
    try:
        record = json.loads(read_plain(path))
    except (OSError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def is_full(error: BaseException) -> bool:
    """Say whether a write failed because the disk, or this user's share of it, is full."""
    return isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}


def sync_folder(folder: Path) -> None:
    """Make renames in ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class LineWriter:
    """Appends JSON lines, each by one ``write``: a reader never sees two writers' lines mixed.

    A line that a killed writer left unfinished is closed first, so that the next line stands
    alone and only the cut one is lost. What an error of the disk leaves unwritten is kept, and
    goes first at the next try.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(
            path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, PRIVATE
        )
        end = os.lseek(self._descriptor, 0, os.SEEK_END)
        if end and os.pread(self._descriptor, 1, end - 1) != b"\n":
            os.write(self._descriptor, b"\n")
        self._unwritten = b""

    @property
    def behind(self) -> bool:
        """Whether an error left something unwritten; ``flush`` tries again."""
        return bool(self._unwritten)

    def write(self, record: dict[str, Any]) -> None:
        """Append ``record`` as one line. Not-a-number is written as ``NaN``, as Python reads it."""
        line = (json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n").encode(
            errors="backslashreplace"  # a lone surrogate, from a file name, as its JSON escape
        )
        self._unwritten += line
        self.flush()

    def flush(self) -> None:
        """Write what an earlier error left unwritten."""
        while self._unwritten:
            self._unwritten = self._unwritten[os.write(self._descriptor, self._unwritten) :]

    def close(self) -> None:
        """Close the file; more writes are an error."""
        os.close(self._descriptor)


class LineTail:
    """The complete lines added to an append-only file since the last read.

    Attributes:
        offset: Bytes read so far.
        restarts: How often the file was found shorter than before and read from its start.
    """

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path, self.offset, self.restarts = path, offset, 0
        self._inside_long_line = False

    def read(self, limit: int = 1 << 20) -> list[bytes]:
        """Return whole new lines, up to about ``limit`` bytes of them.

        A line that is still being written waits for the next read; one over ``limit`` bytes is
        dropped up to its end, so that it cannot stop the stream.
        """
        chunk = self._chunk(limit)
        whole, newline, _ = chunk.rpartition(b"\n")
        if not newline:
            if len(chunk) == limit:
                self.offset += limit
                self._inside_long_line = True
            return []
        self.offset += len(whole) + 1
        lines = whole.split(b"\n")
        if self._inside_long_line:  # the first is the end of a dropped line, not a line
            self._inside_long_line = False
            return lines[1:]
        return lines

    def _chunk(self, limit: int) -> bytes:
        try:
            with open_plain(self.path) as file:
                if os.fstat(file.fileno()).st_size < self.offset:
                    self.offset, self._inside_long_line = 0, False
                    self.restarts += 1
                file.seek(self.offset)
                return file.read(limit)
        except FileNotFoundError:
            return b""  # its writer has not started

    def records(self, limit: int = 1 << 20) -> Iterator[dict[str, Any]]:
        """Yield the new lines that are JSON objects; a damaged line is passed over."""
        for line in self.read(limit):
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(record, dict):
                yield record


@lru_cache(maxsize=1024)  # the console looks at the end of every live run four times a second
def _parsed(line: bytes) -> Any:
    return json.loads(line)


def last_records(path: Path, want: int = 1, window: int = 1 << 16) -> list[dict[str, Any]]:
    """Return up to ``want`` last whole JSON lines of a stream, reading its end alone.

    They are for reading: who asks again gets the same objects for the same lines.
    """
    try:
        with open_plain(path) as file:
            size = file.seek(0, os.SEEK_END)
            start = max(0, size - window)
            file.seek(start)
            chunk = file.read()
    except OSError:
        return []
    lines = chunk.split(b"\n")[1 if start else 0 : -1]
    found: list[dict[str, Any]] = []
    for line in reversed(lines):
        try:
            record = _parsed(line) if len(line) < _SHORT else json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            found.append(record)
        if len(found) == want:
            break
    return found[::-1]
