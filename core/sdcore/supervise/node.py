"""``python -m sdcore.supervise.node RUN ADDRESS PORT``: one node of a cluster's job.

Started once on each node by srun. It starts that node's launcher under a guard, samples that
node's GPUs into a file of its own, and ends everything below it when it is told to, or when
Slurm's process above it is gone: Slurm's own sweep can miss ranks that made a session of their
own (measured: they ran on, and the node was drained).
"""

import os
import select
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

from sdcore.launch import slurm
from sdcore.launch.order import Order
from sdcore.launch.plan import LaunchPlan
from sdcore.runs.files import PRIVATE, read_json, write_once
from sdcore.runs.paths import RunDir, home
from sdcore.supervise import containers, procs
from sdcore.supervise.devices import NO_GPUS, Devices, given_gpus
from sdcore.supervise.evidence import tail_of
from sdcore.supervise.guard import Ended, Guard, Refused, Started
from sdcore.supervise.ladder import ORPHANED_S
from sdcore.supervise.outcome import exit_status
from sdcore.supervise.prctl import become_subreaper, die_with, set_name
from sdcore.supervise.ready import Ready
from sdcore.supervise.wake import Wakeup

_POLL_S, _SAMPLE_S = 0.25, 1.0
# After SIGTERM; Slurm itself kills after KillWait, which is 30 s unless a site says otherwise.
_SAVE_S = 60.0
_END = {signal.SIGTERM, signal.SIGINT, signal.Signals(slurm.END)}
_IN_ORDER = {"done", "stopped"}
_LAST_LINES = 20


class Agent:
    """The processes of one run on one node.

    Args:
        run: Whose.
        plan: Of this node's launcher.
        rank: Of this node, from 0.
        ranks: Training processes on each node.
    """

    def __init__(self, run: RunDir, plan: LaunchPlan, rank: int, ranks: int) -> None:
        self._run, self._plan, self._rank, self._ranks = run, plan, rank, ranks
        name = os.environ.get("SLURMD_NODENAME") or os.uname().nodename
        self._node = "".join(c if c.isalnum() or c in "-._" else "_" for c in name)
        ready = Ready(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC))
        self._guard = Guard.fork(run, plan, ready, output=self._output())
        self._wakeup = Wakeup((*_END, signal.SIGCHLD))
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self._terminate = procs.Terminator(os.getpid(), {self._guard.pid}, to=plan.term_to)
        self._devices = self._own_devices() if plan.gpu_count else None
        self._status: int | None = None
        self._refused = self._told = False
        self._patience: float | None = None
        self._next_sample = 0.0

    def _output(self) -> int:
        """Return where the launcher writes: through srun into the run's log.

        A command's words on the other nodes have a log of their own: the losses of all of them,
        one between the other, would be no curve.
        """
        if self._plan.cooperative or self._rank == 0:
            return 1
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        return os.open(self._run.log_of(self._node), flags, PRIVATE)

    def _own_devices(self) -> Devices:
        path = self._run.gpu if self._rank == 0 else self._run.gpu_of(self._node)
        return Devices(self._run, self._plan, home() / "gpus", path)

    def run(self) -> int:
        """Live until nothing of the run is left on this node; return its exit code."""
        self._guard.start(given_gpus() if self._plan.gpu_count else NO_GPUS, [])
        left = True
        while left:
            sources: list[Wakeup | Guard] = [self._wakeup, *([self._guard] * self._guard.open)]
            select.select(sources, [], [], _POLL_S)
            ended, left = procs.reap()
            for message in self._guard.messages():
                if isinstance(message, Started):
                    self._terminate.launcher = message.pid
                elif isinstance(message, Ended):
                    self._status = message.status
                    self._note_failure()
                elif isinstance(message, Refused):
                    sys.stderr.write(f"cannot start on this node: {message.reason}\n")
                    self._refused = True
                    self._guard.dismiss()
            self._told |= bool(self._wakeup.drain() & _END)
            if self._told or self._guard.pid in ended:
                self._patience = self._patience or time.monotonic() + _SAVE_S
            self._end_what_is_left()
            self._sample()
        remains = containers.end(self._plan)
        if remains is not None:
            sys.stderr.write(f"the container on this node could not be ended: {remains}\n")
        return self._code()

    def _end_what_is_left(self) -> None:
        over = self._status is not None and self._patience is None
        others = [p for p in procs.below(os.getpid()) if p.pid != self._guard.pid] if over else []
        if others:  # the launcher is gone, its processes are not
            self._patience = time.monotonic() + ORPHANED_S
        if self._patience is None:
            return
        if time.monotonic() < self._patience:
            self._terminate()
        else:
            procs.kill_below(os.getpid(), spare={self._guard.pid})

    def _note_failure(self) -> None:
        """Leave the status of the first command that fails: srun returns the highest of all."""
        if self._plan.cooperative or self._status == 0 or self._in_order():
            return
        record = {"node": self._node, "status": self._status}
        try:
            first = write_once(self._run.failed_node(self._plan.attempt), record)
        except OSError as error:  # srun's status is what is left
            sys.stderr.write(f"the failure on {self._node} cannot be noted: {error.strerror}\n")
            first = True
        if first and self._rank:
            log = self._run.log_of(self._node)
            told = tail_of(log, self._plan)[-_LAST_LINES:]
            words = [f"the start command failed on {self._node}; the end of {log.name}:", *told]
            sys.stderr.write("\n".join([*words, ""]))
            sys.stderr.flush()

    def _sample(self) -> None:
        now = time.monotonic()
        if self._devices is None:
            return
        if now >= self._next_sample:
            self._next_sample = now + _SAMPLE_S
            self._devices.ask()
        reading = self._devices.take()
        if reading is not None:
            self._devices.adopt(reading)

    def _code(self) -> int:
        """Return 0 where all left in order, whatever their launcher says.

        A launcher says 1 also of ranks that saved and left when they were asked to, and a command
        says what it likes; srun would kill the other nodes for it, in the middle of their save.
        """
        if self._refused:
            return 3
        ended_as_told = not self._plan.cooperative and self._told and self._status is not None
        if ended_as_told or self._in_order():
            return 0
        code, number = exit_status(self._status)
        return code if code is not None else 128 + (number or signal.SIGKILL)

    def _in_order(self) -> bool:
        first = self._rank * self._ranks
        said = [read_json(self._run.rank(r)) or {} for r in range(first, first + self._ranks)]
        mine = [rank for rank in said if rank.get("attempt") == self._plan.attempt]
        return len(mine) == self._ranks and all(r.get("outcome") in _IN_ORDER for r in mine)


def main(argv: list[str]) -> int:
    """Be the agent of this node."""
    root, address, port = argv
    run, rank = RunDir(Path(root)), int(os.environ.get("SLURM_NODEID") or 0)
    parent = os.getppid()
    os.umask(0o077)
    become_subreaper()
    set_name("sdtui-node")
    order = Order.read(run.order)
    if order is None or not die_with(parent, signal.SIGTERM):
        return 1
    plan = order.plan_of(int(os.environ.get("SDTUI_ATTEMPT") or 1))
    command, env = slurm.placed(
        plan.argv, plan.env, node_rank=rank, address=address, port=int(port)
    )
    return Agent(run, replace(plan, argv=command, env=env), rank, order.ranks).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
