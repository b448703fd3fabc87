"""Runs the real command on tasks of a test's own, and sees whether it left anything behind."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sdcore.runs import locks
from sdcore.runs.files import read_json
from sdcore.runs.paths import RunDir
from sdcore.supervise import procs

FAULTS = Path(__file__).with_name("faults")
UNSHARE = ["unshare", "--user", "--map-root-user", "--mount", "--propagation", "private"]

# Values of [train] that make a tiny training as short as it can be.
TINY = {
    "resolution": 32, "train_batch_size": 2, "max_train_steps": 2, "checkpointing_steps": 1,
    "report_to": "none", "seed": 0,
}  # fmt: skip


def write_task(folder: Path, *, name: str = "bad", gpus: int = 0, command: str | None = None,
               mounts: Mapping[str, Path] | None = None, **train: Any) -> Path:  # fmt: skip
    """Write a preset; JSON's texts, numbers and lists are TOML's, too.

    Args:
        folder: Where to.
        name: Of the run.
        gpus: How many it wants.
        command: Start command; left out, the built-in trainer with a tiny ``[train]``.
        mounts: Source by target.
        train: Changes to ``[train]``.
    """
    lines = [f"name = {json.dumps(name)}"]
    if command is not None:
        lines.append(f"command = {json.dumps(command)}")
    lines += ["[gpu]", f"count = {gpus}"]
    for target, source in (mounts or {}).items():
        lines += ["[[mounts]]", f"target = {json.dumps(target)}"]
        lines.append(f"source = {json.dumps(str(source))}")
    if command is None:
        lines.append("[train]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in (TINY | train).items()]
    path = folder / "task.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


@dataclass(frozen=True)
class Answer:
    """What a command returned and wrote."""

    code: int
    out: str
    err: str

    def says(self, *words: str) -> None:
        """Assert that stderr holds all of ``words``, and no traceback of ours."""
        missing = [word for word in words if word not in self.err]
        assert not missing, f"{missing} not in:\n{self.err}"
        # The log of a failed trainer is quoted behind a bar; ours would begin the line.
        assert "\nTraceback" not in f"\n{self.err}"
        assert "\x1b" not in self.err + self.out


class Console:
    """``sdtui`` with a state folder of its own.

    Args:
        home: Its ``SDTUI_HOME``.
    """

    def __init__(self, home: Path) -> None:
        self.home = home

    def environment(self, changes: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment of a command: one thread, no network, our state folder."""
        fixed = {"SDTUI_HOME": str(self.home), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        return {**os.environ, **fixed, **(changes or {})}

    def __call__(
        self,
        *arguments: object,
        env: Mapping[str, str] | None = None,
        before: list[str] | None = None,
    ) -> Answer:
        """Run a command to its end.

        Args:
            arguments: Of ``sdtui``.
            env: Added to the environment.
            before: A program that runs the command, such as ``unshare``.
        """
        done = subprocess.run(
            [*(before or []), sys.executable, "-m", "sdtui", *map(str, arguments)],
            env=self.environment(env), stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=150, check=False,
        )  # fmt: skip
        return Answer(done.returncode, done.stdout, done.stderr)

    def fault(self, order: str) -> dict[str, str]:
        """Return what makes the trainer fail as ``faults/sitecustomize.py`` describes."""
        return {"PYTHONPATH": str(FAULTS), "SDTUI_TEST_FAULT": order}

    def start(
        self, *arguments: object, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start a command that can be sent signals; only its stderr is kept."""
        return subprocess.Popen(
            [sys.executable, "-m", "sdtui", *map(str, arguments)],
            env=self.environment(env), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def runs(self) -> list[RunDir]:
        """Return the runs, oldest first."""
        folder = self.home / "runs"
        found = sorted(folder.iterdir()) if folder.is_dir() else []
        return [RunDir(each) for each in found if not each.name.startswith(".")]

    def record(self) -> dict[str, Any]:
        """Return the only run's ``exit.json``."""
        [run] = self.runs()
        record = read_json(run.exit)
        assert record is not None, f"{run.id} left no record"
        return record

    def processes(self) -> list[int]:
        """Return every living process that was started with our state folder."""
        mark = f"SDTUI_HOME={self.home}\0".encode()
        return [pid for pid in procs_of(mark) if (p := procs.read(pid)) is not None and p.alive]

    def nothing_left(self, seconds: float = 8.0) -> None:
        """Assert that no process is left and no run holds its lock."""
        end = time.monotonic() + seconds
        while (left := (self.processes(), self._held())) != ([], []) and time.monotonic() < end:
            time.sleep(0.05)
        assert left == ([], []), f"still alive: {left[0]}; still held: {left[1]}"

    def _held(self) -> list[str]:
        return [run.id for run in self.runs() if locks.is_held(run.lock)]


def procs_of(mark: bytes) -> list[int]:
    """Return the pids whose environment holds ``mark``."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environment = (entry / "environ").read_bytes()
            except OSError:  # ended meanwhile, or not ours
                continue
            if mark in environment:
                found.append(int(entry.name))
    return found


def on_small_disk(folder: Path, options: str) -> list[str]:
    """Return the program that runs a command with a file system of its own at ``folder``.

    Args:
        folder: Made; only the command and what it starts see the file system.
        options: Of tmpfs, for example ``size=100k``.
    """
    folder.mkdir(exist_ok=True)
    if subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this host lets nobody make a mount namespace")
    mount = 'mount -t tmpfs -o "$0" small "$1" && shift && exec "$@"'
    return [*UNSHARE, "sh", "-c", mount, options, str(folder)]
