"""``python -m sdcore.supervise.job RUN_DIR``: the batch step of a cluster's job is the supervisor.

Nothing forks away here, as it does on one machine: the job lives as long as this process. It
reads the order that the client left, starts the training on the job's nodes, and at the time
limit, or when the job is taken off its nodes, has it saved and goes back to the queue.
"""

import fcntl
import os
import re
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from sdcore.cluster import calls
from sdcore.errors import ExitCode, SdError
from sdcore.launch import slurm
from sdcore.launch.order import Order
from sdcore.launch.plan import LaunchPlan
from sdcore.runs import jobs, locks, requests
from sdcore.runs.files import last_records, read_json, write_json
from sdcore.runs.paths import FORMAT, RunDir, home
from sdcore.supervise import ends, hook
from sdcore.supervise.devices import NO_GPUS, Devices, given_gpus
from sdcore.supervise.evidence import Evidence
from sdcore.supervise.fate import TAKEN_OFF, TIME_LIMIT, Course, Fate, Inquiry
from sdcore.supervise.outcome import OUTSIDE, Outcome, of_error
from sdcore.supervise.prctl import become_subreaper, die_with, set_name
from sdcore.supervise.ready import Ready
from sdcore.supervise.record import say
from sdcore.supervise.supervisor import Supervisor

SIGTERM = "SIGTERM"  # who wished the end, for the record, when it was nobody by name
_LOCK_S = 20.0  # the client that submitted may hold the lock for a moment more
_LOOK_S = 5.0
_NO_ORDER = 78  # EX_CONFIG
# How long a controller that is away is waited for, and how often it is asked to requeue.
_ANSWER_S, _TRIES = 300.0, 3


