"""The guard: the process between supervisor and launcher that outlives neither.

A killed supervisor must take its run down, or a GPU stays busy with a training nobody knows.
The kernel tells a child of its parent's death only if the child asked for it, and only one
level deep; so the guard asks, and as subreaper it reaches everything below, in whatever session
it runs. It is forked before the supervisor opens NVML or starts a thread, execs nothing and
holds the run's locks: no second run can start while processes of the first are ending.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

from sdcore.launch.plan import LaunchPlan
from sdcore.runs.files import PRIVATE
from sdcore.runs.paths import RunDir
from sdcore.supervise import containers, procs
from sdcore.supervise.prctl import become_subreaper, die_with, fresh_signals, set_name
from sdcore.supervise.ready import Ready
from sdcore.supervise.wake import Wakeup

# What a trainer may take to save when its supervisor was killed, in seconds.
LAST_SAVE_S = 10.0
# A message is a small JSON object; the descriptors are one lock for each GPU.
_MESSAGE, _MAX_FDS = 1 << 16, 128


@dataclass(frozen=True, slots=True)
class Started:
    """The launcher runs."""

    pid: int
    ticks: int | None


@dataclass(frozen=True, slots=True)
class Refused:
    """The launcher could not be executed.

    Attributes:
        reason: One line, from the system.
        path: What could not be found, entered or executed, when the system tells.
    """

    reason: str
    path: str | None


@dataclass(frozen=True, slots=True)
class Ended:
    """The launcher ended with this wait status."""

    status: int


Message = Started | Refused | Ended


class Guard:
    """The supervisor's handle on its guard."""

    def __init__(self, pid: int, channel: socket.socket) -> None:
        self.pid, self._channel = pid, channel
        self.open = True  # False once the guard hung up: its end would be readable for ever

    @classmethod
    def fork(
        cls, run: RunDir, plan: LaunchPlan, ready: Ready, output: int | None = None
    ) -> "Guard":
        """Fork the guard; it waits for ``start``.

        Args:
            run: Where the log goes.
            plan: What to start; it has it by the fork, so no secret travels.
            ready: Closed in the guard: the client waits until nobody holds it.
            output: Where the launcher writes; left out, the run's log.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        supervisor = os.getpid()
        pid = os.fork()
        if pid == 0:
            ours.close()
            ready.close()
            _live(_Guard(run, plan, theirs, supervisor, output))
        theirs.close()
        ours.setblocking(False)
        return cls(pid, ours)

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._channel.fileno()

    def start(self, env: dict[str, str], hold: list[int]) -> None:
        """Have the launcher started.

        Args:
            env: Added to the plan's: which GPUs.
            hold: Descriptors of locks that must stay held until all is over.
        """
        with suppress(BrokenPipeError, ConnectionError):  # killed: its end is seen elsewhere
            socket.send_fds(self._channel, [json.dumps(env).encode()], hold)

    def messages(self) -> list[Message]:
        """Return what the guard said since the last call."""
        found: list[Message] = []
        with suppress(BlockingIOError):
            while data := self._receive():
                found.append(_parse(json.loads(data)))
            self.open = False
        return found

    def dismiss(self) -> None:
        """Hang up: a guard that has started nothing leaves."""
        self._channel.close()
        self.open = False

    def _receive(self) -> bytes:
        try:
            return self._channel.recv(_MESSAGE) if self.open else b""
        except ConnectionError:
            return b""


def _parse(record: dict[str, Any]) -> Message:
    kinds: dict[str, type[Message]] = {"started": Started, "refused": Refused, "ended": Ended}
    return kinds[record.pop("kind")](**record)


def _live(guard: "_Guard") -> NoReturn:
    """Be the guard; never return into the supervisor's code."""
    code = 1
    try:
        code = guard.run()
    except BaseException:  # noqa: BLE001 - whatever it is, the supervisor's stack is not ours
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


