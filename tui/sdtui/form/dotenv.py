"""Reads what a person pastes from a ``.env`` file. Never runs or expands anything of it."""

import re

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")  # of a variable
_LINE = re.compile(rf"\s*(?:export\s+)?({NAME.pattern})\s*=\s*(.*)$")
_ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\", "$": "$"}


def parse_env(text: str) -> tuple[list[tuple[str, str]], int]:
    """Return the variables, and how many lines are neither one nor a comment.

    Quotes are taken off, ``export`` and comments are passed over; ``$NAME`` stays as it stands.
    """
    found: list[tuple[str, str]] = []
    odd = 0
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if match := _LINE.match(line):
            found.append((match.group(1), _value(match.group(2).strip())))
        else:
            odd += 1
    return found, odd


def _value(text: str) -> str:
    if text[:1] == "'" and (end := text.find("'", 1)) > 0:
        return text[1:end]
    if text[:1] == '"' and (quoted := re.match(r'"((?:[^"\\]|\\.)*)"', text)):
        return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[0]), quoted.group(1))
    return re.split(r"(?:^|\s)#", text, maxsplit=1)[0].rstrip()
