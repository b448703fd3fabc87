"""The GPU readings that a run's supervisor wrote: the last ones, and their history.

A day of eight GPUs is hundreds of megabytes, so the file is never read through: its end comes
first, then lines spread over the whole of it, then the last hour backwards. Every look at the
file takes a bounded time. A damaged line costs itself alone.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sdcore.gpu.samples import GpuSample, Unavailable
from sdcore.runs.files import LineTail, open_plain
from sdcore.runs.paths import RunDir
from sdtui.live.gpu_record import (
    MOST_DEVICES,
    Words,
    devices_of,
    key_of,
    parse,
    row_of,
    sample_of,
    unavailable_of,
)
from sdtui.live.gpu_track import TIME, WINDOWS_S, Bins, History, Ring, Values, shares
from sdtui.live.host import HostReader, HostView
from sdtui.live.spread import coarse_to_fine

BUDGET_S = 0.012  # of one look
_CHUNK = 1 << 16
_FIRST = 1 << 17  # bytes of the end that are read at once
_SMALL = 1 << 22  # a file up to this size is read in full
_STRATA = 512  # lines looked at over the whole of a larger one
_LONGEST = 1 << 16  # bytes of a line that is looked for at a place


@dataclass(frozen=True, slots=True, eq=False)
class Device:
    """One device of the run, now and before.

    Attributes:
        sample: The last reading.
        history: All before it.
        throttle: What held its clock down in the last five minutes, with the share of them.
    """

    sample: GpuSample
    history: History
    throttle: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class GpuView:
    """The GPUs of a run; two views are equal only when they are the same object.

    Attributes:
        at: When ``samples`` were read, in seconds since the epoch.
        samples: The last reading of each device.
        unavailable: Why there is none since then.
        devices: The same devices with their history.
        now: The right end of the histories: ``at``, but for a clock that was set back.
        host: The run's host, when that is this one and the run lives.
    """

    at: float | None = None
    samples: tuple[GpuSample, ...] = ()
    unavailable: Unavailable | None = None
    devices: tuple[Device, ...] = ()
    now: float = 0.0
    host: HostView | None = None


class _Track:
    """What is kept of one device."""

    def __init__(self, start: float) -> None:
        self.ring, self.bins = Ring(7), Bins(start)


class GpuReader:
    """Reads ``gpu.jsonl`` of one run; ``poll`` returns the same object while nothing is new."""

    def __init__(self, run: RunDir, path: Path | None = None) -> None:
        self._path, self._host = path or run.gpu, HostReader(run)
        self._view = GpuView()
        self._begin()

    def _begin(self) -> None:
        """Forget everything: the file is new."""
        self._tail: LineTail | None = None
        self._tracks: dict[str, _Track] = {}
        self._words = Words()
        self._start: float | None = None
        self._last, self._first = float("-inf"), float("inf")
        self._shift = self._shift_back = 0.0
        self._back = 0  # bytes before this place are not read yet
        self._places: Iterator[int] = iter(())
        self._large = False
        self._looked = 0  # of the lines spread over a large file
        self._at: float | None = None
        self._samples: tuple[GpuSample, ...] = ()
        self._keys: tuple[str, ...] = ()
        self._why: Unavailable | None = None

    def poll(self) -> GpuView:
        """Return the readings up to now."""
        end = time.monotonic() + BUDGET_S
        fresh = self._open() if self._tail is None else self._forwards(end)
        fresh |= self._spread(end)
        fresh |= self._backwards(end)
        host = self._host.poll()
        if fresh or host is not self._view.host:
            self._view = self._picture(host)
        return self._view

    def close(self) -> None:
        """Stop reading: nothing is held between two looks."""

    # --- the file -----------------------------------------------------------------------------

    def _open(self) -> bool:
        """Read the end of the file, and find what else of it is to be read."""
        try:
            with open_plain(self._path) as file:
                size = file.seek(0, os.SEEK_END)
                begin = max(0, size - _FIRST)
                chunk = os.pread(file.fileno(), size - begin, begin)
                first = os.pread(file.fileno(), _LONGEST, 0)
        except OSError:
            return False  # its writer has not started, or it was removed
        head = chunk.find(b"\n") + 1 if begin else 0
        whole = chunk.rfind(b"\n") + 1
        self._tail = LineTail(self._path, begin + whole if whole else size if begin else 0)
        self._back = begin + min(head, whole)
        self._large = self._back > _SMALL
        if self._large:
            end = self._back  # that one moves while the places are visited
            self._places = (at * end // _STRATA for at in coarse_to_fine(_STRATA))
        opening = (parse(line, _latest()) for line in first.split(b"\n")[:-1])
        self._start = next((found[0] for found in opening if found is not None), None)
        return self._take_later(chunk[head:whole].split(b"\n"))

    def _forwards(self, end: float) -> bool:
        """Read what was added."""
        assert self._tail is not None, "it is open"
        fresh = False
        while True:
            restarts = self._tail.restarts
            lines = self._tail.read(4 * _CHUNK)
            if self._tail.restarts != restarts:  # the file was cut: nothing read before counts
                self._begin()
                return self._open() or True
            fresh |= self._take_later(lines)
            if not lines or time.monotonic() > end:
                return fresh

    def _spread(self, end: float) -> bool:
        """Look at lines all over a large file, those far from one another first."""
        batch: dict[str, list[tuple[float, ...]]] = {}
        for place in self._places:
            self._looked += 1
            found = parse(_line_at(self._path, place), _latest())
            if found is not None and found[0] <= self._last:
                self._gather(batch, found[1], found[0])
            if time.monotonic() > end:
                break
        for key, rows in batch.items():
            self._track(key, rows[0][TIME]).bins.add(np.array(rows))
        return bool(batch)

    def _backwards(self, end: float) -> bool:
        """Read on towards the start: all of a small file, the last hour of a large one."""
        fresh = False
        while self._back > 0 and time.monotonic() < end:
            if self._large and self._last - self._first > (WINDOWS_S["1h"] or 0):
                self._back = 0
                break
            begin = max(0, self._back - _CHUNK)
            chunk = _bytes_at(self._path, self._back - begin, begin)
            head = chunk.find(b"\n") + 1 if begin else 0
            if begin and not head:  # inside one endless line
                self._back = begin
                continue
            self._take_earlier(chunk[head:].split(b"\n"))
            self._back, fresh = begin + head, True
        return fresh

    # --- the lines ----------------------------------------------------------------------------

    def _take_later(self, lines: list[bytes]) -> bool:
        batch: dict[str, list[tuple[float, ...]]] = {}
        fresh, latest = False, _latest()
        newest: tuple[float, dict[str, Any]] | None = None
        for found in (parse(line, latest) for line in lines):
            if found is None:
                continue
            at, record = found
            fresh = True
            self._why = unavailable_of(record)
            if self._why is None:
                if at + self._shift <= self._last:  # the clock was set back: go on from here
                    self._shift = self._last + 1.0 - at
                self._last = at + self._shift
                self._first = min(self._first, self._last)
                self._gather(batch, record, self._last)
                newest = found
        if newest is not None:
            self._now_is(*newest)
        for key, rows in batch.items():
            self._put(self._track(key, rows[0][TIME]), np.array(rows), later=True)
        return fresh

    def _take_earlier(self, lines: list[bytes]) -> None:
        batch: dict[str, list[tuple[float, ...]]] = {}
        latest = _latest()
        for line in reversed(lines):
            found = parse(line, latest)
            if found is None or "gpus" not in found[1]:
                continue
            at, record = found
            if at + self._shift_back >= self._first:  # the clock was set back after this line
                self._shift_back = self._first - 1.0 - at
            self._first = at + self._shift_back
            self._last = max(self._last, self._first)
            self._gather(batch, record, self._first)
            if self._at is None:  # there was no reading in the end that was read at once
                self._now_is(at, record)
        for key, rows in batch.items():
            self._put(self._track(key, rows[-1][TIME]), np.array(rows[::-1]), later=False)

    def _gather(
        self, batch: dict[str, list[tuple[float, ...]]], record: dict[str, Any], t: float
    ) -> None:
        for device in devices_of(record):
            batch.setdefault(key_of(device), []).append(row_of(device, t, self._words))

    def _track(self, key: str, t: float) -> _Track:
        if key not in self._tracks:
            while len(self._tracks) >= 2 * MOST_DEVICES:
                del self._tracks[next(iter(self._tracks))]
            self._start = t if self._start is None else self._start
            self._tracks[key] = _Track(self._start)
        return self._tracks[key]

    def _put(self, track: _Track, rows: Values, *, later: bool) -> None:
        if later:
            track.ring.append(rows)
        else:
            track.ring.prepend(rows)
        track.bins.add(rows)

    def _now_is(self, at: float, record: dict[str, Any]) -> None:
        devices = devices_of(record)
        self._at = at
        self._samples = tuple(sample_of(each, place) for place, each in enumerate(devices))
        self._keys = tuple(key_of(each) for each in devices)

    def _picture(self, host: HostView | None) -> GpuView:
        now = self._last if self._at is not None else 0.0
        devices = tuple(
            self._device(key, sample, now)
            for key, sample in zip(self._keys, self._samples, strict=True)
        )
        return GpuView(self._at, self._samples, self._why, devices, now, host)

    def _device(self, key: str, sample: GpuSample, now: float) -> Device:
        track = self._track(key, now)
        recent, run = track.ring.view(), track.bins.view()
        hold = 3 * (now - run.start) / max(1, self._looked) if self._large else 0.0
        return Device(
            sample, History(recent, run, max(2.6, hold)), shares(recent, self._words.names, now)
        )


def _latest() -> float:
    """Return the latest time that a sound line can have: a day ahead, for clocks that differ."""
    return time.time() + 86_400


def _line_at(path: Path, place: int) -> bytes:
    """Return the first whole line that begins after ``place``, or nothing."""
    chunk = _bytes_at(path, _LONGEST // 8, place)
    parts = chunk.split(b"\n", 2)
    if len(parts) < 3 and len(chunk) == _LONGEST // 8:
        parts = _bytes_at(path, _LONGEST, place).split(b"\n", 2)
    return parts[1] if len(parts) == 3 else b""


def _bytes_at(path: Path, number: int, place: int) -> bytes:
    try:
        with open_plain(path) as file:
            return os.pread(file.fileno(), number, place)
    except OSError:  # removed while it was read
        return b""
