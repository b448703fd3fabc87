"""The life of one run, seen from the process that answers for it.

One thread, one ``select`` that wakes four times a second at most. It has the guard start the
launcher, climbs the stop ladder when somebody wishes an end, samples, and leaves when no process
of the run is left: as a subreaper it has no children then, and that is the proof.
"""

import fcntl
import os
import select
import signal
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from sdcore.errors import NotReadyError, SdError
from sdcore.launch.plan import LaunchPlan
from sdcore.runs import requests
from sdcore.runs.files import read_json, write_json
from sdcore.runs.paths import RunDir
from sdcore.supervise import containers, hook, oom, procs
from sdcore.supervise import evidence as facts
from sdcore.supervise.devices import NO_GPUS, Devices
from sdcore.supervise.foreign.reader import MetricsReader
from sdcore.supervise.guard import Ended, Guard, Message, Refused, Started
from sdcore.supervise.ladder import LEFT_BEHIND_S, ORPHANED_S, Ladder, Rung
from sdcore.supervise.outcome import Outcome, decide, launch_failed, of_error, to_error
from sdcore.supervise.ready import Ready
from sdcore.supervise.record import StateRecord, exit_record, identity, say, write_exit
from sdcore.supervise.sampling import TreeMemory
from sdcore.supervise.wake import Wakeup

_POLL_S, _SAMPLE_S = 0.25, 1.0
# How long a start command may take to fail before the client is told that it runs.
_SETTLE_S = 0.3
# After this long on the last rung a process is named: it hangs inside the kernel.
_STUCK_S = 5.0
_WISHES: tuple[requests.Kind, ...] = ("stop", "term", "kill")
_REASONS: dict[Rung, str] = {
    "save": "the trainer finishes its step and saves",
    "term": "SIGTERM was sent to every program",
    "kill": "SIGKILL was sent to every process",
}


