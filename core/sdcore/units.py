"""The one place that turns bytes, rates and durations into words."""

import math

_STEPS = ("B", "KiB", "MiB", "GiB", "TiB")


def size(count: float) -> str:
    """Write a number of bytes with three digits, in powers of 1024: ``13.8 GiB``."""
    for unit in _STEPS[:-1]:
        if abs(count) < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} {_STEPS[-1]}"


def duration(seconds: float | None) -> str:
    """Write a span of time with two units at most: ``2d 4h``, ``3h 05m``, ``12m 08s``, ``9s``.

    An unknown span, ``None`` or not finite, is a dash.
    """
    if seconds is None or not math.isfinite(seconds):
        return "–"
    whole = max(0, round(seconds))
    minutes, s = divmod(whole, 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    if days:
        return f"{days}d {h}h"
    if hours:
        return f"{h}h {m:02d}m"
    if minutes:
        return f"{m}m {s:02d}s"
    return f"{s}s"


def rate(per_second: float | None, unit: str) -> str:
    """Write a rate with three digits: ``12.3 images/s``; below one, its inverse is no clearer."""
    if per_second is None or not math.isfinite(per_second):
        return f"– {unit}/s"
    return f"{per_second:.3g} {unit}/s"


def number(value: float) -> str:
    """Write a number with three digits or, from 1000 on, whole: ``6.51``, ``2,308``."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Write a number with its noun in the right form: ``1 image``, ``833 images``."""
    return f"{number:,} {noun if number == 1 else (plural or noun + 's')}"
