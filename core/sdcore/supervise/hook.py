"""``python -m sdcore.supervise.hook RUN_DIR``: runs the command of ``[hooks] end``, once.

Its keeper is a process of its own, started when ``exit.json`` is on disk and every lock is free:
whatever the command does, the run is over, can be resumed and removed, and nobody waits for it.
The keeper is a subreaper: nothing that the command starts outlives its limit, in whatever group
or session, except a further run of ours, which has a supervisor to answer for it.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdcore.launch.plan import LaunchPlan
from sdcore.masking import is_secret
from sdcore.runs.files import PRIVATE, read_json, write_json
from sdcore.runs.hook import MARK, TOLD
from sdcore.runs.paths import FORMAT, RunDir
from sdcore.supervise import procs
from sdcore.supervise.outcome import exit_status, signal_name
from sdcore.supervise.prctl import become_subreaper, die_with, fresh_signals, set_name
from sdcore.supervise.record import say
from sdcore.supervise.wake import Wakeup
from sdcore.text import clean_line

_MOST = 1 << 20  # bytes kept of what the command writes; `yes` would fill a disk in a minute
_CHUNK, _POLL_S = 1 << 16, 0.25
_MARGIN_S = 10.0  # beyond the limit, before the keeper itself is given up


def run_end(run: RunDir, plan: LaunchPlan, record: dict[str, Any] | None) -> None:
    """Run the command of ``plan``, if it has one, and return when nothing of it is left.

    Call it last: the run must be over for every reader, and this process be of no use any more.

    Args:
        run: Whose end it is.
        plan: Of the attempt that ended.
        record: ``exit.json``.
    """
    if not plan.end_hook or record is None:
        return
    argv = [sys.executable, "-P", "-m", "sdcore.supervise.hook", str(run.root)]
    try:
        keeper = subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True)
    except OSError as error:
        say(f"cannot run the command of [hooks] end: {error.strerror or error}")
        return
    assert keeper.stdin is not None, "asked for"
    with suppress(BrokenPipeError), keeper.stdin as pipe:  # killed: its status says so
        pipe.write(json.dumps(_order(run, plan, record)).encode())
    try:
        keeper.wait(plan.hook_limit_s + _MARGIN_S)
    except subprocess.TimeoutExpired:
        keeper.kill()
        keeper.wait()
    # Of a keeper that was killed; what it left is ours now.
    while procs.kill_below(os.getpid(), without=procs.is_supervisor):
        time.sleep(0.05)
        procs.reap()


def forget_hook() -> None:
    """Take what a hook was told out of the environment: this is a further run, that it started."""
    for name in TOLD:
        os.environ.pop(name, None)


def _order(run: RunDir, plan: LaunchPlan, record: dict[str, Any]) -> dict[str, Any]:
    step = record.get("last_step")
    told = {
        MARK: "end",
        "SDTUI_RUN_ID": run.id,
        "SDTUI_RUN_NAME": plan.name,
        "SDTUI_RUN_DIR": str(run.root),
        "SDTUI_ATTEMPT": str(plan.attempt),  # of a job's plan it is that of its first start
        "SDTUI_STATE": str(record.get("state")),
        "SDTUI_EXIT_CODE": str(record.get("exit_code")),
        "SDTUI_REASON": clean_line(str(record.get("reason") or "")),
        "SDTUI_STEP": f"{step:.0f}" if isinstance(step, int | float) else "",
    }
    if "SDTUI_HOME" in os.environ:  # it may be relative, and the command starts elsewhere
        told["SDTUI_HOME"] = str(run.root.parent.parent)
    env = {**os.environ, **plan.hook_env}
    return {
        "command": plan.end_hook,
        "cwd": plan.hook_cwd,
        "env": {name: value for name, value in env.items() if not is_secret(name)} | told,
        "limit_s": plan.hook_limit_s,
        "attempt": plan.attempt,
    }


@dataclass(frozen=True, slots=True)
class _Order:
    """What the supervisor asks of the keeper."""

    command: str
    cwd: str
    env: dict[str, str]
    limit_s: float
    attempt: int


class _Keeper:
    """Starts the command, keeps what it writes, and ends it."""

    def __init__(self, run: RunDir, order: _Order) -> None:
        self._run, self._order = run, order
        self._begun, self._started = time.monotonic(), time.time()
        self._wakeup = Wakeup((signal.SIGTERM, signal.SIGCHLD))
        self._output, self._theirs = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._output, False)
        self._log = self._open_log()
        self._kept = 0
        self._status: int | None = None

    def run(self) -> None:
        """Live until nothing of the command is left."""
        self._write("running")
        try:
            shell = self._spawn()
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            self._write("failed", reason=_why(error))
            return
        os.close(self._theirs)
        left = self._watch(shell.pid)
        shell.returncode = self._status  # reaped here: nobody is to wait for it again
        self._read()
        self._write_end(left)

    def _spawn(self) -> subprocess.Popen[bytes]:
        keeper = os.getpid()

        def in_child() -> None:
            fresh_signals()
            if not die_with(keeper, signal.SIGKILL):
                os._exit(1)

        return subprocess.Popen(
            ["bash", "-c", self._order.command],
            cwd=self._order.cwd,
            env=self._order.env,
            stdin=subprocess.DEVNULL,
            stdout=self._theirs,
            stderr=self._theirs,
            process_group=0,
            preexec_fn=in_child,  # noqa: PLW1509 - the keeper has one thread
        )

    def _watch(self, shell: int) -> bool:
        """Wait for the command and all it started; say whether something had to be killed."""
        end = self._begun + self._order.limit_s
        sources: list[Wakeup | int] = [self._wakeup, self._output]
        while self._lives(shell):
            if not self._read():
                sources = [self._wakeup]  # a pipe at its end is always ready
            told = signal.SIGTERM in self._wakeup.drain()  # the host is going down
            if told or time.monotonic() >= end:
                self._kill(shell)
                return True
            wait = min(_POLL_S, max(0.0, end - time.monotonic()))
            select.select(sources, [], [], wait)
        return False

    def _lives(self, shell: int) -> bool:
        """Reap; say whether anything is left but further runs that the command started."""
        ended, children = procs.reap()
        self._status = ended.get(shell, self._status)
        if not children or self._status is None:
            return children
        return bool(procs.below(os.getpid(), procs.is_supervisor))

    def _kill(self, shell: int) -> None:
        if self._status is None:  # at once, so that none of the group starts another
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(shell, signal.SIGKILL)
        while procs.kill_below(os.getpid(), without=procs.is_supervisor):
            time.sleep(0.02)
            self._lives(shell)
        self._lives(shell)

    # What it wrote, and how it ended.
    def _open_log(self) -> int | None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            return os.open(self._run.hook_log, flags, PRIVATE)
        except OSError:  # the folder was removed, the disk is full: the command counts
            return None

    def _read(self) -> bool:
        """Keep what was written; say whether more may come.

        Beyond the most it is read, so that nobody blocks, and lost.
        """
        for _ in range(_MOST // _CHUNK):  # not for ever: the limit has to be looked at
            try:
                chunk = os.read(self._output, _CHUNK)
            except BlockingIOError:
                return True
            if not chunk:
                return False
            room = _MOST - self._kept
            if self._log is not None and room > 0:
                self._kept += len(chunk[:room])
                cut = b"\n(the rest is left out)\n" if len(chunk) >= room else b""
                with suppress(OSError):
                    os.write(self._log, chunk[:room] + cut)
        return True

    def _write_end(self, killed: bool) -> None:
        code, number = exit_status(self._status)
        known = {"code": code, "signal_name": number and signal_name(number)}
        seconds = round(time.monotonic() - self._begun, 3)
        if killed and (code is None or number is not None):
            self._write("killed", seconds=seconds, **known)
        elif code == 0:
            left = "what it left running was killed at its limit" if killed else None
            self._write("done", seconds=seconds, reason=left, **known)
        else:
            self._write("failed", seconds=seconds, **known)

    def _write(self, state: str, **more: Any) -> None:
        """Write the record, unless one of a later attempt stands there; a full disk loses it."""
        order, path = self._order, self._run.hook
        if ((read_json(path) or {}).get("attempt") or 0) > order.attempt:
            return
        record = {
            "format": FORMAT, "state": state, "attempt": order.attempt,
            "started": self._started, "timeout_s": order.limit_s,
        }  # fmt: skip
        with suppress(OSError):
            write_json(path, {**record, **more})


def _why(error: Exception) -> str:
    words = getattr(error, "strerror", None) or str(error)
    path = getattr(error, "filename", None)
    return clean_line(f"{path}: {words}" if path else words, 300)


def main(argv: list[str]) -> int:
    """Be the keeper of one command."""
    order = _Order(**json.loads(sys.stdin.buffer.read()))
    os.umask(0o077)
    become_subreaper()
    set_name("sdtui-hook")
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    _Keeper(RunDir(Path(argv[0])), order).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
