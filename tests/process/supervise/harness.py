"""Starts real runs for tests and finds what is left of them."""

import json
import os
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from sdcore.launch.plan import LaunchPlan
from sdcore.runs import locks
from sdcore.runs.files import read_json
from sdcore.runs.paths import RunDir, make_private, runs_root
from sdcore.supervise import procs
from sdcore.supervise.start import start_supervisor

T = TypeVar("T")
MARK = "SDTUI_TEST_MARK"


def until(probe: Callable[[], T | None], seconds: float = 15.0) -> T:
    """Return the first true answer of ``probe``; fail after ``seconds``."""
    end = time.monotonic() + seconds
    while not (answer := probe()):
        assert time.monotonic() < end, f"nothing came within {seconds} s"
        time.sleep(0.02)
    return answer


def python(code: str) -> list[str]:
    """Return the command that runs ``code`` in a quick Python."""
    return [sys.executable, "-I", "-S", "-u", "-c", code]


class Run:
    """A run of the test's, with what a test asks about it."""

    def __init__(self, directory: RunDir, mark: str) -> None:
        self.dir, self.mark = directory, mark

    def exit(self, seconds: float = 20.0) -> dict[str, Any]:
        """Wait until the run is over and its lock is free; return the record."""
        record = until(lambda: read_json(self.dir.exit), seconds)
        self.until_free()
        return record

    def until_free(self) -> None:
        until(lambda: not locks.is_held(self.dir.lock), 5.0)

    def state(self) -> dict[str, Any]:
        return read_json(self.dir.state) or {}

    def until_phase(self, phase: str) -> dict[str, Any]:
        return until(lambda: self.state() if self.state().get("phase") == phase else None)

    def until_step(self, step: str) -> dict[str, Any]:
        return until(lambda: self.state() if self.state().get("step") == step else None)

    def until_log(self, text: str) -> None:
        until(lambda: self.dir.log.exists() and text in self.dir.log.read_text(errors="replace"))

    @property
    def supervisor(self) -> int:
        return int((read_json(self.dir.supervisor) or {})["pid"])

    @property
    def launcher(self) -> int:
        return int(until(lambda: (read_json(self.dir.supervisor) or {}).get("child_pid")))

    @property
    def guard(self) -> int:
        [found] = [p.pid for p in procs.below(self.supervisor) if p.name == "sdtui-guard"]
        return found

    def survivors(self) -> list[int]:
        """Return every living process that inherited the run's mark."""
        return list(marked(self.mark))

    def until_gone(self, seconds: float = 5.0) -> None:
        until(lambda: not self.survivors(), seconds)


def marked(mark: str) -> Iterator[int]:
    """Yield the pids whose environment holds ``mark``."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with suppress(OSError):
                if mark.encode() in Path(entry.path, "environ").read_bytes():
                    found = procs.read(int(entry.name))
                    if found is not None and found.alive:
                        yield found.pid


class Bench:
    """Makes runs and leaves nothing of them behind."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.runs: list[Run] = []

    def create(self, name: str = "test") -> tuple[Run, int]:
        """Make a run directory as the launcher does; return it and the descriptor of its lock."""
        stamp = f"20260101-{len(self.runs):06d}"
        directory = RunDir(make_private(runs_root() / f"{stamp}-{name}"))
        for folder in (directory.requests, directory.output, directory.rank(0).parent):
            make_private(folder)
        lock = locks.take(directory.lock)
        assert lock is not None
        run = Run(directory, f"{MARK}={uuid.uuid4().hex}")
        self.runs.append(run)
        return run, lock

    def plan(self, run: Run, argv: list[str], **fields: Any) -> LaunchPlan:
        name, _, value = run.mark.partition("=")
        env = {name: value, **fields.pop("env", {})}
        hook_env = {name: value, **fields.pop("hook_env", {})}
        base = {"name": "test", "cwd": str(self.home), "stop_grace_s": 5.0, "term_grace_s": 1.0}
        return LaunchPlan(argv=argv, env=env, hook_env=hook_env, **{**base, **fields})

    def start(self, argv: list[str], **fields: Any) -> Run:
        """Make a run and start it."""
        run, lock = self.create()
        try:
            start_supervisor(run.dir, self.plan(run, argv, **fields), lock)
        finally:
            os.close(lock)
        return run

    def clean_up(self) -> None:
        """End whatever a failed test left."""
        for run in self.runs:
            if locks.is_held(run.dir.lock) and (
                pid := (read_json(run.dir.supervisor) or {}).get("pid")
            ):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for pid in run.survivors():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def write_rank(run: Run, **fields: Any) -> str:
    """Return the Python line with which a fake trainer writes its rank file."""
    record = {
        "rank": 0,
        "pid": 1,
        "attempt": 1,
        "step": 7,
        "total": 10,
        "checkpoint": None,
    } | fields
    return f"open({str(run.dir.rank(0))!r}, 'w').write({json.dumps(record)!r})"
