"""What goes to the terminal: data to stdout, words for people to stderr, nothing raw.

Every text that comes from a file passes ``sdcore.text`` before it gets here or in here; JSON is
written in ASCII, in which a control character cannot stand.
"""

import json
import math
import os
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from sdcore.errors import SdError
from sdcore.text import clean

# State: sign, the same where the locale has no Unicode, and the SGR colour.
_SIGNS = {
    "queued": ("◌", "q", "33"),
    "starting": ("◔", "s", "36"),
    "running": ("●", "*", "36"),
    "stopping": ("◐", "-", "33"),
    "done": ("✓", "+", "32"),
    "failed": ("✗", "x", "31"),
    "stopped": ("■", "=", "33"),
    "interrupted": ("!", "!", "35"),
}


def out(text: str) -> None:
    """Write a line of data."""
    sys.stdout.write(text + "\n")


def say(text: str) -> None:
    """Write a line for a person."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def say_error(error: SdError) -> None:
    """Write what failed, why, and what to do."""
    say(f"sdtui: {clean(str(error))}")


def out_json(value: Any, *, stream: bool = False) -> None:
    """Write ``value`` as JSON: indented, or for a stream as one line that is sent at once."""
    plain = _jsonable(value)
    if stream:
        out(json.dumps(plain, separators=(",", ":"), allow_nan=False))
        sys.stdout.flush()
    else:
        out(json.dumps(plain, indent=2, allow_nan=False))


def _jsonable(value: Any) -> Any:
    """Make ``value`` strict JSON: not-a-number, which JSON lacks, becomes the string "NaN"."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_jsonable(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def has_colour(stream: TextIO) -> bool:
    """Say whether colours may be sent; see no-color.org: an empty NO_COLOR counts as unset."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def state_sign(state: str) -> str:
    """Return a state with its sign, so that it is told without colour: ``● running``."""
    unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    sign, ascii_sign, _ = _SIGNS.get(state, ("?", "?", "0"))
    return f"{sign if unicode else ascii_sign} {state}"


def painted(text: str, state: str, stream: TextIO) -> str:
    """Return ``text`` in the colour of ``state`` where ``stream`` takes colours."""
    return f"\x1b[{_SIGNS[state][2]}m{text}\x1b[0m" if has_colour(stream) else text


def cells(text: str) -> int:
    """Return how many columns ``text`` takes: a Chinese character two, a combining mark none."""
    if text.isascii():
        return len(text)
    return sum(_width(character) for character in text)


def _width(character: str) -> int:
    if unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1


def fit(text: str, width: int, *, right: bool = False) -> str:
    """Return ``text`` in exactly ``width`` columns: padded, or cut with an ellipsis."""
    if cells(text) > width:
        while text and cells(text) > width - 1:
            text = text[:-1]
        text += "…"
    gap = " " * (width - cells(text))
    return gap + text if right else text + gap


def rows(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Return (label, words) pairs as aligned lines."""
    width = max((cells(label) for label, _ in pairs), default=0)
    return [f"{fit(label, width)}  {words}".rstrip() for label, words in pairs]
