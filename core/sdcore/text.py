r"""The door through which text from outside passes before any screen or message.

Logs, captions, file names, run names and other programs' fields can hold escape sequences,
and terminals obey them: OSC 52 fills the clipboard, CSI 2J wipes the screen, a bidi override
turns a name around. Measured with Textual 8.2.8, ten of eleven widgets pass them on raw.
"""

import os
import re

# CSI, OSC/DCS/SOS/PM/APC strings up to their end, and two-byte escapes; then single controls.
_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"
    r"|\x1b[\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x9b[0-?]*[ -/]*[@-~]"
    r"|[\x90\x98\x9d-\x9f][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
)
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]"
    "|[\ud800-\udfff]"
)


def clean(text: str, limit: int = 100_000) -> str:
    r"""Remove everything that could steer a terminal; keep newline and tab.

    Args:
        text: From outside: may hold anything.
        limit: Characters kept; what is longer ends in an ellipsis.
    """
    safe = _CONTROLS.sub("", _ESCAPES.sub("", text.replace("\r\n", "\n")))
    return safe if len(safe) <= limit else safe[: limit - 1] + "…"


def clean_line(text: str, limit: int = 500) -> str:
    """``clean`` for one line: newlines and tabs become spaces."""
    return clean(text.replace("\n", " ").replace("\t", " "), limit)


def last_overwrite(line: str) -> str:
    r"""What a terminal would show of a line that a progress bar rewrote with ``\r``."""
    return line.rstrip("\r").rpartition("\r")[2]


def from_home(path: str) -> str:
    """Return a typed path with ``~`` filled in; that of nobody on this host stays as it was typed.

    ``Path.expanduser`` raises for it, and every ``~name`` is such a path while it is being typed.
    """
    return os.path.expanduser(path)  # noqa: PTH111  # see above
