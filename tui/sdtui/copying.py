"""Copies text for the person: to their own clipboard, and always to a file as well.

Nothing here masks: what comes in is what was on the screen, which is masked already.
"""

import os
from pathlib import Path

from textual.app import App

from sdcore.errors import UsageError
from sdcore.runs.files import write_bytes
from sdcore.runs.paths import home, make_private
from sdcore.text import clean_line
from sdcore.units import size as in_units
from sdtui.language import _

IN_MULTIPLEXER, ELSEWHERE = 8 << 10, 70 << 10  # bytes of text that go to the clipboard at most


def copied_file() -> Path:
    """Return the file that holds what was copied last."""
    return home() / "copied.txt"


def copy(app: App[object], text: str, what: str) -> str:
    """Copy ``text``; return words that say where it is now.

    The clipboard of the terminal is reached by OSC 52, the one way that works over SSH. It is one
    escape sequence without an answer: whether the terminal obeyed cannot be known, so the text is
    always written to a file, too. A long one is not sent at all: xterm takes about 75,000 bytes of
    base64 and drops the rest, GNU screen stops at 768 bytes in its oldest versions and tmux passes
    on what its own buffer takes, and a link that is slow is blocked for the whole of it.

    Args:
        app: The console.
        text: Clean and masked.
        what: What it is, for the words: "12 lines".

    Raises:
        UsageError: The file cannot be written; the clipboard may hold the text all the same.
    """
    within = multiplexer()
    sent = len(text.encode()) <= (IN_MULTIPLEXER if within else ELSEWHERE)
    if sent:
        app.copy_to_clipboard(text)
    path = _kept(text)
    place = clean_line(str(path))
    if not sent:
        size = in_units(len(text.encode()))
        words = _("{what}: {size} is too much for the clipboard; it is in {file}")
        return words.format(what=what, size=size, file=place)
    words = _("{what} copied; also in {file}").format(what=what, file=place)
    if within == "tmux":
        words += "\n" + _("tmux passes it on after: set -g set-clipboard on")
    return words


def multiplexer() -> str:
    """Return what stands between us and the terminal: ``tmux``, ``screen`` or nothing."""
    if os.environ.get("TMUX"):
        return "tmux"
    return "screen" if os.environ.get("STY") else ""


def _kept(text: str) -> Path:
    path = copied_file()
    try:
        make_private(path.parent)
        write_bytes(path, text.encode() + b"\n" * (not text.endswith("\n")))
    except OSError as error:
        raise UsageError(
            _("{file} cannot be written").format(file=clean_line(str(path))),
            cause=clean_line(str(error), 200),
            remedy=_("make room or set SDTUI_HOME to a folder of yours"),
        ) from error
    return path
