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

_NAMED = {"\n": r"\n", "\t": r"\t", "\r": r"\r"}


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


def shell_word(word: str) -> str:
    """Return ``word`` as bash reads it, in one line that ``clean`` leaves as it is.

    What a terminal must not get, or a line cannot hold, is written as bytes in ``$'…'``.
    """
    if clean_line(word, len(word) + 1) == word:
        import shlex  # noqa: PLC0415  # rare

        return shlex.quote(word)
    written = "".join(_escaped(sign) for sign in word)
    return f"$'{written}'"


def _escaped(sign: str) -> str:
    if sign in "\\'":
        return f"\\{sign}"
    if clean_line(sign) == sign:
        return sign
    if sign in _NAMED:
        return _NAMED[sign]
    kept = "surrogateescape" if "\udc80" <= sign <= "\udcff" else "surrogatepass"
    return "".join(f"\\x{byte:02x}" for byte in sign.encode(errors=kept))


def last_overwrite(line: str) -> str:
    r"""What a terminal would show of a line that a progress bar rewrote with ``\r``."""
    return line.rstrip("\r").rpartition("\r")[2]


def from_home(path: str) -> str:
    """Return a typed path with ``~`` filled in; that of nobody on this host stays as it was typed.

    ``Path.expanduser`` raises for it, and every ``~name`` is such a path while it is being typed.
    """
    return os.path.expanduser(path)  # noqa: PTH111  # see above
