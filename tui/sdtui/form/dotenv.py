"""Reads what a person pastes from a ``.env`` file. Never runs or expands anything of it."""

import re

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")  # of a variable
_BLANK = re.compile(r"[ \t]*(?:#.*)?$", re.MULTILINE)
_HEAD = re.compile(rf"[ \t]*(?:export[ \t]+)?({NAME.pattern})[ \t]*=[ \t]*")
# A quote is closed on its own line, or on a later one with nothing but a comment behind it: else
# one that was forgotten would take the next variable for a part of this value.
_QUOTED = {
    "'": re.compile(r"'([^'\n]*)'|'([^']*)'(?=[ \t]*(?:#.*)?$)", re.MULTILINE),
    '"': re.compile(
        r'"((?:[^"\\\n]|\\.)*)"|"((?:[^"\\]|\\(?s:.))*)"(?=[ \t]*(?:#.*)?$)', re.MULTILINE
    ),
}
_ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\", "$": "$"}


def parse_env(text: str) -> tuple[list[tuple[str, str]], int]:
    """Return the variables, and how many lines are neither one nor a comment.

    Quotes are taken off, and what is in them may go over several lines, as a key does;
    ``export`` and comments are passed over; ``$NAME`` stays as it stands.
    """
    text = "\n".join(text.splitlines())
    found: list[tuple[str, str]] = []
    odd = at = 0
    while at < len(text):
        end = text.find("\n", at) % (len(text) + 1)  # none, -1, is the end of all
        if head := _HEAD.match(text, at, end):
            value, after = _value(text, head.end(), end)
            found.append((head[1], value))
            end = text.find("\n", after) % (len(text) + 1)
        elif not _BLANK.match(text, at, end):
            odd += 1
        at = end + 1
    return found, odd


def _value(text: str, at: int, end: int) -> tuple[str, int]:
    """Return the value that begins there, and where it ends."""
    quote = text[at : at + 1]
    if quote in _QUOTED and (quoted := _QUOTED[quote].match(text, at)):
        inner = quoted[1] if quoted[1] is not None else quoted[2]
        if quote == '"':
            inner = re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[0]), inner)
        return inner, quoted.end()
    return re.split(r"(?:^|\s)#", text[at:end].strip(), maxsplit=1)[0].rstrip(), end
