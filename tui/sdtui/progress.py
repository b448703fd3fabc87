"""The three ways to show a run that is followed: one bar, plain lines, JSON lines.

All of them are fed by ``Follower.poll``, at most four times a second, and draw nothing between.
"""

import os
import sys
import time
from collections.abc import Callable
from typing import Protocol, TextIO

from sdcore import units
from sdcore.runs.fields import Fields
from sdcore.runs.follow import Update
from sdcore.runs.logs import Mask
from sdcore.runs.paths import RunDir
from sdcore.runs.status import Status
from sdtui import words
from sdtui.terminal import SilentKeys

_SHARE = 20  # a plain line every twentieth of the way, 5 %
_SILENCE_S = 30.0  # and at least this often


class Display(Protocol):
    """Shows what happens to one run."""

    def note(self, text: str) -> None:
        """Tell a person something, once."""

    def show(self, update: Update) -> None:
        """Take in what one poll found."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class Beginning:
    """Notices that a resumed run begins anew, because it had saved nothing."""

    def __init__(self) -> None:
        self._known = 1  # up to this attempt it is known where each began

    def told_by(self, update: Update) -> str | None:
        """Return what to tell a person, once for an attempt that begins while it is followed."""
        for record in update.events:
            event = Fields(record)
            attempt, resumed = event.whole("attempt") or 0, event.text("kind") == "resumed"
            if attempt > self._known and (resumed or event.text("phase") == "training"):
                self._known = attempt
                if not resumed and not update.first:
                    why = "no checkpoint: " if update.status.checkpoint is None else ""
                    return f"{why}starts again from step 0"
        return None


def own_output(update: Update) -> tuple[str, ...]:
    """Return the new lines of a start command, unless it tells all by metrics and events."""
    status = update.status
    tells = status.metrics_source is None and (status.step, status.phase) != (None, None)
    return () if tells else update.log


class PlainDisplay:
    """Writes a line where something happens: for logs, pipes and screen readers.

    Args:
        to: Where the lines go.
        clock: Seconds; for the silence between two lines.
        mask: Takes out what is never shown.
    """

    def __init__(
        self,
        to: TextIO,
        clock: Callable[[], float] = time.monotonic,
        mask: Mask | None = None,
    ) -> None:
        self._to, self._clock, self._mask = to, clock, mask or Mask()
        self._state: tuple[object, ...] = ()
        self._phase: str | None = None
        self._beginning = Beginning()
        # Training goes on where sampling or saving broke in; every other phase begins anew.
        self._trained = self._share = -1
        self._spoke = clock()

    def note(self, text: str) -> None:
        """Write a line with the time of day."""
        self._to.write(f"{time.strftime('%H:%M:%S')}  {self._mask(text)}\n")
        self._to.flush()
        self._spoke = self._clock()

    def show(self, update: Update) -> None:
        """Write the lines that are due."""
        status = update.status
        state = (status.state, status.stop_step, status.waiting_for, status.attempt)
        if state != self._state and not status.over:  # its end is told by who follows
            self._state = state
            self.note(words.state_words(status))
        if (text := self._beginning.told_by(update)) is not None:
            self.note(text)
        if not update.first:  # else an attach would repeat the whole past
            for record in update.events:
                self._event(record)
        for line in own_output(update):
            self.note(line)
        if not status.over:
            self._enter(status.phase, words.phase_words(status))
            self._progress(status)

    def _event(self, record: dict[str, object]) -> None:
        event = Fields(record)
        if event.text("kind") == "phase":
            self._enter(event.text("phase"), event.text("phase") or "")
        elif (text := words.event_words(record)) is not None:
            self.note(text)

    def _enter(self, phase: str | None, text: str) -> None:
        """Tell a new phase, but not each return to training after a save."""
        if phase == self._phase:
            return
        self._phase, self._share = phase, -1
        if not (phase == "training" and self._trained >= 0) and phase not in {None, "finished"}:
            self.note(text)

    def _progress(self, status: Status) -> None:
        training = status.phase in {None, "training"}
        done = status.step if training else status.phase_done
        total = status.total if training else status.phase_total
        if not done or status.state not in {"running", "stopping"}:
            return
        last = self._trained if training else self._share
        share = done * _SHARE // total if total else last
        if share != last or self._clock() - self._spoke >= _SILENCE_S:
            if training:
                self._trained = share
            else:
                self._share = share
            self.note(words.progress_words(status) if training else words.phase_words(status))

    def close(self) -> None:
        """Leave nothing to be done."""


class BarDisplay:
    """One line at the foot of the terminal that is redrawn, with what happens above it."""

    def __init__(self, mask: Mask) -> None:
        self._mask, self._beginning = mask, Beginning()
        # Here, so that a script never pays the 80 ms.
        from rich.console import Console  # noqa: PLC0415
        from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415
        from rich.table import Column  # noqa: PLC0415

        def text(field: str) -> TextColumn:
            column = Column(no_wrap=True, overflow="ellipsis")
            return TextColumn(f"{{task.fields[{field}]}}", markup=False, table_column=column)

        console = Console(stderr=True, markup=False, highlight=False, emoji=False)
        bar = BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=4))
        self._progress = Progress(
            *(text("phase"), bar, text("count"), text("loss"), text("rate"), text("eta")),
            console=console,
            auto_refresh=False,
            transient=True,
            expand=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._progress.add_task(
            "", total=None, phase="starting", count="", loss="", rate="", eta=""
        )
        self._keys = SilentKeys(sys.stderr)
        self._keys.begin()
        self._progress.start()

    def note(self, text: str) -> None:
        """Write a line above the bar."""
        from rich.text import Text  # noqa: PLC0415

        self._progress.console.print(Text(self._mask(text)), soft_wrap=True)

    def show(self, update: Update) -> None:
        """Draw the line anew."""
        if (text := self._beginning.told_by(update)) is not None:
            self.note(text)
        if not update.first:
            for record in update.events:
                line = words.event_words(record)
                if line is not None:
                    self.note(line)
        for line in own_output(update):
            self.note(line)
        self._draw(update.status)
        self._progress.refresh()

    def _draw(self, status: Status) -> None:
        training = status.phase in {None, "training"}
        counted = not training and status.phase_total is not None
        done = status.phase_done if counted else status.step
        total = status.phase_total if counted else status.total
        phase = words.phase_words(status._replace(phase_total=None))
        if status.state != "running":
            phase = words.state_words(status) if status.state == "queued" else status.state
        if (next_rung := words.next_rung(status)) is not None:
            phase = f"stopping, {next_rung}"
        eta = "" if status.eta_s is None else f"ETA {units.duration(status.eta_s)}"
        self._progress.update(
            self._task,
            completed=done or 0,
            total=total,
            phase=phase,
            count="" if done is None else f"{done}/{total}" if total else str(done),
            loss="" if status.loss is None else f"loss {words.loss_words(status.loss)}",
            rate=words.pace_words(status) if training else "",
            eta=eta if training else "",
        )

    def close(self) -> None:
        """Take the bar away and show the cursor again."""
        self._keys.end()
        self._progress.stop()


def choose_display(run: RunDir, *, json: bool, mask: Mask) -> Display:
    """Return JSON lines if asked for, the bar on a terminal, else plain lines."""
    if json:
        from sdtui.stream import JsonDisplay  # noqa: PLC0415  # pydantic: 150 ms

        return JsonDisplay(run, mask)
    if sys.stderr.isatty() and _can_move_cursor():
        return BarDisplay(mask)
    return PlainDisplay(sys.stderr, mask=mask)


def _can_move_cursor() -> bool:
    return os.environ.get("TERM", "dumb") not in {"", "dumb", "unknown"}
