"""The pattern of a user's own that finds metrics in a log: is it one that can be used?

A regular expression can be exponential in the length of a line, and logs have long lines. What
can be told from its form is refused here; what is left is stopped by the clock where it is used.
"""

import importlib
import re
from typing import Any

NAMES = ("step", "total", "loss", "lr", "epoch", "grad_norm", "images_per_s", "it_per_s")
MAX_LENGTH = 500  # characters
# Repeats that may each take any number of characters: a line of length n can cost n to this power.
_MAX_WIDE = 6
_WIDE = 64  # a repeat of more than this many is as good as endless


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Compile ``pattern``.

    Raises:
        ValueError: In words: it is no regular expression, names nothing of use, or is of a form
            that can take for ever.
    """
    if len(pattern) > MAX_LENGTH:
        raise ValueError(f"a pattern has at most {MAX_LENGTH} characters")
    try:
        compiled = re.compile(pattern)
        tree = importlib.import_module("re._parser").parse(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"not a regular expression: {error}") from None
    unknown = sorted(compiled.groupindex.keys() - set(NAMES))
    if unknown:
        raise ValueError(f"no such name: {', '.join(unknown)}; there are {', '.join(NAMES)}")
    missing = [name for name in ("step", "loss") if name not in compiled.groupindex]
    if missing:
        raise ValueError(rf"names no {' and no '.join(missing)}: write for example "
                         r"'step (?P<step>\d+) .*loss (?P<loss>\S+)'")  # fmt: skip
    if _nested(tree, inside=False):
        raise ValueError("a repeat inside a repeat can take for ever on a long line; write it flat")
    if _wide(tree) > _MAX_WIDE:
        raise ValueError(f"over {_MAX_WIDE} endless repeats can take for ever on a long line")
    return compiled


def _parts(tree: Any) -> list[tuple[str, Any]]:
    return [(str(code), value) for code, value in tree]


def _inner(value: Any) -> list[Any]:
    """Return the patterns inside one part of a parsed pattern."""
    if hasattr(value, "getwidth"):
        return [value]
    if isinstance(value, list | tuple):
        return [found for item in value for found in _inner(item)]
    return []


def _endless(code: str, value: Any) -> bool:
    return code in {"MAX_REPEAT", "MIN_REPEAT"} and int(value[1]) > _WIDE


def _nested(tree: Any, *, inside: bool) -> bool:
    """Say whether an endless repeat lies inside another."""
    for code, value in _parts(tree):
        endless = _endless(code, value)
        if inside and endless:
            return True
        if any(_nested(part, inside=inside or endless) for part in _inner(value)):
            return True
    return False


def _wide(tree: Any) -> int:
    """Count endless repeats."""
    return sum(
        _endless(code, value) + sum(_wide(part) for part in _inner(value))
        for code, value in _parts(tree)
    )
