"""Walks through a log: the rows around a place, the lines of a search, the next hit, the count.

Every walk is a generator that yields after each page, so that one thread can do several, answer a
person in between, and drop a walk that is no longer wanted.
"""

from array import array
from bisect import bisect_left
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

from sdtui.live.log_query import Filter, Query
from sdtui.live.log_tries import Tries
from sdtui.live.logfile import PAGE, LogFile, Row

MOST_MATCHES = 1_000_000  # places kept of a search, 8 MB; beyond them it says "more"
COPY_BYTES, COPY_LINES = 1 << 20, 10_000  # of one copy
_COUNT_BLOCK = 1 << 20


EVERYTHING = Filter()


@dataclass(frozen=True, slots=True)
class Ask:
    """Which rows are wanted.

    Attributes:
        at: The address from which on; None is the end.
        before: Rows above it, at most; at least 1.
        after: Rows from it on, at most.
        only: What they have to pass.
        serial: Rises with every ask, so that an answer to an old one can be told.
    """

    at: int | None = None
    before: int = 200
    after: int = 200
    only: Filter = EVERYTHING
    serial: int = 0


@dataclass(frozen=True, slots=True)
class Window:
    """Some rows of a log, one after the other.

    Attributes:
        rows: The rows, by rising address.
        ask: What they answer.
        at_start: Nothing that passes stands above them.
        at_end: Nothing that passes stands below them, up to ``upto``.
        upto: Size of the file up to which was looked, in bytes.
        generation: Of the file.
        whole: The search for rows is over; else these are the ones found so far.
    """

    rows: tuple[Row, ...] = ()
    ask: Ask = field(default_factory=Ask)
    at_start: bool = True
    at_end: bool = True
    upto: int = 0
    generation: int = 0
    whole: bool = True


def rows_of(
    log: LogFile,
    number: int,
    only: Filter,
    low: int = 0,
    high: int | None = None,
    last: int | None = None,
) -> list[Row]:
    """Return the rows of a page that pass.

    Args:
        log: Where.
        number: Of the page.
        only: What they have to pass.
        low: Address from which on they count.
        high: Address before which they count; None for all.
        last: How many of them are of use, from the end; more may come.
    """
    if only and not only.may(log.raw(number), log.raw(number - 1)):
        return []
    page = log.page(number)
    end = len(page) if high is None else bisect_left(page.ats, high)
    begin = bisect_left(page.ats, low)
    if last is not None and not only:
        begin = max(begin, end - last)
    rows = (page.row(index) for index in range(begin, end))
    return [row for row in rows if only.passes(row)] if only else list(rows)


