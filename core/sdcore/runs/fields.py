"""Typed reads of a record that may hold anything.

A run directory can be half-written by a full disk, edited by hand or left by another version.
A field of the wrong type counts as absent: a reader must never fail on what it only shows.
"""

import json
import math
from pathlib import Path
from typing import Any

from sdcore.runs.files import read_plain
from sdcore.text import clean, clean_line

_NOT_FINITE = ("NaN", "Infinity", "-Infinity")
_MAX_LINE = 500  # characters
_MAX_TEXT = 20_000  # characters of a field that may have several lines, such as a traceback


class Fields:
    """One record, read field by field; everything that is text comes out clean."""

    def __init__(self, record: dict[str, Any] | None) -> None:
        self.record = record or {}

    def __bool__(self) -> bool:
        return bool(self.record)

    def number(self, key: str) -> float | None:
        """Return a number, which may be NaN or infinite; those may also stand as strings."""
        value = self.record.get(key)
        if isinstance(value, str) and value in _NOT_FINITE:
            return float(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        try:
            return float(value)
        except OverflowError:  # an integer of more than 308 digits
            return None

    def moment(self, key: str) -> float | None:
        """Return a finite number: a time, a rate or a span."""
        value = self.number(key)
        return value if value is not None and math.isfinite(value) else None

    def whole(self, key: str) -> int | None:
        """Return an integer that fits 63 bits; JSON allows longer ones."""
        value = self.record.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or abs(value) >> 63:
            return None
        return value

    def text(self, key: str) -> str | None:
        """Return one clean line."""
        value = self.record.get(key)
        return _line(value) if isinstance(value, str) else None

    def block(self, key: str) -> str | None:
        """Return clean text of several lines."""
        value = self.record.get(key)
        return clean(value, _MAX_TEXT) if isinstance(value, str) else None

    def raw(self, key: str) -> str | None:
        """Return a string as it is, for a path that is opened; never show it."""
        value = self.record.get(key)
        return value if isinstance(value, str) and value and "\0" not in value else None

    def texts(self, key: str) -> tuple[str, ...]:
        """Return the clean lines of a list."""
        value = self.record.get(key)
        if not isinstance(value, list):
            return ()
        return tuple(_line(item) for item in value if isinstance(item, str))


def _line(text: str) -> str:
    """``clean_line``, ten times as quick for the usual text: a list of runs has 50,000 lines.

    No control, format or surrogate character is printable, so there is nothing to take out.
    """
    return text if len(text) <= _MAX_LINE and text.isprintable() else clean_line(text, _MAX_LINE)


def read_fields(path: Path) -> Fields | None:
    """Return the record in ``path``; None when there is no file, empty when it is no record.

    Unlike ``files.read_json`` this tells a file that is not there from one that is damaged:
    for ``exit.json`` being there is the message.
    """
    try:
        content = read_plain(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return Fields(None)
    try:
        record = json.loads(content)
    except (ValueError, RecursionError):
        return Fields(None)
    return Fields(record if isinstance(record, dict) else None)
