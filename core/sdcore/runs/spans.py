"""Spans of time in a run's records, and what is left of one."""

import os
import time
from pathlib import Path

from sdcore.runs.fields import Fields

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Return the kernel's name for the time since it was started."""
    return _BOOT_ID.read_text(encoding="ascii").strip()


def eta(lines: list[Fields], total: int | None) -> float | None:
    """Seconds left at the pace of ``lines``; None when a clock change makes it senseless."""
    points = [
        (step, at)
        for line in lines
        if (step := line.whole("step")) is not None and (at := line.moment("at")) is not None
    ]
    if total is None or len(points) < 2:
        return None
    (first, begin), (last, end) = points[0], points[-1]
    if end <= begin or last <= first:
        return None
    return max(0, total - last) * (end - begin) / (last - first)


def age(supervisor: Fields, now: float) -> float | None:
    """Seconds since the supervisor began, by the clock nobody can set where that is known."""
    ticks = supervisor.whole("start_ticks")
    if ticks is not None and supervisor.text("boot_id") == boot_id():
        uptime = time.clock_gettime(time.CLOCK_BOOTTIME)
        seconds = uptime - ticks / os.sysconf("SC_CLK_TCK")
        if seconds >= 0:
            return seconds
    return span(supervisor.moment("started"), now)


def span(begin: float | None, end: float | None) -> float | None:
    """Seconds between two readings of a clock that may have been set back."""
    return None if begin is None or end is None else max(0.0, end - begin)
