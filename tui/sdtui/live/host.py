"""CPU and memory of this host, and of a run's processes on it.

Read only while the run lives here: what another host does is not seen, and a run that is over
uses nothing. Reads ``/proc`` alone, and never signals anything.
"""

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sdcore.runs.fields import Fields, read_fields
from sdcore.runs.paths import RunDir
from sdcore.runs.spans import boot_id
from sdcore.supervise import procs
from sdcore.text import clean_line
from sdtui.live.gpu_track import Ring, Values

# The columns of ``HostView.recent``.
TIME, BUSY, MEMORY, RUN_CPU, RUN_MEMORY = range(5)
_PERIOD_S = 1.0
_WALK_S = 10.0  # a walk reads every process of the host, so it must stay rare
_WALK_SHARE = 100  # and takes at most one part in so many of the time
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_DRIVER = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg")


@dataclass(frozen=True, slots=True)
class HostProcess:
    """One process of the run.

    Attributes:
        name: Of the program; clean.
        rss: Resident memory in bytes, pages shared with others included.
        cpu: Cores it kept busy since the last look; None at the first.
    """

    pid: int
    name: str
    rss: int
    cpu: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class HostView:
    """The host of a run at one moment; a new one is made every second.

    Attributes:
        cores: Logical processors.
        busy: Share of them that did something since the last look, 0 to 1.
        memory_used: Bytes that are not available to a new program.
        memory_total: Bytes.
        cpu: Cores the run kept busy.
        rss: Bytes its processes have in memory; shared pages count for each.
        processes: Of the run, the largest first.
        driver: Whether an NVIDIA driver is loaded here.
        recent: The last hour at most, since the run was opened: (seconds, 5), ``TIME`` and on.
    """

    cores: int
    busy: float | None
    memory_used: int | None
    memory_total: int | None
    cpu: float | None
    rss: int
    processes: tuple[HostProcess, ...]
    driver: bool
    recent: Values

    @property
    def pids(self) -> frozenset[int]:
        """The run's processes, by number."""
        return frozenset(each.pid for each in self.processes)


@dataclass(frozen=True, slots=True)
class _Seen:
    ticks: int  # when it started: with the pid, its identity
    cpu: float  # seconds of processor time so far
    process: HostProcess


class HostReader:
    """Looks at the host once a second while the run lives on it."""

    def __init__(self, run: RunDir) -> None:
        self._run = run
        self._view: HostView | None = None
        self._looked = self._walked = self._walk_after = float("-inf")
        self._members: tuple[int, ...] = ()
        self._seen: dict[int, _Seen] = {}
        self._times: tuple[float, float] | None = None  # busy, all
        self._ring = Ring(5)

    def poll(self) -> HostView | None:
        """Return the host, the same object within a second; None when the run is not alive here."""
        now = time.monotonic()
        if now - self._looked < _PERIOD_S:
            return self._view
        passed, self._looked = now - self._looked, now
        supervisor = _supervisor_here(self._run)
        self._view = None if supervisor is None else self._look(supervisor, now, passed)
        return self._view

    def _look(self, supervisor: int, now: float, passed: float) -> HostView:
        busy, cores = self._busy()
        total, used = _memory()
        processes = self._processes(supervisor, now, passed)
        known = [each.cpu for each in processes if each.cpu is not None]
        cpu = sum(known) if known else None
        rss = sum(each.rss for each in processes)
        told = (None if busy is None else busy * 100, used, cpu, rss)
        row = [time.time(), *(np.nan if value is None else value for value in told)]
        self._ring.append(np.array([row]))
        return HostView(
            cores=cores, busy=busy, memory_used=used, memory_total=total, cpu=cpu, rss=rss,
            processes=processes, driver=any(Path(path).exists() for path in _DRIVER),
            recent=self._ring.view(),
        )  # fmt: skip

    def _busy(self) -> tuple[float | None, int]:
        """Return the busy share since the last look, and the number of cores."""
        try:
            lines = Path("/proc/stat").read_text("ascii").splitlines()
            spent = [float(word) for word in lines[0].split()[1:9]]
        except (OSError, ValueError, IndexError):
            return None, os.cpu_count() or 1
        cores = sum(line.startswith("cpu") for line in lines) - 1
        new = (sum(spent) - spent[3] - spent[4], sum(spent))  # 3 idle, 4 waiting for a disk
        old, self._times = self._times, new
        if old is None or new[1] <= old[1]:
            return None, cores
        return min(1.0, max(0.0, (new[0] - old[0]) / (new[1] - old[1]))), cores

    def _processes(self, root: int, now: float, passed: float) -> tuple[HostProcess, ...]:
        if now >= self._walk_after:
            began = time.monotonic()
            self._members = (root, *(each.pid for each in procs.below(root)))
            cost = time.monotonic() - began
            self._walk_after = now + max(_WALK_S, cost * _WALK_SHARE)
            if len(self._members) < 4:  # still being started
                self._walk_after = now + max(2.0, cost * _WALK_SHARE)
        old, self._seen = self._seen, {}
        for pid in self._members:
            before = old.get(pid)
            with suppress(OSError, ValueError, IndexError):  # gone meanwhile
                self._seen[pid] = _read(pid, before, passed)
        found = (seen.process for seen in self._seen.values())
        return tuple(sorted(found, key=lambda each: -each.rss))


def _read(pid: int, before: _Seen | None, passed: float) -> _Seen:
    stat = Path(f"/proc/{pid}/stat").read_bytes()
    # The name stands in parentheses and may itself hold parentheses and spaces.
    head, _, tail = stat.rpartition(b")")
    fields = tail.split()
    ticks, cpu = int(fields[19]), (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
    cores = None
    if before is not None and before.ticks == ticks and passed > 0:
        cores = max(0.0, (cpu - before.cpu) / passed)
    name = clean_line(head.partition(b"(")[2].decode(errors="replace"), 20)
    return _Seen(ticks, cpu, HostProcess(pid, name, int(fields[21]) * procs.PAGE, cores))


def _supervisor_here(run: RunDir) -> int | None:
    """Return the pid of the run's supervisor if it lives on this host."""
    told = read_fields(run.supervisor) or Fields(None)
    pid = told.whole("pid")
    here = told.text("host") == os.uname().nodename and told.text("boot_id") == boot_id()
    if pid is None or not here or run.exit.exists():
        return None
    return pid if procs.start_ticks(pid) == told.whole("start_ticks") else None


def _memory() -> tuple[int | None, int | None]:
    """Return bytes in total and in use."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        table = {line.partition(":")[0]: int(line.split()[1]) * 1024 for line in lines}
        return table["MemTotal"], table["MemTotal"] - table["MemAvailable"]
    except (OSError, ValueError, IndexError, KeyError):
        return None, None
