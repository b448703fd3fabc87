"""The thread behind a log view: reads what is asked for, follows the file, searches, counts.

Everything it does is cut into steps of a few milliseconds; between two of them it looks whether
something newer is wanted. What it posts is immutable, and it posts only what is new.
"""

import threading
import time
from array import array
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdcore.runs.logs import Mask
from sdcore.text import clean_line
from sdtui.live import log_scan
from sdtui.live.log_query import Filter, Query
from sdtui.live.log_scan import Ask, Copied, Count, Hit, Matches, Window
from sdtui.live.log_tries import TooSlowError, Tries
from sdtui.live.logfile import LogFile
from sdtui.told import told

_STEP_S = 0.012  # of work before it looks for newer wishes
_TELL_S = 0.4  # between two reports of progress


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of the whole file.

    Attributes:
        size: Bytes.
        lines: Lines; an estimate while ``counted`` is False.
        counted: All of them were counted.
        matches: Addresses of the lines that match; it grows.
        found: How many of them there are by now.
        searched: Share of the file that was searched, 0 to 1.
    """

    size: int = 0
    lines: int = 0
    counted: bool = True
    matches: "array[int]" = field(default_factory=lambda: array("Q"))
    found: int = 0
    searched: float = 1.0


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why the log cannot be read, in words; empty once it can."""

    words: str


@dataclass(frozen=True, slots=True)
class Broken:
    """The thread ended with an error that is ours; nothing comes after this."""

    error: Exception


News = Window | Facts | Hit | Copied | Trouble | Broken


