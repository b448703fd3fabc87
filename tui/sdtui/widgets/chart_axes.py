"""Axes: which range, which ticks, which words on them. Pure functions.

Ranges end on round numbers and grow in steps, so that a live chart keeps its columns and rows, and
a slow link is sent only what is new.
"""

import math
from typing import NamedTuple

_STEPS = (1.0, 2.0, 5.0, 10.0)
_ENDS = (1.0, 2.0, 3.0, 5.0, 10.0)  # of a range that begins at 0
_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200,
            86400, 172800, 432000, 864000)  # fmt: skip
_LEAST_FILLED = 0.6  # share of a range that must be needed for it to stay
_NOTHING = 1e-200  # below it, quotients leave the range of a double
_SMALLEST_POSITIVE = 1e-12  # of a logarithmic axis


class Tick(NamedTuple):
    """A place on an axis and its words."""

    value: float
    words: str


class Range(NamedTuple):
    """An axis from ``low`` to ``high``; ``low`` < ``high``."""

    low: float
    high: float

    @property
    def span(self) -> float:
        """How far it reaches."""
        return self.high - self.low


def round_step(span: float, most: int) -> float:
    """Return the least round step that needs at most ``most`` of it for ``span`` > 0."""
    rough = span / max(1, most)
    power = 10.0 ** math.floor(math.log10(rough))
    for step in _STEPS:
        if rough <= step * power * (1 + 1e-9):
            return step * power
    return 10.0 * power


def round_end(last: float) -> float:
    """Return the round number at which a range from 0 ends that holds ``last``."""
    if last <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(last))
    return next(end * power for end in _ENDS if last <= end * power * (1 + 1e-9))


def round_seconds(last: float) -> float:
    """Return the round span of time that holds ``last`` seconds."""
    for unit in (60, 3600, 86400):
        if last <= unit * (60 if unit < 3600 else 24):
            return max(60.0, unit * round_end(last / unit))
    return 86400 * round_end(last / 86400)


