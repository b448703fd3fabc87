"""Lines that a trainer prints for a step: JSON, Python dictionaries, ``name=value``."""

import json
import re

from sdcore.supervise.foreign.said import MAX_TEXT, Said, pairs, said
from sdcore.text import clean

_OBJECT = re.compile(r"\{.{0,4000}\}")


def parse_line(text: str) -> Said:
    """Return what a line says of a training step; without ``loss``: nothing of use."""
    text = clean(text[: 2 * MAX_TEXT])
    record = _record(text)
    return said(record.items() if record is not None else pairs(text))


def _record(text: str) -> dict[str, str | float] | None:
    """Return the numbers of a JSON object, also behind a prefix such as the time of day."""
    match = _OBJECT.search(text)
    if match is None:
        return None
    try:
        record = json.loads(match[0])
    except (ValueError, RecursionError):
        return None
    return _flat(record) if isinstance(record, dict) else None


def _flat(record: dict[str, object]) -> dict[str, str | float]:
    """Return the numbers of an object and of the objects in it, by their names."""
    found: dict[str, str | float] = {}
    for name, value in record.items():
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            found[name] = value
        elif isinstance(value, dict):
            inner = {k: v for k, v in value.items() if isinstance(v, str | int | float)}
            found.update({f"{name}/{k}": v for k, v in inner.items() if not isinstance(v, bool)})
    return found
