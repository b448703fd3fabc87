"""What the trainer tells: streams for programs, short lines on stderr for people."""

import sys
import time
from collections import deque
from typing import Any

from sdcore.runs.files import LineWriter, is_full
from sdcore.text import clean_line
from sdcore.train.places import Places
from sdcore.units import duration, rate

_PHASE_INTERVAL = 1.0  # s between two lines of the same counted phase
# The others end in a line that says more, or come often.
_SAID = {"loading", "caching", "compiling", "training"}
_LINE_INTERVAL = 30.0  # s between two progress lines for people, unless 5 % pass sooner
_PACE_LINES = 60  # of a counted phase, one a second: its pace is that of the last minute


def say(text: str) -> None:
    """Write one line for people. Text from outside is cleaned."""
    try:
        sys.stderr.write(clean_line(text, 2000) + "\n")
        sys.stderr.flush()
    except OSError as error:
        if not is_full(error):  # the log's disk; the same is in the streams, which keep it
            raise


class Report:
    """Writes the streams on rank 0; on other ranks only warnings are said."""

    def __init__(self, places: Places, *, leads: bool) -> None:
        self._attempt = places.attempt
        self._events = LineWriter(places.run.events) if leads else None
        self._metrics = LineWriter(places.run.metrics) if leads else None
        self._streams = (self._events, self._metrics)
        self._phase_at = 0.0
        self._phase = ""
        self._pace: deque[tuple[float, int]] = deque(maxlen=_PACE_LINES)
        self._counted: tuple[int | None, str | None] = (None, None)
        self._told: set[str] = set()
        self._said_at, self._said_share = 0.0, -1.0

    def event(self, kind: str, **fields: Any) -> None:
        """Append one line to ``events.jsonl``: see ``sdcore.runs.events``."""
        record = {"kind": kind, "at": time.time(), "attempt": self._attempt, **fields}
        _append(self._events, record)

    def metrics(self, **fields: Any) -> None:
        """Append one line to ``metrics.jsonl``."""
        _append(self._metrics, {"at": time.time(), "attempt": self._attempt, **fields})

    @property
    def behind(self) -> bool:
        """Whether lines wait in memory because the disk was full."""
        return any(stream is not None and stream.behind for stream in self._streams)

    def catch_up(self) -> bool:
        """Try to write the lines that wait; say whether none waits any more."""
        try:
            for stream in self._streams:
                if stream is not None:
                    stream.flush()
        except OSError as error:
            if not is_full(error):
                raise
        return not self.behind

    def say(self, text: str) -> None:
        """Write one line for people, from rank 0 alone."""
        if self._events is not None:
            say(text)

    def warn(self, text: str) -> None:
        """Tell a thing a person should know; training goes on."""
        self.event("warning", text=text)
        say(f"warning: {text}")

    def choice(self, what: str, chosen: str, because: str) -> None:
        """Tell what was chosen for the person, and why."""
        self.event("choice", what=what, chosen=chosen, because=because)
        self.say(f"{what}: {chosen}, because {because}")

    def phase(
        self, phase: str, done: int | None = None, total: int | None = None, unit: str | None = None
    ) -> None:
        """Enter a phase, or tell how far it is; a counted phase is repeated at 1 Hz at most."""
        now = time.monotonic()
        same = phase == self._phase and done is not None
        if same and done != total and now - self._phase_at < _PHASE_INTERVAL:
            return
        if phase not in self._told and phase in _SAID:
            self._told.add(phase)
            self.say(f"{phase} …")
        self._phase, self._phase_at = phase, now
        pace = self._pace_at(now, done, total, unit)
        self.event("phase", phase=phase, done=done, total=total, unit=unit, per_s=pace)
        if phase == "caching" and pace and now - self._said_at >= _LINE_INTERVAL:
            self._said_at = now
            left = duration(((total or 0) - (done or 0)) / pace)
            speed = rate(pace, unit or "")
            self.say(f"caching: {done:,} of {total:,} {unit}  {speed}  {left} left")

    def _pace_at(
        self, now: float, done: int | None, total: int | None, unit: str | None
    ) -> float | None:
        """Return units per second since a minute ago, or since this count began."""
        if done is None:
            return None
        if (total, unit) != self._counted:
            self._counted, self._said_at = (total, unit), now
            self._pace.clear()
        self._pace.append((now, done))
        began, first = self._pace[0]
        return (done - first) / (now - began) if done > first and now > began else None

    def progress(self, step: int, total: int, loss: float, lr: float, speed: float | None,
                 batch: int) -> None:  # fmt: skip
        """Say where training is, every 5 % or 30 s.

        Args:
            step: Optimizer steps done.
            total: Of the whole run.
            loss: Of this step.
            lr: Of this step.
            speed: Images per second over all ranks, if known.
            batch: Images per step.
        """
        now, share = time.monotonic(), step / total
        soon = now - self._said_at < _LINE_INTERVAL and share - self._said_share < 0.05
        if soon and step != total:
            return
        self._said_at, self._said_share = now, share
        left = (total - step) * batch / speed if speed else None
        self.say(
            f"step {step:,}/{total:,}  {share:4.0%}  loss {loss:.4f}  lr {lr:.3g}  "
            f"{rate(speed, 'images')}  {duration(left)} left"
        )


def _append(stream: LineWriter | None, record: dict[str, Any]) -> None:
    """Append a line; where the disk is full it waits in memory, see ``Report.catch_up``."""
    if stream is None:
        return
    try:
        stream.write(record)
    except OSError as error:
        if not is_full(error):
            raise
