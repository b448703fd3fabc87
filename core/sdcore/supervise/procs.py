"""Finds and signals the processes of a run, and no others.

A process group is not a run: torch elastic gives every rank a session of its own. What a run
cannot leave is its subreaper, so its processes are those below a subreaper by parent pid. A pid
alone is never trusted: by the time a signal is sent another program may have it, therefore a
process is pid and start time, and the signal goes through a pidfd that was checked against both.
"""

import os
import signal
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sdcore.runs.hook import MARK

PAGE = os.sysconf("SC_PAGE_SIZE")
_ZOMBIE = frozenset("ZX")


@dataclass(frozen=True, slots=True)
class Proc:
    """One process as ``/proc/PID/stat`` told it.

    Attributes:
        pid: Its number, which may be used again once it is gone.
        parent: Pid of its parent.
        ticks: Start time in clock ticks since boot, field 22; with the pid, its identity.
        state: One letter; Z is dead and not yet reaped.
        rss: Resident memory in bytes, pages shared with others included.
        name: Of the program, up to 15 bytes.
    """

    pid: int
    parent: int
    ticks: int
    state: str
    rss: int
    name: str

    @property
    def alive(self) -> bool:
        """False for a process that only waits to be reaped."""
        return self.state not in _ZOMBIE


def read(pid: int) -> Proc | None:
    """Return process ``pid``, or None when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The name stands in parentheses and may itself hold parentheses and spaces.
    head, _, tail = stat.rpartition(b")")
    fields = tail.split()
    return Proc(
        pid=pid,
        parent=int(fields[1]),
        ticks=int(fields[19]),
        state=fields[0].decode(),
        rss=int(fields[21]) * PAGE,
        name=head.partition(b"(")[2].decode(errors="replace"),
    )


def start_ticks(pid: int) -> int | None:
    """Return when ``pid`` started, in clock ticks since boot, or None when it is gone."""
    found = read(pid)
    return None if found is None else found.ticks


def boot_id() -> str:
    """Return the kernel's name for this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


def _everyone() -> Iterator[Proc]:
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and (found := read(int(entry.name))) is not None:
            yield found


def below(root: int, without: Callable[[int], bool] = lambda _pid: False) -> list[Proc]:
    """Return the living descendants of ``root``, parents before children.

    ``/proc`` is read while processes start and end, so a caller that must have them all asks
    again until it gets none.

    Args:
        root: A pid, which is not among them.
        without: True of a process that is left out, and with it all that is below it.
    """
    children: dict[int, list[Proc]] = {}
    for each in _everyone():
        children.setdefault(each.parent, []).append(each)
    found: list[Proc] = []
    pending = [root]
    while pending:
        below_it = [each for each in children.pop(pending.pop(), []) if not without(each.pid)]
        found.extend(below_it)
        pending.extend(each.pid for each in below_it)
    return [each for each in found if each.alive]


def started_by(run: Path) -> list[Proc]:
    """Return the living processes that were started for ``run``, by their environment.

    Whoever lost both its subreapers at once is below none, and is found by nothing else. What the
    run's hook started is no part of it, and may be a further attempt of the run.
    """
    mark, hook = b"SDTUI_RUN_DIR=" + os.fsencode(run), os.fsencode(f"{MARK}=")
    found = ((each, _environment(each.pid)) for each in _everyone() if each.alive)
    return [
        each
        for each, env in found
        if mark in env and not any(variable.startswith(hook) for variable in env)
    ]


def is_supervisor(pid: int) -> bool:
    """Say whether ``pid`` is the supervisor of a run, which answers for all that is below it."""
    return _command(pid)[2:4] == [b"-m", b"sdcore.supervise"]


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # gone, or another user's
        return []


def send(target: Proc, number: signal.Signals) -> bool:
    """Signal ``target`` if it is still the same process; say whether it was."""
    try:
        descriptor = os.pidfd_open(target.pid)
    except ProcessLookupError:
        return False
    except OSError:  # a kernel before 5.3 or a sandbox without the call: check, then hurry
        if start_ticks(target.pid) != target.ticks:
            return False
        return _try(os.kill, target.pid, number)
    try:
        # The descriptor holds one process for good; now see whether it is the one we mean.
        if start_ticks(target.pid) != target.ticks:
            return False
        return _try(signal.pidfd_send_signal, descriptor, number)
    finally:
        os.close(descriptor)