def round_range(low: float, high: float, rows: int, *, log: bool) -> Range:
    """Return a range on round numbers around what has to be seen.

    Args:
        low: Least value; with ``log`` above 0.
        high: Greatest value, not below ``low``.
        rows: Height in cells.
        log: Logarithmic.
    """
    if log:
        return _log_range(low, high)
    if high - low <= max(1e-9 * max(abs(low), abs(high)), _NOTHING):  # constant: room around it
        room = abs(high) / 2 if abs(high) > _NOTHING else 1.0
        low, high = low - room, high + room
    if 0 <= low < 0.3 * high:
        low = 0.0
    step = round_step(high - low, max(2, rows // 3)) / 5
    return Range(math.floor(low / step + 1e-6) * step, math.ceil(high / step - 1e-6) * step)


def _log_range(low: float, high: float) -> Range:
    low = max(low, _SMALLEST_POSITIVE)
    high = max(high, low)
    begin = next(v for v in reversed(_ones_twos_fives(low)) if v <= low * (1 + 1e-9))
    end = next(v for v in _ones_twos_fives(high) if v >= high * (1 - 1e-9))
    if end > begin:
        return Range(begin, end)
    near = _ones_twos_fives(begin)  # one value alone: its neighbours
    place = near.index(begin)
    return Range(near[place - 1], near[place + 1])


def _ones_twos_fives(near: float) -> list[float]:
    power = math.floor(math.log10(near))
    return [
        base * 10.0**exponent
        for exponent in range(power - 1, power + 2)
        for base in (1.0, 2.0, 5.0)
    ]


def keep_range(old: Range | None, new: Range, *, log: bool) -> Range:
    """Return ``old`` while it holds ``new`` and is not far too large: rows stay in place."""
    if old is None or old.low > new.low or old.high < new.high or (log and old.low <= 0):
        return new
    if log:
        fills = math.log(new.high / new.low) / math.log(old.high / old.low)
    else:
        fills = new.span / old.span
    return old if fills > _LEAST_FILLED else new


def ticks(over: Range, most: int, *, log: bool = False, whole: bool = False) -> list[Tick]:
    """Return up to about ``most`` round ticks inside a range; with ``whole``, on integers."""
    if log:
        return _log_ticks(over, most)
    step = max(round_step(over.span, most), 1.0 if whole else 0.0)
    first = math.ceil(over.low / step - 1e-6)
    count = math.floor(over.high / step + 1e-6) - first + 1
    values = [(first + number) * step for number in range(max(0, count))]
    return [Tick(value, words) for value, words in zip(values, words_of(values, step), strict=True)]


def _log_ticks(over: Range, most: int) -> list[Tick]:
    """Take 1, 2, 5 of each decade while there is room, else decades, else every n-th decade."""
    powers = range(math.floor(math.log10(over.low)), math.ceil(math.log10(over.high)) + 1)
    fine = [base * 10.0**power for power in powers for base in (1.0, 2.0, 5.0)]
    inside = [v for v in fine if over.low * (1 - 1e-9) <= v <= over.high * (1 + 1e-9)]
    if len(inside) > most:
        decades = [10.0**p for p in powers if over.low <= 10.0**p * (1 + 1e-9) <= over.high * 1.01]
        every = -(-len(decades) // max(1, most))
        inside = decades[::every] or inside[:1]
    return [Tick(value, words_of([value], value)[0]) for value in inside]


def x_ticks(over: Range, most: int, counts: str) -> list[Tick]:
    """Return ticks of an x axis that counts steps, epochs or ``time``; no step is half done."""
    if counts == "time":
        return time_ticks(over, most)
    return ticks(over, most, whole=counts == "step")


def time_ticks(over: Range, most: int) -> list[Tick]:
    """Return ticks for seconds, on the round numbers of a clock."""
    want = over.span / max(1, most)
    step = float(next((s for s in _SECONDS if s >= want), 0)) or round_step(over.span, most)
    first, last = math.ceil(over.low / step - 1e-6), math.floor(over.high / step + 1e-6)
    return [Tick(n * step, clock_words(n * step)) for n in range(first, last + 1)]


def clock_words(seconds: float) -> str:
    """Write a span as short as an axis needs it: ``45s``, ``5m``, ``1h30``, ``2d``, ``2d12h``."""
    whole = round(seconds)
    minutes, s = divmod(whole, 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    if days:
        return f"{days}d{h}h" if h else f"{days}d"
    if hours:
        return f"{hours}h{m:02d}" if m else f"{hours}h"
    if minutes:
        return f"{minutes}m{s:02d}" if s else f"{minutes}m"
    return f"{s}s" if s else "0"


def words_of(values: list[float], step: float) -> list[str]:
    """Write ticks as short as they are told apart: ``0.30``, ``1.5k``, ``15M``, ``2e-5``.

    Args:
        values: The ticks.
        step: What they differ by; tells how many decimals they need.
    """
    largest = max((abs(value) for value in values), default=0.0)
    if not math.isfinite(largest) or largest == 0:
        return ["0" for _ in values]
    if largest >= 1e15 or largest < 0.9e-3:
        return [_scientific(value, step) for value in values]
    return [_with_unit(value, step) for value in values]


def _with_unit(value: float, step: float) -> str:
    """Write one tick in its own unit: beside ``1.2k`` stands ``800``."""
    for unit, sign in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit * (1 - 1e-9):
            return f"{value / unit:.{decimals(step / unit)}f}{sign}"
    return f"{value:.{decimals(step)}f}" if abs(value) > step * 1e-6 else "0"


def _scientific(value: float, step: float) -> str:
    if not value:
        return "0"
    power = math.floor(math.log10(abs(value)) + 1e-9)
    digits = decimals(step / 10.0**power)
    return f"{value / 10.0**power:.{min(digits, 3)}f}e{power}"


def decimals(step: float) -> int:
    """Return how many decimals tell multiples of ``step`` apart, 0 to 9."""
    for digits in range(10):
        if abs(step * 10**digits - round(step * 10**digits)) < 1e-6 * max(1.0, step * 10**digits):
            return digits
    return 9


def number_words(value: float | None) -> str:
    """Write a measured value with four digits or so: ``.1183``, ``12.34``, ``1e-5``, ``54.1G``."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    size = abs(value)
    if size == 0:
        return "0"
    if size < 1e-3:
        mantissa, _, power = f"{value:.2e}".partition("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(power)}"
    if size < 1:
        return f"{value:.4f}".replace("0.", ".", 1)
    if size < 1e4:
        return f"{value:.{3 - math.floor(math.log10(size))}f}"
    if size >= 1e15:
        return f"{value:.2e}"
    return words_of([value], 10 ** (math.floor(math.log10(size)) - 2))[0]


def column_of(value: float, view: Range, columns: int) -> int:
    """Return the column of cells in which a place of the x axis lies; may be outside."""
    at = math.floor((value - view.low) / view.span * columns)
    return columns - 1 if value == view.high else at
