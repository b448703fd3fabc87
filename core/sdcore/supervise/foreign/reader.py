"""The process that reads the metrics of a foreign trainer: a fork of the supervisor, one per run.

Not in the supervisor itself: text and patterns from outside must not be able to hold up or end
what answers for the run, and an event file costs tens of megabytes to read. A fork shares the
supervisor's memory, so it costs about one megabyte of its own. It is no part of the run: it lives
until the supervisor hangs up, and ends as soon as it has read what is there then.
"""

import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from typing import NoReturn

from sdcore.launch.plan import LaunchPlan
from sdcore.runs.paths import RunDir
from sdcore.supervise.foreign.board import Board
from sdcore.supervise.foreign.curve import Curve, Matched
from sdcore.supervise.foreign.own import OwnPattern
from sdcore.supervise.foreign.pieces import Tail
from sdcore.supervise.foreign.sink import Sink
from sdcore.supervise.prctl import set_name

_EVERY_S = 0.5
# Of one reading; a log that grows faster is caught up with later, and at the end in this time.
_BUSY_S, _LAST_S = 0.4, 8.0
_END_S = 10  # whole seconds after which a reader that hangs at the end is ended by the kernel
# A log tells each step as it is made, event files minutes late: they wait for it so long.
_LOG_FIRST_S = 20.0
_WORRY_S = 60.0  # without any curve, although there are losses, until that is said
_NAMES = {"log": "train.log", "tensorboard": "TensorBoard"}


class MetricsReader:
    """The supervisor's handle on its reader."""

    def __init__(self, pid: int, pipe: int) -> None:
        self.pid = pid
        self._pipe: int | None = pipe
        self._finishes_by = float("inf")  # monotonic

    @classmethod
    def fork(cls, run: RunDir, plan: LaunchPlan) -> "MetricsReader | None":
        """Start reading, before any thread is started; None where there is nothing to read."""
        if plan.cooperative or plan.metrics_source == "none":
            return None
        ours, theirs = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            _live(run, plan, ours)
        os.close(ours)
        return cls(pid, theirs)

    def finish(self) -> None:
        """Have it read what is left, and leave; call it again until it is gone."""
        now = time.monotonic()
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe, self._finishes_by = None, now + _END_S + 2
        elif now > self._finishes_by:  # stopped by somebody, or inside a dead file system
            os.kill(self.pid, signal.SIGKILL)  # our child, not reaped: the pid is still its own


def _live(run: RunDir, plan: LaunchPlan, pipe: int) -> NoReturn:
    """Be the reader; never return into the supervisor's code."""
    code = 1
    try:
        # Copies of ours: of the run's lock, which would look held, and of pipes whose end counts.
        os.closerange(3, pipe)
        os.closerange(pipe + 1, 4096)
        set_name("sdtui-metrics")
        os.nice(5)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        _Reader(run, plan).live(pipe)
        code = 0
    except BaseException:  # noqa: BLE001 - whatever it is, the supervisor's stack is not ours
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


class _Reader:
    """Reads the log, or event files where the log tells no loss."""

    def __init__(self, run: RunDir, plan: LaunchPlan) -> None:
        self._pattern = OwnPattern(plan.metrics_pattern) if plan.metrics_pattern else None
        try:
            begin = run.log.stat().st_size  # an earlier attempt's words
        except FileNotFoundError:
            begin = 0
        self._tail = Tail(run.log, begin, every_line=self._pattern is not None)
        self._curve = Matched(self._pattern) if self._pattern else Curve()
        self._board = Board(run.output, time.time())
        self._sink = Sink(run, plan)
        self._wanted = plan.metrics_source
        self._source: str | None = None
        self._files_since: float | None = None  # monotonic, when event files were first seen
        self._told: set[str] = set()
        self._worried_since: float | None = None  # monotonic

    def live(self, pipe: int) -> None:
        """Read twice a second until the pipe is closed, and then what is left."""
        while not self._sink.taken:
            if select.select([pipe], [], [], _EVERY_S)[0]:
                signal.alarm(_END_S)
                self._read(_LAST_S, final=True)
                self._say_trouble(final=True)
                return
            self._read(_BUSY_S)
            self._say_trouble()
        if self._source is None and not self._sink.built_in:
            because = "the start command writes it itself"
            self._sink.event("choice", what="metrics", chosen="metrics.jsonl", because=because)

    def _read(self, limit: float, *, final: bool = False) -> None:
        self._sink.catch_up()
        self._read_log(limit, final=final)
        if self._wanted == "tensorboard" or (self._wanted == "auto" and self._source != "log"):
            self._read_board(final=final)

    def _read_log(self, limit: float, *, final: bool) -> None:
        """Read the log; also for event files, since a bar without a loss tells the total."""
        end = time.monotonic() + limit
        while time.monotonic() < end and not self._sink.taken:
            pieces = self._tail.read(final=final)
            if pieces is None:
                return
            for piece in pieces:
                for told in self._curve.take(piece):
                    if self._wanted != "tensorboard" and self._choose("log", self._curve.found):
                        self._sink.step(told, "log", self._curve.total)

    def _read_board(self, *, final: bool) -> None:
        now = time.monotonic()
        if not self._board.look(now, at_once=final):
            return
        self._files_since = self._files_since or now
        waits = self._wanted == "auto" and self._source is None
        if waits and not final and now - self._files_since < _LOG_FIRST_S:
            return
        for at, told in self._board.read(final=final):
            if self._choose("tensorboard", self._board.found):
                self._sink.step(told, "tensorboard", self._curve.total, at)

    def _choose(self, source: str, found: str | None) -> bool:
        """Say whether ``source`` is the one that counts; the first with a loss is, for good."""
        if self._source is None:
            self._source = source
        if self._source == source and found is not None and found not in self._told:
            self._told.add(found)
            chosen = _NAMES[source]
            self._sink.event("choice", what="metrics", chosen=chosen, because=found)
        return self._source == source

    def _say_trouble(self, *, final: bool = False) -> None:
        for text in self._troubles(final=final):
            if text not in self._told:
                self._told.add(text)
                self._sink.event("warning", text=text)

    def _troubles(self, *, final: bool) -> Iterator[str]:
        """Yield why there is no curve; that of a source that is not the chosen one is no news."""
        if self._pattern is not None and self._pattern.trouble is not None:
            yield self._pattern.trouble
        if self._curve.trouble is not None and self._is_worth_saying(final=final):
            yield self._curve.trouble
        if self._board.trouble is not None and self._source is None:
            yield self._board.trouble

    def _is_worth_saying(self, *, final: bool) -> bool:
        """Say whether trouble with the log leaves the run without a curve."""
        if self._wanted == "tensorboard" or self._source == "tensorboard":
            return False
        if self._source == "log":
            return True
        now = time.monotonic()
        self._worried_since = self._worried_since or now
        return final or now - self._worried_since > _WORRY_S
