"""Reads a long ``metrics.jsonl``: all of it in a process of its own, or a sample at once.

``python -P -m sdtui.live.curve_source FILE END`` writes the rows of ``curve_columns`` as packed
doubles and then one row that tells where it stopped. A process, because parsing a million lines
in a thread would make every key wait for the interpreter.
"""

import os
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from sdcore.runs.files import LineTail, open_plain
from sdcore.runs.follow import StepMetrics, step_metrics
from sdtui.live.curve_columns import WIDTH, Column, Columns, packed, rows_of
from sdtui.live.spread import coarse_to_fine

_END = -1.0  # in the place of an attempt: this row holds the offset, not a step
_ROW_BYTES = WIDTH * 8
_CHUNKS, _CHUNK = 1024, 1024  # places that a sample looks at, a power of 2; bytes read at each
_SAMPLE_S = 0.4  # a slow disk gives fewer places, not a later chart


def sample(path: Path, size: int, seconds: float = _SAMPLE_S) -> Column:
    """Return rows from places all over the first ``size`` bytes, in the order of the file.

    Places are visited coarse to fine, so that whenever time is up they lie evenly.
    """
    found: dict[int, list[StepMetrics]] = {}
    end = time.monotonic() + seconds
    with open_plain(path) as file:
        for place in [_CHUNKS - 1, *coarse_to_fine(_CHUNKS)]:
            offset = max(0, size - _CHUNK) * place // (_CHUNKS - 1)
            chunk = os.pread(file.fileno(), _CHUNK, offset)
            found[offset] = list(_steps(chunk.split(b"\n")[1 if offset else 0 : -1]))
            if time.monotonic() > end:
                break
    return rows_of(line for offset in sorted(found) for line in found[offset])


def _steps(lines: list[bytes]) -> Iterator[StepMetrics]:
    import json  # noqa: PLC0415  # the reading process has it already; the console's start does not

    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        step = step_metrics(record) if isinstance(record, dict) else None
        if step is not None:
            yield step


class Bulk:
    """A whole file on its way into columns, while others look at a sample of it.

    Attributes:
        columns: The rows; not to be used before ``over``.
        offset: Where reading stopped; None when it failed.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.columns, self.offset = Columns(), None
        argv = [sys.executable, "-P", "-m", "sdtui.live.curve_source", str(path), str(size)]
        self._process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._thread = threading.Thread(target=self._receive, name="sdtui-curve", daemon=True)
        self._thread.start()

    offset: int | None

    @property
    def over(self) -> bool:
        """Whether all that will come has come."""
        return not self._thread.is_alive()

    def stop(self) -> None:
        """End the reading; does nothing when it is over."""
        self._process.kill()
        self._thread.join()

    def _receive(self) -> None:
        pipe = self._process.stdout
        assert pipe is not None
        with pipe:
            self._read(pipe)
        self._process.wait()

    def _read(self, pipe: IO[bytes]) -> None:
        rest = b""
        while piece := os.read(pipe.fileno(), 1 << 16):
            rest += piece
            whole = len(rest) - len(rest) % _ROW_BYTES
            rows = np.frombuffer(rest[:whole], dtype=np.float64).reshape(-1, WIDTH)
            rest = rest[whole:]
            if len(rows) and rows[-1, 0] == _END:
                self.offset = int(rows[-1, 1])
                rows = rows[:-1]
            if len(rows):
                self.columns.take(rows)


def main(path: Path, end: int) -> None:
    """Write the rows of the first ``end`` bytes, and perhaps of some more, to stdout."""
    os.nice(5)  # whoever types, and the training, come first
    tail = LineTail(path)
    while tail.offset < end:
        before = tail.offset
        rows = array("d")
        for record in tail.records(1 << 18):
            line = step_metrics(record)
            if line is not None:
                rows.extend(packed(line))
        if tail.offset == before:
            break
        sys.stdout.buffer.write(rows.tobytes())
    stop = [_END, float(tail.offset), *[0.0] * (WIDTH - 2)]
    sys.stdout.buffer.write(array("d", stop).tobytes())


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), int(sys.argv[2]))
        sys.stdout.flush()
    except BrokenPipeError:  # nobody reads any more
        os._exit(0)
