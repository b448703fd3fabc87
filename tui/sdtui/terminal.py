"""What goes to the terminal: data to stdout, words for people to stderr, nothing raw.

Every text that comes from a file passes ``sdcore.text`` before it gets here or in here; JSON is
written in ASCII, in which a control character cannot stand.
"""

import json
import math
import os
import shutil
import sys
import termios
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
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
    """Write a line for a person, below all data so far: both may go to one screen or file."""
    with suppress(BrokenPipeError):  # met again, and told, where data is written
        sys.stdout.flush()
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


def state_sign(state: str, *, saved: bool = False) -> str:
    """Return a state with its sign, so that it is told without colour: ``● running``."""
    unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    sign, ascii_sign, _ = _SIGNS.get(state, ("?", "?", "0"))
    return f"{sign if unicode else ascii_sign} {state}{', saved' if saved else ''}"


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


def columns(stream: TextIO) -> int | None:
    """Return how wide the terminal is; None where ``stream`` is none."""
    return shutil.get_terminal_size().columns if stream.isatty() else None


def rows(
    pairs: Sequence[tuple[str, str]], width: int | None = None, whole: Sequence[str] = ()
) -> list[str]:
    """Return (label, words) pairs as aligned lines.

    Args:
        pairs: What to write.
        width: Columns, beyond which words are folded below their beginning; None, never.
        whole: Labels whose words are never folded, because people copy and run them.
    """
    indent = max((cells(label) for label, _ in pairs), default=0) + 2
    lines = []
    for label, words in pairs:
        free = None if width is None or label in whole else width - indent
        first, *more = _folded(words, free)
        lines.append(f"{fit(label, indent)}{first}".rstrip())
        lines += [f"{' ' * indent}{line}" for line in more]
    return lines


def _folded(text: str, width: int | None) -> list[str]:
    """Break ``text`` at spaces; a word that is too long, such as a path, stays in one piece."""
    if width is None or cells(text) <= width:
        return [text]
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".lstrip()
        if lines[-1] and cells(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


class SilentKeys:
    """Keeps the terminal from writing ``^C`` where a bar is drawn; without one, does nothing.

    The echo would go behind the bar, wrap, and leave an old copy of the bar on the screen.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._before = stream, 0

    def begin(self) -> None:
        """Echo no control characters from here on."""
        self._before = self._change(0)

    def end(self) -> None:
        """Echo them again, if they were."""
        self._change(self._before)

    def _change(self, wanted: int) -> int:
        """Set the flag to ``wanted`` and return what it was; 0 where nothing was changed."""
        with suppress(OSError, ValueError, termios.error):  # it is only looks
            terminal = self._stream.fileno()
            # In the background the kernel would stop us for it.
            if os.tcgetpgrp(terminal) == os.getpgrp():
                mode = termios.tcgetattr(terminal)
                before = mode[3] & termios.ECHOCTL
                mode[3] = mode[3] & ~termios.ECHOCTL | wanted
                termios.tcsetattr(terminal, termios.TCSANOW, mode)
                return int(before)
        return 0
