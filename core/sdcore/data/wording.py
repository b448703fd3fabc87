"""Words for messages about data; whatever came from the data is made safe to print here."""

import difflib
from collections.abc import Iterable, Sequence

from sdcore.text import clean_line

SHOWN = 5  # names in one message: more would push the remedy off the screen


def shown(text: str, limit: int = 120) -> str:
    """Write a name or value from the data so that it cannot steer a terminal."""
    return clean_line(text, limit)


def why(error: BaseException, limit: int = 300) -> str:
    """Write what went wrong without the number of a system's error; its path comes first."""
    if isinstance(error, OSError) and error.strerror:
        about = f"{shown(str(error.filename), limit)}: " if error.filename is not None else ""
        return about + error.strerror
    return shown(str(error), limit) or type(error).__name__


def listed(names: Sequence[str], total: int | None = None) -> str:
    """Write up to five names and how many more there are: ``a.png, b.png and 3 more``."""
    total = len(names) if total is None else total
    text = ", ".join(shown(name) for name in names[:SHOWN])
    rest = total - min(len(names), SHOWN)
    return f"{text} and {rest:,} more" if rest > 0 else text


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """Return the choice most like ``word``, or None when none is like it."""
    by_lower = {choice.lower(): choice for choice in choices}
    if word.lower() in by_lower:
        return by_lower[word.lower()]
    found = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None