class JobSupervisor(Supervisor):
    """Supervises one attempt inside a job.

    Attributes:
        code: What the job's batch step returns.
    """

    def __init__(
        self, run: RunDir, plan: LaunchPlan, order: Order, given: slurm.Allocation, lock: int
    ) -> None:
        ready = Ready(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC))
        super().__init__(run, plan, lock=lock, ready=ready, home=home())
        self._order, self._given, self.code = order, given, 0
        self._limit_near = self._limit_told = False
        self._look_at = 0.0
        self._gpus: list[str] = []  # of all nodes, where their agents sample them
        self._peak: int | None = None
        self._inquiry = Inquiry(given.job, given.restarts, run.job_log(given.job))
        signal.signal(signal.SIGUSR2, self._note_limit)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2})

    def _note_limit(self, _number: int, _frame: FrameType | None) -> None:
        self._limit_near = True

    def _begin(self) -> None:
        self._state.enter("starting")
        self._guard.start(given_gpus() if self._order.plan.gpu_count else NO_GPUS, [])

    def _claim(self, devices: Devices) -> None:
        """Take what Slurm gave: there is no queue of ours in a job."""
        reading = devices.take()
        if reading is not None and devices.adopt(reading) and self._state.phase is not None:
            self._state.enter(self._state.phase, gpus=devices.uuids)

    def _sample(self) -> None:
        super()._sample()
        now = time.monotonic()
        if self._order.spread and self._order.plan.gpu_count and now >= self._look_at:
            self._look_at = now + _LOOK_S
            gpus, used = sampled(self._run, self._started)
            self._gpus, self._peak = gpus or self._gpus, max(used, self._peak or 0) or None
            if gpus and self._state.phase is not None:
                self._state.enter(self._state.phase, gpus=gpus)

    def _obey(self) -> None:
        if self._limit_near and not self._limit_told:
            self._limit_told = True
            # Slurm may signal up to a minute early, never late: the grace is at least this.
            grace = max(5, self._order.grace_s - 10)
            try:
                requests.ask(self._run, "stop", by=TIME_LIMIT, grace_s=grace)
            except OSError as error:
                say(f"cannot write a request to stop: {error.strerror or error}")
        super()._obey()

    def _evidence(self) -> Evidence:
        """Of a command on several nodes the first one that failed tells how it ended."""
        evidence = super()._evidence()
        first = read_json(self._run.failed_node(self._plan.attempt)) or {}
        status, node = first.get("status"), first.get("node")
        if not isinstance(status, int) or not isinstance(node, str):
            return evidence
        return replace(evidence, status=status, node=node)

    def _settle(self, record: dict[str, Any], outcome: Outcome) -> bool:
        record = {**record, "job": self._given.job, "nodes": self._given.node_list}
        if self._order.spread:
            record |= {"gpus": self._gpus, "peak_gpu_memory": self._peak}
        if outcome.state != "done" and self._goes_on(record, outcome):
            return False
        self.code = int(outcome.exit_code)
        over = super()._settle(record, outcome)
        jobs.forget_order(self._run)  # secrets are in it; a resume writes it anew
        return over

    def _goes_on(self, record: dict[str, Any], outcome: Outcome) -> bool:
        """Say whether a later attempt of the job goes on; else complete the reason of the end."""
        # Before a preemption Slurm signals the steps alone: then nobody asked us.
        by = (self._ladder.by or SIGTERM) if outcome.state == "stopped" else None
        fate = Fate(Course.RUNNING, TIME_LIMIT)
        if by not in {None, SIGTERM, TIME_LIMIT}:
            return False
        if by == SIGTERM:
            # First of all: Slurm may take long to answer, and soon kills what it told to end.
            self._keep({**record, "reason": _by(TAKEN_OFF, record)})
            fate = self._inquiry.look()
        elif by is None:
            # Ranks fail when a node, or their neighbours, are taken from them.
            fate = self._inquiry.look()
            if fate.course is not Course.BACK:
                return False
            record["reason"] += f"; its job was ended by {fate.by}"
        record["reason"] = _by(fate.by, record)
        goes = fate.course is not Course.OVER and self._goes_back(record, fate)
        if not goes:
            self._run.earlier_exit(self._plan.attempt).unlink(missing_ok=True)
        return goes

    def _keep(self, record: dict[str, Any]) -> str | None:
        """Write down how this attempt ended, as one of several; return why that failed."""
        try:
            write_json(self._run.earlier_exit(self._plan.attempt), record)
        except OSError as error:
            return error.strerror or str(error)
        return None

    def _goes_back(self, record: dict[str, Any], fate: Fate) -> bool:
        """See the job back in the queue; say whether it goes, and in ``record`` why not."""
        if self._given.restarts >= self._order.restarts:
            if self._order.restarts:
                record["reason"] += f"; it was restarted {self._given.restarts} times, as often as "
                record["reason"] += "cluster.restarts allows"
            if fate.course is Course.BACK:
                calls.cancel(self._given.job)  # else it waits, and begins, for nothing
            return False
        trouble = self._keep(record)
        if trouble is not None and fate.course is not Course.BACK:
            record["reason"] += f"; it did not go back to the queue: {trouble}"
            return False
        self._state.enter("queued", f"back to the queue: {record['reason']}")
        refused = self._requeue(record, fate)
        record["reason"] += refused or ""
        return refused is None

    def _requeue(self, record: dict[str, Any], fate: Fate) -> str | None:
        """Send the job back unless Slurm did; return why it does not go, in words to add."""
        refused = None
        for _ in range(_TRIES):
            if fate.course is Course.UNKNOWN:
                fate = self._inquiry.wait(_ANSWER_S, self._is_wished)
            if fate.course is Course.RUNNING:
                refused = calls.requeue(self._given.job)
                if refused is None:
                    return None
                fate = self._inquiry.look()
            if fate.course is not Course.RUNNING:
                break
        if self._is_wished():
            self._take_wishes_away()
            if fate.course is Course.BACK:
                calls.cancel(self._given.job)  # else it waits, and begins, for nothing
            return "; it did not go back to the queue: its end was wished"
        if fate.course is Course.OVER:
            record["reason"] = _by(fate.by, record)
            return ""
        if fate.course is Course.RUNNING:
            return f"; it could not go back to the queue: {refused}"
        return None  # where Slurm does not answer, whoever asks it next sees what it does

    def _is_wished(self) -> bool:
        return bool(self._wishes())


def _by(who: str, record: dict[str, Any]) -> str:
    """Return the reason of an end with the name of who wished it."""
    found = f"stopped by ({SIGTERM}|{OUTSIDE}|{TAKEN_OFF})"
    return re.sub(found, f"stopped by {who}", str(record["reason"]))


def sampled(run: RunDir, since: float) -> tuple[list[str], int]:
    """Return the devices of all nodes and the most memory in use, by the last reading of each.

    Args:
        run: Whose.
        since: When its attempt began: an earlier one may have had other nodes.
    """
    found: dict[str, None] = {}
    most = 0
    for path in [run.gpu, *sorted(run.root.glob("gpu-*.jsonl"))]:
        for line in last_records(path):
            devices, at = line.get("gpus"), line.get("at")
            fresh = isinstance(at, int | float) and at >= since
            told = devices if fresh and isinstance(devices, list) else []
            for each in (each for each in told if isinstance(each, dict)):
                found[str(each.get("uuid"))] = None
                used = each.get("memory_used")
                most = max(most, used if isinstance(used, int) else 0)
    return list(found), most