class LogFeed:
    """Reads one log at a time for one view.

    Args:
        period_s: Seconds between two looks at the file.
        post: Called from the thread; may block, so that a slow screen is not flooded.
    """

    def __init__(self, period_s: float, post: Callable[[News], object]) -> None:
        self.period_s, self._post = period_s, post
        self._lock, self._wake, self._ended = threading.Lock(), threading.Event(), threading.Event()
        self._wishes: dict[str, tuple[Any, ...]] = {}  # by kind: only the newest of each counts
        self._log: LogFile | None = None
        self._ask, self._window = Ask(), Window()
        self._rows: Generator[Window, None, Window] | None = None
        self._hit: Generator[None, None, Hit] | None = None
        self._copy: Generator[None, None, Copied] | None = None
        self._scan: Iterator[None] | None = None
        self._counting: Iterator[None] | None = None
        self._count = Count(0)
        self._matches: Matches | None = None
        self._looked = self._told = 0.0
        self._facts, self._trouble = Facts(), ""
        self._tries = Tries()
        self._wanted: Query | None = None  # what is looked for
        self._tired: Query | None = None  # what took too long in this log
        self._thread = threading.Thread(target=self._work, name="sdtui-log", daemon=True)

    # What the view asks for.
    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; it may still be inside one call of ``post``."""
        self._ended.set()
        self._wake.set()

    def open(self, path: Path, mask: Callable[[], Mask]) -> None:
        """Read another file; ``mask`` is called by the thread, because it reads, too."""
        self._wish("open", path, mask)

    def look(self, ask: Ask) -> None:
        """Bring these rows, and keep them up to date if they reach the end."""
        self._wish("look", ask)

    def search(self, query: Query | None, only: Filter) -> None:
        """Find all lines that match; None ends the search."""
        self._wish("search", query, only)

    def jump(self, query: Query, only: Filter, start: int, *, up: bool) -> None:
        """Find the next line that matches."""
        self._wish("jump", query, only, start, up)

    def copy(self, first: int, last: int, only: Filter) -> None:
        """Gather the text of some rows."""
        self._wish("copy", first, last, only)

    def pause(self) -> None:
        """Do nothing until something is asked for: nobody looks."""
        self._wish("pause", True)

    def resume(self) -> None:
        """Go on."""
        self._wish("pause", False)

    def _wish(self, kind: str, *what: Any) -> None:
        with self._lock:
            self._wishes.pop(kind, None)  # so that the order is that of the newest ones
            self._wishes[kind] = what
        self._wake.set()

    # The thread.
    def _work(self) -> None:
        paused = False
        while not self._ended.is_set():
            with self._lock:
                wishes, self._wishes = self._wishes, {}
            paused = wishes.pop("pause", (paused,))[0]
            busy = False
            try:
                for kind, what in wishes.items():
                    getattr(self, f"_take_{kind}")(*what)
                if not paused and self._log is not None:
                    busy = self._step()
                    self._tell_trouble("")
            except TooSlowError:
                self._give_up(self._wanted)
            except OSError as error:
                self._tell_trouble(clean_line(told(str(error)), 200))
                self._start_over()  # a walk that failed half-way cannot go on
            except Exception as error:  # noqa: BLE001  # told by ending the console with it
                self._post(Broken(error))
                break
            # Even when busy it lets go for a moment: the screen needs the interpreter, too.
            idle = paused or self._log is None
            self._wake.wait(0.001 if busy else 60.0 if idle else self.period_s)
            self._wake.clear()
        self._tries.close()
        if self._log is not None:
            self._log.close()

    def _give_up(self, query: Query | None) -> None:
        """End a search whose pattern takes too long; the log itself goes on."""
        self._tired = query
        self._matches = self._scan = self._hit = None
        self._post(Hit(query, None, gave_up=True))

    def _learn(self, window: Window) -> bool:
        """Find out what is to be set apart in the rows at hand; say whether that was needed."""
        if self._matches is None:
            return False
        try:
            return self._matches.query.learn([row.text for row in window.rows], self._tries)
        except TooSlowError:
            self._give_up(self._matches.query)
            return False

    def _take_open(self, path: Path, mask: Callable[[], Mask]) -> None:
        if self._log is not None:
            self._log.close()
        self._tired = None
        self._log = LogFile(path, mask())
        self._log.refresh()
        self._start_over()

    def _start_over(self) -> None:
        if self._log is None:
            return
        generation = self._log.generation
        self._hit = self._copy = None
        self._count = Count(generation)
        self._counting = self._count.scan(self._log)
        if self._matches is not None:
            self._take_search(self._matches.query, self._matches.only)
        self._rows = log_scan.window(self._log, self._ask)

    def _take_look(self, ask: Ask) -> None:
        self._ask = ask
        if self._log is not None:
            self._rows = log_scan.window(self._log, ask)

    def _take_search(self, query: Query | None, only: Filter) -> None:
        self._hit = None
        self._matches, self._scan = None, None
        self._wanted = query
        if query is not None and query == self._tired:
            self._give_up(query)
        elif query is not None and self._log is not None:
            self._matches = Matches(query, only, self._log.generation, self._tries)
            self._scan = self._matches.scan(self._log)
            if self._learn(self._window):
                self._post(self._window)  # the same rows, drawn anew

    def _take_jump(self, query: Query, only: Filter, start: int, up: bool) -> None:
        if self._log is not None and query != self._tired:
            self._wanted = query
            self._hit = log_scan.next_hit(self._log, query, only, start, up=up, tries=self._tries)

    def _take_copy(self, first: int, last: int, only: Filter) -> None:
        if self._log is not None:
            self._copy = log_scan.collect(self._log, first, last, only)

    def _step(self) -> bool:
        """Work for a moment; say whether more is to be done."""
        assert self._log is not None
        now = time.monotonic()
        if now - self._looked >= self.period_s:
            self._looked = now
            self._look_again(self._log)
        end = now + _STEP_S
        # What a person waits for comes first.
        busy = (
            self._bring_rows(end) or self._bring("_hit", end) or self._bring("_copy", end)
            or self._go_on("_scan", end) or self._go_on("_counting", end)
        )  # fmt: skip
        self._tell_facts(done=not busy)
        return busy

    def _look_again(self, log: LogFile) -> None:
        generation = log.generation
        log.refresh()
        if log.generation != generation:
            self._start_over()
            return
        if self._rows is None and self._window.at_end and self._window.upto < log.size:
            self._rows = log_scan.grown(log, self._window)
        if self._matches is not None and self._scan is None and self._matches.upto < log.size:
            self._scan = self._matches.scan(log)
        if self._counting is None and self._count.upto < log.size:
            self._counting = self._count.scan(log)

    def _bring_rows(self, end: float) -> bool:
        while self._rows is not None:
            try:
                part = next(self._rows)
            except StopIteration as done:
                self._rows = None
                self._window = done.value
                self._learn(done.value)
                self._post(done.value)
                return False
            if time.monotonic() > end:
                self._tell_part(part)
                return True
        return False

    def _tell_part(self, part: Window) -> None:
        now = time.monotonic()
        if part.rows and now - self._told > _TELL_S:
            self._told = now
            self._post(part)

    def _bring(self, name: str, end: float) -> bool:
        """Go on with a walk whose result is posted."""
        walk = getattr(self, name)
        while walk is not None:
            try:
                next(walk)
            except StopIteration as done:
                setattr(self, name, None)
                self._post(done.value)
                return False
            if time.monotonic() > end:
                return True
        return False

    def _go_on(self, name: str, end: float) -> bool:
        """Go on with a walk that is told of in the facts."""
        walk = getattr(self, name)
        while walk is not None:
            if time.monotonic() > end:
                return True
            if next(walk, self) is self:
                setattr(self, name, None)
                return False
        return False

    def _tell_facts(self, *, done: bool) -> None:
        assert self._log is not None
        now, size = time.monotonic(), self._log.size
        if not done and now - self._told < _TELL_S:
            return
        matches = self._matches
        facts = Facts(
            size,
            self._count.estimate(size) if self._count.upto else 0,
            self._count.upto >= size,
            matches.places if matches else Facts().matches,
            len(matches.places) if matches else 0,
            min(1.0, matches.upto / size) if matches and size else 1.0,
        )
        if facts != self._facts:
            self._facts, self._told = facts, now
            self._post(facts)

    def _tell_trouble(self, words: str) -> None:
        if words != self._trouble:
            self._trouble = words
            self._post(Trouble(words))