class Supervisor:
    """Supervises one attempt of one run, from the lock to the exit record.

    Args:
        run: With an absolute path.
        plan: What to start.
        lock: Descriptor that holds the run's lock; released when all is written.
        ready: Where the client waits.
        home: Folder of all state, for the locks of the GPUs.
    """

    def __init__(
        self, run: RunDir, plan: LaunchPlan, *, lock: int, ready: Ready, home: Path
    ) -> None:
        self._run, self._plan, self._lock, self._ready = run, plan, lock, ready
        self._started = time.time()
        self._state = StateRecord(run, plan.attempt)
        self._ladder = Ladder(plan.stop_grace_s, plan.term_grace_s)
        self._oom_before = oom.kills()
        # Before any thread and before NVML: a fork copies neither in a usable state.
        self._guard = Guard.fork(run, plan, ready)
        self._reader = MetricsReader.fork(run, plan)
        # Ours, and no part of the run: neither ended nor measured with it.
        self._ours = {self._guard.pid} | ({self._reader.pid} if self._reader else set())
        self._wakeup = Wakeup((signal.SIGTERM, signal.SIGINT, signal.SIGCHLD))
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self._terminate = procs.Terminator(os.getpid(), self._ours, to=plan.term_to)
        self._tree = TreeMemory(os.getpid(), spare=self._ours)
        self._devices = Devices(run, plan, home / "gpus") if plan.gpu_count else None
        self._next_sample = 0.0
        self._child: Started | None = None
        self._child_since = 0.0  # monotonic, as the next two
        self._ended_at: float | None = None  # when the launcher, or the guard, was gone
        self._entered: tuple[Rung, float, float | None] | None = None  # rung, when, Unix deadline
        self._status: int | None = None
        self._refusal: SdError | None = None
        self._told: set[signal.Signals] = set()
        self._cancelled = self._guard_lost = self._we_killed = False
        self._children = True

    def run(self) -> None:
        """Live until no process of the run is left and its end is on disk."""
        self._identify()
        if self._refusal is None:
            self._begin()
        while self._children:
            self._wait()
            self._listen()
            self._obey()
            self._sample()
            self._state.flush()
        self._close()

    # --- the start --------------------------------------------------------------------------

    def _identify(self) -> None:
        child = self._child
        pid, ticks = (child.pid, child.ticks) if child is not None else (None, None)
        record = identity(self._started, pid, ticks)
        try:
            write_json(self._run.supervisor, record)
        except OSError as error:
            cause = error.strerror or str(error)
            if child is not None:
                say(f"cannot write supervisor.json: {cause}")
                return
            what = f"the folder of run {self._run.id} cannot be written"
            remedy = f"free space on its disk, or give yourself the right to write {self._run.root}"
            self._refuse(NotReadyError(what, cause=cause, remedy=remedy))

    def _begin(self) -> None:
        if self._devices is not None:
            self._state.enter("queued", waiting_for="a look at the GPUs")
            self._devices.ask()
            return
        self._state.enter("starting")
        self._guard.start(NO_GPUS, [])

    def _claim(self, devices: Devices) -> None:
        """Start the run if its GPUs are free now; else say what it waits for."""
        reading = devices.take()
        if reading is None or self._state.phase != "queued" or not self._guard.open:
            return
        try:
            claim = devices.claim(reading)
        except NotReadyError as error:
            self._refuse(error)
            return
        if isinstance(claim, str):
            self._state.enter("queued", waiting_for=claim)
            self._ready.ok("queued")
        else:
            self._state.enter("starting", devices.note, gpus=devices.uuids)
            self._guard.start(claim.env(), claim.locks)

    def _refuse(self, error: SdError) -> None:
        self._refusal = error
        self._guard.dismiss()

    # --- what the guard and the kernel say --------------------------------------------------

    def _wait(self) -> None:
        sources: list[Wakeup | Guard | Devices] = [self._wakeup]
        if self._guard.open:
            sources.append(self._guard)
        if self._devices is not None:
            sources.append(self._devices)
        select.select(sources, [], [], _POLL_S if self._ready.said else _SETTLE_S / 4)
        self._told |= self._wakeup.drain() & {signal.SIGTERM, signal.SIGINT}

    def _listen(self) -> None:
        ended, self._children = procs.reap()
        for message in self._guard.messages():  # after the reaping: its last words are here
            self._hear(message)
        self._dismiss_reader(ended)
        if self._child is not None and self._child.pid in ended:
            self._status = ended[self._child.pid]  # adopted from a lost guard
        expected = self._ended_at is not None or self._refusal is not None or self._cancelled
        if self._guard.pid in ended and not expected:
            self._guard_lost, self._ended_at = True, time.monotonic()
            if self._child is not None:  # by the kernel, when its parent the guard died
                self._terminate.told(self._child.pid, self._child.ticks)
        if self._child is not None and time.monotonic() - self._child_since >= _SETTLE_S:
            self._ready.ok("running")

    def _dismiss_reader(self, ended: Collection[int]) -> None:
        """Have the metrics read to their end once nothing of the run, nor the guard, is left."""
        self._ours -= set(ended)
        if self._reader is None or self._guard.pid in self._ours:
            return
        if all(each.pid == self._reader.pid for each in procs.below(os.getpid())):
            self._reader.finish()

    def _hear(self, message: Message) -> None:
        match message:
            case Started():
                self._child, self._child_since = message, time.monotonic()
                self._terminate.launcher = message.pid
                self._identify()
                self._state.enter("running", self._devices.note if self._devices else None)
                if self._plan.cooperative:
                    self._ready.ok("running")
            case Refused(reason, path):
                self._refuse(launch_failed(self._plan, reason, path))
            case Ended(status):
                self._status, self._ended_at = status, time.monotonic()

    # --- what people wish -------------------------------------------------------------------

    def _obey(self) -> None:
        """Climb the ladder as far as wishes, signals, time and left processes demand."""
        if self._child is None and self._ended_at is None:
            if self._state.phase == "queued" and (self._told or self._wishes()):
                self._cancel()
            return  # while it starts, wishes wait
        now, wishes, told = time.monotonic(), self._wishes(), self._told
        cooperative = bool(told or wishes) and self._is_cooperative()
        entered = self._ladder.climb(now, wishes, cooperative=cooperative)
        while told:
            by = told.pop().name
            entered = self._ladder.signalled(now, by, cooperative=cooperative) or entered
            if self._ladder.rung == "save":
                self._leave_wish(by)
        entered = self._end_leftovers(now) or entered
        if self._ladder.rung is not None:
            self._act(self._ladder.rung, entered, now)

    def _leave_wish(self, by: str) -> None:
        """Have the trainer read the wish; one that cannot be told is ended at the next rung."""
        try:
            requests.ask(self._run, "stop", by=by)
        except OSError as error:
            say(f"cannot write a request to stop: {error.strerror or error}")

    def _wishes(self) -> dict[str, dict[str, Any]]:
        found = ((kind, requests.pending(self._run, kind)) for kind in _WISHES)
        return {kind: wish for kind, wish in found if wish is not None}

    def _is_cooperative(self) -> bool:
        """Say whether the trainer below reads requests: also inside somebody's own script."""
        if self._plan.cooperative or self._ladder.rung == "save":
            return True
        rank = read_json(self._run.rank(0)) or {}
        return rank.get("attempt") == self._plan.attempt and rank.get("outcome") == "running"

    def _cancel(self) -> None:
        """End a run that still waits for GPUs."""
        now = time.monotonic()
        self._ladder.climb(now, self._wishes(), cooperative=False)
        for number in self._told:
            self._ladder.signalled(now, number.name, cooperative=False)
        self._cancelled = True
        self._guard.dismiss()

    def _end_leftovers(self, now: float) -> Rung | None:
        """End what runs on although the launcher or the guard is gone."""
        if self._ended_at is None or now - self._ended_at < _POLL_S:
            return None
        if not any(each.pid not in self._ours for each in procs.below(os.getpid())):
            return None
        finished = self._status == 0 and not self._guard_lost
        return self._ladder.left_behind(now, LEFT_BEHIND_S if finished else ORPHANED_S)

    def _act(self, rung: Rung, entered: Rung | None, now: float) -> None:
        """Send what the rung demands, and let readers see it."""
        if entered is not None or self._entered is None:
            self._entered = (rung, now, None)
        _, since, _ = self._entered
        reason = f"asked by {self._ladder.by}" if self._ladder.by else "its launcher is gone"
        reason = f"{reason}; {_REASONS[rung]}"
        if rung == "term":
            self._terminate()
        elif rung == "kill":  # until all are gone: what was forked meanwhile is found next time
            found = procs.kill_below(os.getpid(), spare=self._ours)
            self._we_killed |= bool(found)
            if found and now - since > _STUCK_S:
                reason = f"process {found[0].pid} ({found[0].name}) hangs inside the kernel"
        self._state.enter("stopping", reason, step=rung, deadline=self._deadline(now))

    def _deadline(self, now: float) -> float | None:
        """Return when the next rung follows, in Unix seconds, the same until it changes."""
        left = None if self._ladder.deadline is None else self._ladder.deadline - now
        assert self._entered is not None, "a rung is entered before it is shown"
        rung, since, shown = self._entered
        exact = None if left is None else round(time.time() + left, 1)
        if shown is None or exact is None or abs(exact - shown) > 0.5:
            shown = exact
        self._entered = (rung, since, shown)
        return shown

    # --- what is measured, and the end ------------------------------------------------------

    def _sample(self) -> None:
        now = time.monotonic()
        if now >= self._next_sample:
            self._next_sample = now + _SAMPLE_S
            if self._child is not None:
                self._tree.sample(now)
            if self._devices is not None:
                self._devices.ask()
        if self._devices is not None:
            self._claim(self._devices)

    def _close(self) -> None:
        """Write down how the run ended, tell who still waits, and let go of the locks."""
        # Before the devices: a container that lives on still computes on them.
        left = containers.end(self._plan) if self._child is not None else None
        if self._devices is not None:
            self._devices.release()
        evidence = self._evidence()
        outcome = of_error(self._refusal) if self._refusal is not None else decide(evidence)
        outcome = containers.with_remains(outcome, self._plan, left)
        record = exit_record(
            self._plan,
            evidence,
            outcome,
            facts.mask_of(self._plan),
            started=self._started,
            gpus=self._devices.uuids if self._devices else [],
            peak_gpu_memory=self._devices.peak if self._devices else None,
            # Where the launcher is only the client, the training is not below us.
            peak_rss=None if self._plan.term_to == "launcher" else self._tree.peak,
        )
        self._take_wishes_away()
        over = self._settle(record, outcome)
        # Before the lock is free: who resumes the run puts the record away.
        end = read_json(self._run.exit) if over and self._plan.end_hook else None
        self._answer(outcome)
        # Not by closing: the client may hold a copy, and a thread inside a hung driver keeps
        # this process's table of files alive.
        fcntl.flock(self._lock, fcntl.LOCK_UN)
        hook.run_end(self._run, self._plan, end)  # when nobody waits for this process any more

    def _settle(self, record: dict[str, Any], outcome: Outcome) -> bool:
        """Make the end known, and say whether it is: in a cluster's job it may be no end."""
        return write_exit(self._run, record, self._pause, lambda: self._delayed(outcome))

    def _take_wishes_away(self) -> None:
        for kind in _WISHES:
            try:
                requests.done(self._run, kind)
            except OSError as error:  # the next attempt begins with none anyhow
                say(f"cannot remove a request: {error.strerror or error}")

    def _delayed(self, outcome: Outcome) -> None:
        """The record does not fit on the disk: nobody may take the run for a living one."""
        self._answer(outcome)
        reason = f"it is over ({outcome.reason}); exit.json cannot be written, is the disk full?"
        self._state.enter("stopping", reason, step="kill", deadline=None)

    def _answer(self, outcome: Outcome) -> None:
        if self._refusal is not None:
            self._ready.fail(self._refusal)
        elif outcome.cause == "launch":
            self._ready.fail(to_error(outcome))
        else:
            self._ready.ok("running")

    def _pause(self, seconds: float) -> bool:
        select.select([self._wakeup], [], [], seconds)
        return bool(self._wakeup.drain() & {signal.SIGTERM, signal.SIGINT})

    def _evidence(self) -> facts.Evidence:
        run, plan, ladder = self._run, self._plan, self._ladder
        ranks = facts.read_ranks(run, plan.attempt)
        return facts.Evidence(
            status=self._status,
            ranks=ranks,
            stop=facts.Stop(ladder.by, ladder.rung) if ladder.by and ladder.rung else None,
            guard_lost=self._guard_lost,
            we_killed=self._we_killed,
            oom_kills=oom.kills() - self._oom_before,
            metrics=facts.last_metrics(run),
            log_lines=facts.log_tail(run, plan),
            foreign=not plan.cooperative,
            runtime=plan.runtime,
            seconds=time.time() - self._started,
            queued=self._child is None,
            checkpoint=facts.newest_checkpoint(run, ranks),
            pipeline=facts.final_pipeline(run),
            run_id=run.id,
        )