def _try(
    call: Callable[[int, signal.Signals], object], target: int, number: signal.Signals
) -> bool:
    with suppress(ProcessLookupError, PermissionError):  # gone; or set-uid, which is not ours
        call(target, number)
        return True
    return False


class Terminator:
    """Sends SIGTERM to the programs below a process, to each once.

    A second SIGTERM makes many programs give up the save that the first one began. And a loader
    worker that gets one takes its trainer down in the middle of the save (torch raises "worker
    killed by signal" there): a process that Python forked as its helper is left to its parent,
    until the parent is gone. So is what a program starts after it was told: it may be the save
    (``trap 'cp -r ... /output' TERM``).

    Args:
        root: Whose descendants.
        spare: Pids that are left alone.
        launcher: The program that surrounds the task, once it runs.
        to: ``all`` of them; those ``below`` the launcher, which would die of it and take them
            along; the ``launcher`` alone, which passes it on.
    """

    def __init__(
        self, root: int, spare: Collection[int] = (), *, launcher: int = 0, to: str = "all"
    ) -> None:
        self._root, self._spare = root, spare
        self.launcher, self._to = launcher, to
        self._told: set[tuple[int, int]] = set()

    def told(self, pid: int, ticks: int | None) -> None:
        """Take note that a process has had its SIGTERM from elsewhere."""
        if ticks is not None:
            self._told.add((pid, ticks))

    def __call__(self) -> None:
        """Signal whoever has not been told; call it again for those who come later."""
        found = {each.pid: each for each in below(self._root) if each.pid not in self._spare}
        before = frozenset(self._told)
        for each in found.values():
            if (each.pid, each.ticks) in self._told or not self._is_meant(each.pid, found):
                continue
            parent = found.get(each.parent)
            answers = parent is not None and (parent.pid, parent.ticks) in before
            if answers or (parent is not None and _is_helper(each.pid, parent.pid)):
                continue
            if _ignores(each.pid, signal.SIGTERM):
                continue  # lost on it now; bubblewrap's child takes it in a few milliseconds
            self._told.add((each.pid, each.ticks))
            send(each, signal.SIGTERM)
            send(each, signal.SIGCONT)  # a stopped process takes it only once it goes on

    def _is_meant(self, pid: int, found: Mapping[int, Proc]) -> bool:
        """Say whether a process is told itself; without its launcher every one is."""
        if self._to == "all" or self.launcher not in found:
            return True
        return (pid == self.launcher) == (self._to == "launcher")


def kill_below(
    root: int, spare: Collection[int] = (), without: Callable[[int], bool] = lambda _pid: False
) -> list[Proc]:
    """Send SIGKILL to every living descendant of ``root``; return those found.

    Args:
        root: Whose.
        spare: Pids that are left alone, though not what is below them.
        without: As of ``below``.
    """
    found = [each for each in below(root, without) if each.pid not in spare]
    for each in found:
        send(each, signal.SIGKILL)
    return found


def _ignores(pid: int, number: signal.Signals) -> bool:
    """Say whether a signal to ``pid`` would be thrown away."""
    try:
        status = Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return False
    mask = status.partition(b"\nSigIgn:")[2].split(maxsplit=1)[:1]
    return bool(mask) and bool(int(mask[0], 16) >> (number - 1) & 1)


def _is_helper(pid: int, parent: int) -> bool:
    """Say whether ``pid`` is a worker of the Python program ``parent``, not one of its own."""
    ours, theirs = _command(pid), _command(parent)
    is_python = Path(os.fsdecode(theirs[:1][0] if theirs else b"")).name.startswith("python")
    # Forked and never executed, or started by multiprocessing in its other two ways.
    return is_python and (ours == theirs or any(b"from multiprocessing." in part for part in ours))


def _command(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
    except OSError:
        return []


def reap() -> tuple[dict[int, int], bool]:
    """Collect every dead child.

    Returns:
        The wait status by pid, and whether a child is left.
    """
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended, False
        if pid == 0:
            return ended, True
        ended[pid] = status
