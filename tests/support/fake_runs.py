"""Run directories made by hand, and a fake supervisor that behaves as the contract says."""

import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sdcore.runs.paths import RunDir, make_private, runs_root

FAKE_SUPERVISOR = Path(__file__).with_name("fake_supervisor.py")
GOLDEN = Path(__file__).parents[1] / "data" / "run-v1"
T0 = 1_786_000_000.0  # seconds since the epoch; when the runs made here begin


def make_run(run_id: str = "20260806-070640-shapes", **records: Any) -> RunDir:
    """Make a run directory with the records given by name: a dict as JSON, else raw bytes.

    ``exit={...}`` becomes exit.json; ``metrics=[{...}]`` becomes lines; None leaves it out.
    """
    run = RunDir(make_private(runs_root()) / run_id)
    make_private(run.root)
    (run.root / "supervisor.lock").touch(mode=0o600)
    for name, content in records.items():
        path = getattr(run, name)
        if isinstance(content, dict):
            path.write_text(json.dumps(content))
        elif isinstance(content, list):
            path.write_text("".join(json.dumps(line) + "\n" for line in content))
        elif content is not None:
            path.write_bytes(content)
    return run


def exit_record(state: str = "done", **changes: Any) -> dict[str, Any]:
    """Return an exit record of format 1."""
    code = {"done": 0, "failed": 1, "stopped": 4, "interrupted": 7}.get(state, 1)
    record = {
        "format": 1,
        "state": state,
        "exit_code": code,
        "code": code,
        "signal": None,
        "signal_name": None,
        "cause": state,
        "reason": f"it is {state}",
        "remedy": None,
        "attempt": 1,
        "started": T0,
        "ended": T0 + 100,
        "last_step": 10,
        "total_steps": 10,
        "last_loss": 0.5,
        "images_per_s": 4.0,
        "checkpoint": None,
        "pipeline": None,
        "peak_gpu_memory": None,
        "peak_rss": None,
        "gpus": [],
        "last_lines": ["the last line"],
    }
    return {**record, **changes}


def metric(
    step: int, attempt: int = 1, loss: float = 0.5, at: float | None = None
) -> dict[str, Any]:
    """Return one line of metrics.jsonl."""
    return {
        "at": T0 + step if at is None else at,
        "attempt": attempt,
        "step": step,
        "epoch": step / 10,
        "loss": loss,
        "lr": 1e-5,
        "images_per_s": 4.0,
    }


class Supervised:
    """A fake run in a process of its own; ended when left."""

    def __init__(self, run: RunDir, *arguments: str) -> None:
        self.run = run
        self.process = subprocess.Popen(
            [sys.executable, str(FAKE_SUPERVISOR), str(run.root), *arguments],
            stdout=subprocess.PIPE,
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"

    def go(self) -> None:
        """Open the gate of ``--gate``: somebody watches now."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def __enter__(self) -> "Supervised":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


@contextmanager
def fake_training(*options: str) -> Iterator[None]:
    """Keep a run going that writes what a real one writes; see ``fake_trainer``."""
    tests = str(Path(__file__).parents[1])
    path = os.pathsep.join(filter(None, [tests, os.environ.get("PYTHONPATH")]))
    argv = [sys.executable, "-m", "support.fake_trainer", *options]
    environment = {**os.environ, "PYTHONPATH": path}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it has begun
        try:
            yield
        finally:
            process.kill()


def sdtui(*arguments: str, **changes: Any) -> subprocess.CompletedProcess[str]:
    """Run the real command, without a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "sdtui", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
        **changes,
    )


def until(path: Path, seconds: float = 20.0) -> None:
    """Wait until ``path`` is there."""
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not come"
        time.sleep(0.02)


def plain_environment(**more: str) -> dict[str, str]:
    """Return our environment with ``more``, without what would change the output."""
    return {**{k: v for k, v in os.environ.items() if k != "NO_COLOR"}, **more}


def watch_in_terminal(
    arguments: list[str], columns: int, started: Callable[[], None] = lambda: None
) -> str:
    """Run the command on a pseudo-terminal and return all it was sent.

    Args:
        arguments: Of ``sdtui``.
        columns: Of the terminal.
        started: Called once when the command has written something.
    """
    main, child = pty.openpty()
    environment = plain_environment(COLUMNS=str(columns), LINES="24", TERM="xterm-256color")
    with subprocess.Popen(
        [sys.executable, "-m", "sdtui", *arguments],
        stdin=child,
        stdout=child,
        stderr=child,
        env=environment,
    ) as process:
        os.close(child)
        written = b""
        while True:
            try:
                piece = os.read(main, 65536)
            except OSError:  # EIO: the other side is closed
                break
            if not piece:
                break
            if not written:
                started()
            written += piece
    os.close(main)
    assert process.returncode == 0
    return written.decode()