class _Guard:
    """The process itself."""

    def __init__(
        self,
        run: RunDir,
        plan: LaunchPlan,
        channel: socket.socket,
        supervisor: int,
        output: int | None,
    ) -> None:
        self._run, self._plan, self._channel, self._output = run, plan, channel, output
        self._supervisor = supervisor
        self._launcher = 0

    def run(self) -> int:
        set_name("sdtui-guard")
        become_subreaper()
        # SIGHUP and SIGINT are for people at terminals; the supervisor decides.
        for number in (signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        self._wakeup = Wakeup((signal.SIGTERM, signal.SIGCHLD))
        self._sources: list[Wakeup | socket.socket] = [self._wakeup, self._channel]
        if not die_with(self._supervisor, signal.SIGTERM):
            return 0
        order = self._await_order()
        if order is None or not self._start(*order):
            return 0
        self._watch()
        return 0

    def _await_order(self) -> tuple[dict[str, str], list[int]] | None:
        """Return environment and locks of the start, or None when the supervisor is gone."""
        while not self._orphaned():
            readable, _, _ = select.select(self._sources, [], [])
            self._wakeup.drain()
            if self._channel in readable:
                data, locks, _, _ = socket.recv_fds(self._channel, _MESSAGE, _MAX_FDS)
                return (json.loads(data), locks) if data else None
        return None

    def _orphaned(self) -> bool:
        return os.getppid() != self._supervisor

    def _start(self, gpus: dict[str, str], locks: list[int]) -> bool:
        for descriptor in locks:
            os.set_inheritable(descriptor, False)
        try:
            # Kept: a Popen that is collected reaps its child, and the status would be lost.
            self._popen = _spawn(self._run, self._plan, gpus, self._output)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            path = getattr(error, "filename", None)
            self._say("refused", reason=reason, path=path and str(path))
            return False
        self._launcher = self._popen.pid
        ticks = procs.start_ticks(self._launcher)
        self._say("started", pid=self._launcher, ticks=ticks)
        return True

    def _say(self, kind: str, **fields: Any) -> None:
        with suppress(BrokenPipeError, ConnectionError):  # it died: its end is seen by the loop
            self._channel.send(json.dumps({"kind": kind, **fields}).encode())

    def _watch(self) -> None:
        """Reap everything below until nothing is left or the supervisor is gone."""
        while self._reap():
            readable, _, _ = select.select(self._sources, [], [])
            self._wakeup.drain()
            # A SIGTERM with the supervisor still there is the host's, sent to all; the
            # supervisor got it as well and leads.
            if self._orphaned() or (self._channel in readable and not self._channel.recv(1)):
                self._end_all()
                return

    def _reap(self) -> bool:
        ended, left = procs.reap()
        if self._launcher in ended:
            self._say("ended", status=ended[self._launcher])
        return left

    def _end_all(self) -> None:
        """End every process of the run: a moment to save, then SIGKILL until none is left."""
        # Each by itself: accelerate with one process does not pass the signal on.
        terminate = procs.Terminator(os.getpid(), launcher=self._launcher, to=self._plan.term_to)
        patience = time.monotonic() + min(LAST_SAVE_S, self._plan.term_grace_s)
        while self._reap():
            if time.monotonic() < patience:
                terminate()
            else:
                procs.kill_below(os.getpid())
            select.select([self._wakeup], [], [], 0.1)
            self._wakeup.drain()
        containers.end(self._plan)


def _spawn(
    run: RunDir, plan: LaunchPlan, gpus: dict[str, str], output: int | None
) -> subprocess.Popen[bytes]:
    """Start the launcher in a session of its own.

    Raises:
        OSError: It cannot be executed, or its folder cannot be entered.
        ValueError: An argument or variable holds a NUL.
    """
    guard = os.getpid()
    facts = {"SDTUI_RUN_DIR": str(run.root), "SDTUI_ATTEMPT": str(plan.attempt)}
    visible = gpus.get("CUDA_VISIBLE_DEVICES", "")

    def in_child() -> None:
        fresh_signals()
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM) if plan.deaf else ():
            signal.signal(number, signal.SIG_IGN)
        if not die_with(guard, signal.SIGTERM):
            os._exit(1)

    # A file, not a pipe: a pipe holds 64 KiB; left unread it blocks the trainer inside print().
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    log = os.open(run.log, flags, PRIVATE) if output is None else os.dup(output)
    try:
        return subprocess.Popen(
            plan.argv_for(visible),
            cwd=plan.cwd,
            env={**os.environ, **plan.env, **facts, **gpus, **plan.env_for(visible)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=in_child,  # noqa: PLW1509 - the guard has one thread
        )
    finally:
        os.close(log)