def main(argv: list[str], environ: Mapping[str, str]) -> int:
    """Be the supervisor of one job; return what the job returns."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})  # until there is who listens
    run, given = RunDir(Path(argv[0])), slurm.Allocation.of(environ)
    parent = os.getppid()
    if jobs.is_of_another(run, given.job):
        sys.stderr.write(f"run {run.id} was resumed in another job: there is nothing left to do\n")
        return _NO_ORDER
    order = Order.read(run.order)
    if run.exit.exists():  # whoever wrote it was killed before it could clear up
        jobs.forget_order(run)
        order = None
    if order is None:
        sys.stderr.write(f"run {run.id} is over: there is nothing left to do\n")
        return _NO_ORDER
    os.umask(0o077)
    os.environ.update(order.env)
    hook.forget_hook()
    os.environ.pop("SLURM_EXPORT_ENV", None)  # a srun of the user's own would take nothing along
    lock = _take(run)
    attempt = order.plan.attempt + given.restarts
    if given.restarts > order.restarts:
        return _too_often(run, order, given, attempt - 1, lock)
    _begin_attempt(run, order, given, attempt)
    become_subreaper()
    set_name("sdtui-super")
    try:
        plan = _plan(run, order, given, attempt)
    except SdError as error:
        ends.write_end(run, of_error(error), attempt)
        _run_hook(run, order.plan_of(attempt), lock)
        return int(error.exit_code)
    if not die_with(parent, signal.SIGTERM):  # Slurm's own process was killed: save, and leave
        os.kill(os.getpid(), signal.SIGTERM)
    supervisor = JobSupervisor(run, plan, order, given, lock)
    supervisor.run()
    return supervisor.code


def _take(run: RunDir) -> int:
    """Take the run's lock; where the file system knows none, go on: Slurm answers for the job."""
    try:
        lock = locks.take(run.lock, patience=_LOCK_S)
    except OSError as error:
        say(f"no lock on this file system ({error.strerror}); Slurm alone says that the run lives")
        lock = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if lock is None:
        sys.stderr.write(f"run {run.id} is held by another process: nothing was started\n")
        sys.exit(int(ExitCode.NOT_READY))
    return lock


def _begin_attempt(run: RunDir, order: Order, given: slurm.Allocation, attempt: int) -> None:
    for earlier in range(order.plan.attempt, attempt):
        ends.put_away(run, earlier, "Slurm started its job again, and nobody saw its end")
    wish = requests.pending(run, "stop")
    if wish is not None and wish.get("by") in {TIME_LIMIT, SIGTERM}:
        requests.done(run, "stop")  # of the attempt before, which had no time to take it away
    record = {"format": FORMAT, "job": given.job, "nodes": given.node_list, "attempt": attempt}
    write_json(run.allocation, {**record, "restarts": given.restarts, "started": time.time()})


def _run_hook(run: RunDir, plan: LaunchPlan, lock: int) -> None:
    """Run the command at the end of an attempt that no supervisor saw through."""
    end = read_json(run.exit)
    fcntl.flock(lock, fcntl.LOCK_UN)
    become_subreaper()
    hook.run_end(run, plan, end)


def _too_often(run: RunDir, order: Order, given: slurm.Allocation, attempt: int, lock: int) -> int:
    reason = f"Slurm restarted its job {given.restarts} times; cluster.restarts allows "
    reason += f"{order.restarts}"
    remedy = f"sdtui resume {run.id}"
    outcome = Outcome("interrupted", ExitCode.LOST, "guard_lost", reason, remedy)
    ends.write_end(run, outcome, attempt)
    _run_hook(run, order.plan_of(attempt), lock)
    return int(ExitCode.LOST)


def _plan(run: RunDir, order: Order, given: slurm.Allocation, attempt: int) -> LaunchPlan:
    """Return what is started: once on the first node, or an agent on each.

    Raises:
        SdError: The first node is not known.
    """
    plan = order.plan_of(attempt)
    env = dict(plan.env)
    if given.cpus is not None and "OMP_NUM_THREADS" not in os.environ | env:
        env["OMP_NUM_THREADS"] = str(max(1, given.cpus // order.ranks))
    if not order.spread:
        return replace(plan, env=env)
    agent = [sys.executable, "-P", "-m", "sdcore.supervise.node", str(run.root),
             calls.address_of(given.node_list), str(slurm.port_of(given.job))]  # fmt: skip
    # The agents sample the devices and hand them on; here are none to be read.
    client = [sys.executable, "-P", "-m", "sdcore.supervise.step", str(run.root), "--agents"]
    argv = [*client, *slurm.step(given, agent)]
    return replace(plan, argv=argv, env=env, gpu_count=0, term_to="launcher", deaf=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
