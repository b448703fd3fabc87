"""Follows one run until it is over or the person leaves, and obeys signals on the way.

Whoever started the run in the foreground owns it: the first Ctrl-C asks it to save and stop, the
second sends SIGTERM, the third SIGKILL. Whoever attached to it only leaves. A terminal that goes
away never stops anything.
"""

import errno
import signal
import sys
import time
from collections import deque
from contextlib import suppress
from types import FrameType
from typing import Any, Self

from sdcore.errors import ExitCode
from sdcore.runs import requests
from sdcore.runs.files import read_json
from sdcore.runs.follow import PERIOD_S, Follower
from sdcore.runs.logs import LogReader, start_of_tail
from sdcore.runs.paths import RunDir
from sdcore.runs.status import Status, read_status
from sdcore.supervise.wishes import ask_end
from sdtui.bell import ring
from sdtui.progress import Display, choose_display
from sdtui.secrets import mask_of
from sdtui.terminal import columns, out, say
from sdtui.words import NOTHING_TO_SAVE, closing_lines

HUNG_UP = 128 + signal.SIGHUP  # the codes a shell gives to a program that these signals ended
BROKEN_PIPE = 128 + signal.SIGPIPE
_LINES_BEFORE = 10  # of a start command's own output, shown to who comes later
_OBEYED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_RUNGS: tuple[tuple[requests.Kind, str], ...] = (
    ("stop", "stopping: it finishes its step and saves; once more sends SIGTERM now"),
    ("term", "stopping: SIGTERM now, what is not saved is lost; once more sends SIGKILL"),
    ("kill", "stopping: SIGKILL now"),
)
# A start command of the user's own cannot be asked to save; it may do so when SIGTERM comes.
_SAVELESS = "stopping: SIGTERM is sent, and it may take a while to end; twice more sends SIGKILL"

_QUEUED = "stopping: it waits in a queue, and is taken out of it"


def saves_on_stop(run: RunDir) -> bool:
    """Say whether the trainer of ``run`` saves when it is asked to stop, as the built-in one."""
    return bool((read_json(run.launch) or {}).get("cooperative", True))


class Signals:
    """Collects signals while it is entered, instead of dying of them.

    A signal that was ignored before stays so: that is what ``nohup`` and ``&`` ask for.
    """

    def __init__(self) -> None:
        self._taken: deque[int] = deque()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in _OBEYED:
            if signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, _frame: FrameType | None) -> None:
        self._taken.append(number)

    @property
    def waiting(self) -> bool:
        """Whether a signal came that was not taken yet."""
        return bool(self._taken)

    def take(self) -> list[int]:
        """Return the signals since the last call, in order."""
        taken = []
        while self._taken:
            taken.append(self._taken.popleft())
        return taken


class Ladder:
    """Turns repeated signals into the rungs of the stop ladder."""

    def __init__(self, run: RunDir) -> None:
        self._run, self._pressed = run, 0
        self._saves = saves_on_stop(run)

    def climb(self, number: int) -> str:
        """Leave the next request and return what to tell the person."""
        kind, text = _RUNGS[min(self._pressed, len(_RUNGS) - 1)]
        status = read_status(self._run)
        if self._pressed == 0 and status.state == "queued":
            text = _QUEUED
        elif self._pressed == 0 and not self._saves:
            text = _SAVELESS
        elif self._pressed == 0 and status.step is None:
            text = f"stopping: {NOTHING_TO_SAVE}; once more sends SIGTERM now"
        self._pressed += 1
        ask_end(self._run, kind, by=signal.Signals(number).name)
        return text


def follow_run(
    run: RunDir, signals: Signals, *, json: bool, owner: bool, log_from: int | None = None
) -> int:
    """Show ``run`` until it is over; return its exit code, or that of how the person left.

    Args:
        run: The run.
        signals: Entered; see ``Signals``.
        json: JSON lines on stdout instead of words on stderr.
        owner: Whether signals stop the run, or only the following.
        log_from: The byte from which on a start command's own output is shown; left out, its
            last few lines.
    """
    mask = mask_of(run)
    begin = start_of_tail(run.log, _LINES_BEFORE) if log_from is None else log_from
    # The built-in trainer tells all in events and metrics.
    log = None if json or saves_on_stop(run) else LogReader(run.log, mask, begin)
    display: Display | None = None
    lived = owner or not read_status(run).over
    try:
        display = choose_display(run, json=json, mask=mask)
        follower = Follower(run, log)
        status = _follow(follower, signals, display, Ladder(run) if owner else None)
        display.close()
        if isinstance(status, int):
            if status != HUNG_UP and not json:
                say(f"left; the run goes on: sdtui attach {run.id}")
            return status
        if lived:
            ring()
        if not json:
            _tell_end(run, status)
    except OSError as error:
        if error.errno not in {errno.EPIPE, errno.EIO} or error.filename is not None:
            raise
        return _leave_quietly(error, display)
    else:
        return status.exit_code if status.exit_code is not None else int(ExitCode.LOST)


def _follow(
    follower: Follower, signals: Signals, display: Display, ladder: Ladder | None
) -> Status | int:
    had_terminal = sys.stderr.isatty()
    try:
        while True:
            if had_terminal and not sys.stderr.isatty():
                return HUNG_UP  # closed, without a SIGHUP: Rich would go on, drawing nothing
            for number in signals.take():
                if number == signal.SIGHUP:
                    return HUNG_UP
                if ladder is None:
                    return 128 + number
                display.note(ladder.climb(number))
            update = follower.poll()
            display.show(update)
            if update.status.over:
                return update.status
            time.sleep(PERIOD_S)
    except BaseException:
        with suppress(OSError):  # the terminal may be what failed; the first error counts
            display.close()
        raise


def _tell_end(run: RunDir, status: Status) -> None:
    for line in closing_lines(run, status, mask_of(run), columns(sys.stderr)):
        say(line)
    if status.pipeline is not None and status.state == "done" and not sys.stdout.isatty():
        out(str(status.pipeline))  # so that $(sdtui --run …) is the pipeline


def _leave_quietly(error: OSError, display: Display | None) -> int:
    """The terminal, or the program that read us, is gone; the run is none of its business."""
    if display is not None:
        with suppress(OSError):
            display.close()
    return HUNG_UP if error.errno == errno.EIO else BROKEN_PIPE
