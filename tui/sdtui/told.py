"""What the core tells in English, in the language of the console.

The core writes its reasons, causes and remedies into files and onto the command line in English;
here its sentences are known again by their templates. One that is not known stays as it is: never
is anything left out or made up.
"""

import re
from functools import lru_cache

from sdcore.text import clean_line
from sdtui.language import N_, _, language

_FIELD = re.compile(r"\{(\w+)\}")
_FILLED = re.compile(r"( ?)\{(\w+)\}( ?)")
_MARKS = (N_("; "), N_(": "), N_(", "))
_STANDS_FOR = {"n": r"[-+]?[\d.,]+(?:e[-+]?\d+)?", "token": r"\S+"}  # any text, for other fields
_WIDE = "\u2e80"  # from here on signs need no blank beside each other


def told(text: str) -> str:
    """Return a sentence of the core in the language of the console, else as it is."""
    return text if language() == "en" or not text else _told(text, language())


def told_why(error: OSError | ValueError) -> str:
    """Return the reason that the system, or a reader of ours, gives for an error."""
    return told(clean_line((error.strerror if isinstance(error, OSError) else None) or str(error)))


def told_of(cause: str, remedy: str | None) -> str:
    """Return what is wrong and what to do about it, in one line."""
    if not remedy:
        return told(cause)
    return _("{cause}: {remedy}").format(cause=told(cause), remedy=told(remedy))


@lru_cache(maxsize=2048)
def _told(text: str, _language: str) -> str:
    for template, words in _templates():
        # Only what can match is compiled: all of them would take 60 ms at the first sentence.
        if all(word in text for word in words) and (found := _pattern(template).fullmatch(text)):
            values = {name: told(value) for name, value in found.groupdict().items()}
            return filled(_(template), values)
    return _in_parts(text)


def filled(template: str, values: dict[str, str]) -> str:
    """Put the values in; a blank that keeps Latin letters apart is not written beside Chinese."""

    def put(match: re.Match[str]) -> str:
        value = values[match[2]]
        before = "" if value[:1] >= _WIDE else match[1]
        return f"{before}{value}{'' if value[-1:] >= _WIDE else match[3]}"

    return _FILLED.sub(put, template)


def _in_parts(text: str) -> str:
    """Tell reasons that are joined, and lists, if any part of them is known."""
    for mark in _MARKS:
        parts = text.split(mark)
        if len(parts) > 1 and (known := [told(part) for part in parts]) != parts:
            return _(mark).join(known)
    return text


@lru_cache(maxsize=1)
def _templates() -> list[tuple[str, list[str]]]:
    """Return each template with the words between its fields; those that say more come first."""
    from sdtui.sentences import ALL  # noqa: PLC0415  # not before the first picture

    return [
        (template, [words for words in _FIELD.split(template)[::2] if words])
        for template in sorted(ALL, key=lambda each: -len(_FIELD.sub("", each)))
    ]


@lru_cache(maxsize=512)
def _pattern(template: str) -> re.Pattern[str]:
    pieces = _FIELD.split(template)
    for i in range(1, len(pieces), 2):
        pieces[i] = f"(?P<{pieces[i]}>{_STANDS_FOR.get(pieces[i], '.+')})"
    return re.compile("".join(p if i % 2 else re.escape(p) for i, p in enumerate(pieces)))
