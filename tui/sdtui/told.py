"""What the core tells in English, in the language of the console.

The core writes its reasons, causes and remedies into files and onto the command line in English;
here its sentences are known again by their templates. One that is not known stays as it is: never
is anything left out or made up.
"""

import re
from functools import lru_cache

from sdtui.language import N_, _, language
from sdtui.sentences import CORE, PUT_TOGETHER

_FIELD = re.compile(r"\{(\w+)\}")
_MARKS = (N_("; "), N_(": "), N_(", "))
_NUMBER = r"[-+]?[\d.,]+(?:e[-+]?\d+)?"


def told(text: str) -> str:
    """Return a sentence of the core in the language of the console, else as it is."""
    return text if language() == "en" or not text else _told(text, language())


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
            return _(template).format(**values)
    return _in_parts(text)


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
    return [
        (template, [words for words in _FIELD.split(template)[::2] if words])
        for template in sorted((*CORE, *PUT_TOGETHER), key=lambda each: -len(_FIELD.sub("", each)))
    ]


@lru_cache(maxsize=512)
def _pattern(template: str) -> re.Pattern[str]:
    pieces = _FIELD.split(template)
    for i in range(1, len(pieces), 2):
        pieces[i] = f"(?P<{pieces[i]}>{_NUMBER if pieces[i] == 'n' else '.+'})"
    return re.compile("".join(p if i % 2 else re.escape(p) for i, p in enumerate(pieces)))