def window(log: LogFile, ask: Ask) -> Generator[Window, None, Window]:
    """Look for the rows of ``ask``; yields what it has after each page, and returns the whole."""
    upto, generation = log.size, log.generation
    at = upto if ask.at is None else min(ask.at, upto)
    below: list[Row] = []
    above: list[Row] = []
    at_start, at_end = False, True

    def found(*, whole: bool) -> Window:
        rows = (*above[-ask.before :], *below[: ask.after])
        return Window(rows, ask, at_start, at_end and whole, upto, generation, whole)

    for number in range(at // PAGE, log.pages):
        below += rows_of(log, number, ask.only, low=at)
        if len(below) > ask.after:
            at_end = False
            break
        yield found(whole=False)
    number = min(at // PAGE, log.pages - 1)
    while number >= 0 and len(above) <= ask.before:
        need = ask.before + 1 - len(above)
        above[:0] = rows_of(log, number, ask.only, high=at, last=need)
        number -= 1
        yield found(whole=False)
    at_start = number < 0 and len(above) <= ask.before
    return found(whole=True)


def grown(log: LogFile, old: Window) -> Generator[Window, None, Window]:
    """Bring a window that reached the end up to date with a file that grew since."""
    ask, upto = old.ask, log.size
    # A page before the first new one: what is shown there of a traceback may have been decided now.
    first = max(0, (old.upto - 1) // PAGE - 1)
    if not ask.only and ask.at is None:  # a page from the end has them all
        return (yield from window(log, ask))
    rows = [row for row in old.rows if row.at < first * PAGE]
    lost = 0 if rows or not old.rows else old.rows[0].at
    keep = ask.before if ask.at is None else ask.before + ask.after
    at_start, at_end = old.at_start, True
    for number in range(first, log.pages):
        rows += rows_of(log, number, ask.only, low=0 if old.at_start else lost)
        if ask.at is None:
            at_start = at_start and len(rows) <= keep
            rows = rows[-keep:]
        elif len(rows) > keep:
            rows, at_end = rows[:keep], False
            break
        yield Window(tuple(rows), ask, at_start, False, old.upto, old.generation, whole=False)
    return Window(tuple(rows), ask, at_start, at_end, upto, old.generation)


class Matches:
    """The lines that a search finds, kept up with as the file grows.

    Attributes:
        places: Their addresses, by rising address.
        upto: Bytes that have been searched.
    """

    def __init__(self, query: Query, only: Filter, generation: int, tries: Tries) -> None:
        self.query, self.only, self.generation = query, only, generation
        self._tries = tries
        self.places = array("Q")
        self.upto = 0

    def scan(self, log: LogFile) -> Iterator[None]:
        """Search what has not been searched yet; yields after each page."""
        number = max(0, self.upto // PAGE - 1)  # of the last pages, more may be shown by now
        del self.places[bisect_left(self.places, number * PAGE) :]
        while number < log.pages and len(self.places) < MOST_MATCHES:
            self.places.extend(hits(log, number, self.query, self.only, self._tries))
            number += 1
            self.upto = min(log.size, number * PAGE)
            yield
        self.upto = log.size


def hits(log: LogFile, number: int, query: Query, only: Filter, tries: Tries) -> list[int]:
    """Return the addresses of the rows of a page that match and pass; may be ``TooSlowError``."""
    block, before = log.raw(number), log.raw(number - 1)
    if not query.may(block, before, log.mask) or (only and not only.may(block, before)):
        return []
    page = log.page(number)
    found = query.matching(page.texts, tries)
    return [page.ats[index] for index in found if not only or only.passes(page.row(index))]


@dataclass(frozen=True, slots=True)
class Hit:
    """Where the next match of ``query`` stands: None if there is none.

    ``wrapped`` if it went past an end; ``gave_up`` if the pattern takes too long.
    """

    query: Query | None
    at: int | None
    wrapped: bool = False
    gave_up: bool = False


def next_hit(
    log: LogFile, query: Query, only: Filter, start: int, *, up: bool, tries: Tries
) -> Generator[None, None, Hit]:
    """Look for the nearest match from ``start`` on, not at it, and once around the end.

    Args:
        log: Where.
        query: What.
        only: Rows that do not pass are not there.
        start: An address; -1 for before the first.
        up: Towards the start of the log.
        tries: What tries a pattern that may take long.
    """
    here = min(max(0, start) // PAGE, max(0, log.pages - 1))
    numbers = range(here, -1, -1) if up else range(here, log.pages)
    for number in numbers:
        found = hits(log, number, query, only, tries)
        if found := [at for at in found if (at < start if up else at > start)]:
            return Hit(query, found[-1] if up else found[0])
        yield
    around = range(log.pages - 1, here - 1, -1) if up else range(here + 1)
    for number in around:
        if found := hits(log, number, query, only, tries):
            return Hit(query, found[-1] if up else found[0], wrapped=True)
        yield
    return Hit(query, None)


@dataclass(frozen=True, slots=True)
class Copied:
    """The text of some rows, and whether it had to be cut."""

    text: str
    lines: int
    cut: bool


def collect(log: LogFile, first: int, last: int, only: Filter) -> Generator[None, None, Copied]:
    """Gather the rows from one address to another for a copy."""
    texts: list[str] = []
    room = COPY_BYTES
    for number in range(first // PAGE, min(last // PAGE + 1, log.pages)):
        for row in rows_of(log, number, only, first, last + 1):
            room -= len(row.text.encode()) + 1
            if room < 0 or len(texts) >= COPY_LINES:
                return Copied("\n".join(texts), len(texts), cut=True)
            texts.append(row.text)
        yield
    return Copied("\n".join(texts), len(texts), cut=False)


class Count:
    """How many lines the file has, counted in small pieces."""

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self.upto = self._ends = 0
        self._open = False  # the last line has no end yet

    def scan(self, log: LogFile) -> Iterator[None]:
        """Count what was not counted yet; yields after each megabyte."""
        while self.upto < log.size:
            begin = self.upto // PAGE
            blocks = [log.raw(number) for number in range(begin, begin + _COUNT_BLOCK // PAGE)]
            data = b"".join(blocks)[self.upto - begin * PAGE :]
            if not data:
                return
            self._ends += data.count(b"\n")
            self._open = not data.endswith(b"\n")
            self.upto += len(data)
            yield

    def estimate(self, size: int) -> int:
        """Return the lines of the whole file, as far as can be told by now."""
        if self.upto >= size:
            return self._ends + self._open
        return round(self._ends * size / max(1, self.upto))
