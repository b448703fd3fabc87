"""How grave a line of a log is, and which rank wrote it, as far as the line itself tells.

Pure functions over clean text. They know the usual forms: Python's logging and accelerate, torch
elastic, NCCL, glog, uncaught exceptions. What they do not know counts as ``INFO`` of no rank.
"""

import re
from enum import IntEnum

from sdcore.runs.logs import TRACEBACK


class Level(IntEnum):
    """Gravity, rising; a line that names none is ``INFO``."""

    DEBUG = 0
    INFO = 1
    WARNING = 2
    ERROR = 3


LETTERS = {Level.DEBUG: "D", Level.INFO: " ", Level.WARNING: "W", Level.ERROR: "E"}

HEAD = 240  # characters in which a level may stand; further on it is the message's own words
_OF_WORD = {
    "debug": Level.DEBUG, "trace": Level.DEBUG, "info": Level.INFO, "notice": Level.INFO,
    "warning": Level.WARNING, "warn": Level.WARNING, "error": Level.ERROR,
    "critical": Level.ERROR, "fatal": Level.ERROR,
}  # fmt: skip
_WORDS = "DEBUG|TRACE|INFO|NOTICE|WARNING|WARN|ERROR|CRITICAL|FATAL"
# ``INFO:``, ``[WARNING]``, ``- ERROR -``, ``| INFO |``, ``level=warn``, ``NCCL WARN ``; in capitals
# also before a blank, after the begin of the line or a time.
_NAMED = re.compile(
    rf"^\W{{0,2}}(?P<first>{_WORDS})\s*:"
    rf"|(?:^|[\s\[(|:-])(?P<capital>{_WORDS})(?:[\]:)|]|\s|$)"
    rf"|(?:^|\W)(?:level|levelname|severity)[\"']?\s*[=:]\s*[\"']?(?P<given>{_WORDS})\b",
    re.IGNORECASE,
)
# torch's own: ``W1106 12:00:00.123000 4711 torch/distributed/run.py:792] …``
_GLOG = re.compile(r"\[?(?P<sign>[IWEF])\d{3,4} \d\d:\d\d:\d\d\S* .{0,160}\.(?:py|cpp):\d+\]")
_GLOG_LEVELS = {"I": Level.INFO, "W": Level.WARNING, "E": Level.ERROR, "F": Level.ERROR}
# ``torch.OutOfMemoryError: …``, ``…/x.py:12: FutureWarning: …``; a name of its own, then a colon.
_RAISED = re.compile(r"^(?:[\w.]+\.)?[A-Z]\w*(?:Error|Exception|Interrupt|Exit)\b(?::|$)")
_WARNED = re.compile(r"(?:^|: )(?:[\w.]+\.)?(?:[A-Z]\w*)?Warning: ")
_CRASHED = re.compile(r"^(?:Segmentation fault|Killed|Aborted|Bus error|terminate called)\b")

_RANK = re.compile(
    r"^\W{0,4}(?:rank|RANK|Rank|default|trainer|worker)[ _:=-]?(?P<head>\d{1,4})\]"
    r"|\b(?:rank|RANK|Rank)\s?[=:]\s?(?P<named>\d{1,4})\b"
    r"|\[(?:rank|RANK|Rank)[ _:=]?(?P<within>\d{1,4})\]"
)


def level_of(line: str) -> Level:
    """Return the gravity that ``line`` itself tells."""
    text = _head(line)
    small = text.lower()
    if not any(word in small for word in _TOLD_BY):  # most lines: progress
        return Level.INFO
    if text.startswith(TRACEBACK) or _RAISED.match(text) or _CRASHED.match(text):
        return Level.ERROR
    if match := _GLOG.match(text):
        return _GLOG_LEVELS[match["sign"]]
    for match in _NAMED.finditer(text):
        if word := _named(match):
            return _OF_WORD[word.lower()]
    return Level.WARNING if _WARNED.search(text) else Level.INFO


def _head(line: str) -> str:
    """Return what may tell a level: the begin of the line, without the rank before it."""
    return _RANK_PREFIX.sub("", line[:HEAD]) if line.startswith("[") else line[:HEAD]


_RANK_PREFIX = re.compile(r"^\[(?:rank|Rank|RANK|default|trainer|worker)[ _:=-]?\d{1,4}\]:?\s?")


def _named(match: "re.Match[str]") -> str | None:
    capital = match["capital"]
    if capital and not capital.isupper():
        return None  # "an error in …" is prose
    word = capital or match["given"] or match["first"]
    # In Unicode other letters, a Turkish ı for one, are the same but for their case.
    regular = word.isascii() and word in {word.upper(), word.lower(), word.capitalize()}
    return word if regular else None


def rank_of(line: str) -> int | None:
    """Return the rank that ``line`` names as its writer."""
    head = line[:HEAD]
    small = head.lower()
    match = _RANK.search(head) if any(word in small for word in _RANKED_BY) else None
    return int(next(found for found in match.groups() if found)) if match else None


class Levels:
    """Tells level and rank of lines in order: the frames of a traceback belong to its error."""

    def __init__(self) -> None:
        self._open = set[int | None]()  # ranks in whose traceback we are

    def of(self, line: str) -> tuple[Level, int | None]:
        """Return the level and the rank of the next line."""
        rank, own = rank_of(line), level_of(line)
        text = _head(line)
        if text.startswith(TRACEBACK):
            self._open.add(rank)
            return Level.ERROR, rank
        if rank not in self._open:
            return own, rank
        if text and not text[0].isspace():  # its last line: what was raised
            self._open.discard(rank)
        return Level.ERROR, rank


# Bytes of which at least one stands in every line graver than INFO, in small letters, and in every
# line that names a rank: a block without them need not be looked at line by line.
GRAVE = (
    b"warn", b"error", b"critical", b"fatal", b"traceback", b"exception", b"interrupt", b"exit",
    b"fault", b"killed", b"abort", b"terminate called", b".py:", b".cpp:",
)  # fmt: skip
RANKED = (b"rank", b"default", b"trainer", b"worker")
_TOLD_BY = ("debug", "trace", *(word.decode() for word in GRAVE))
_RANKED_BY = tuple(word.decode() for word in RANKED)
