"""The language of the console: English in the source, others from ``locale/``.

``_`` looks its text up when it is called, so a widget that draws again speaks the new language at
once. What stands at class level (key bindings, titles) is marked with ``N_`` and passed through
``_`` where it is shown.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # loaded with the first other language
    from gettext import NullTranslations

LANGUAGES = {"en": "English", "zh_CN": "简体中文"}  # each told in itself
LOCALE = Path(__file__).with_name("locale")

_current: "NullTranslations | None" = None  # English
_name = "en"


def _(text: str) -> str:
    """Return ``text`` in the language of the console."""
    # gettext would answer "" with its own header.
    return _current.gettext(text) if _current and text else text


def ngettext(one: str, many: str, number: int) -> str:
    """Return the form that goes with ``number``, in the language of the console."""
    return _current.ngettext(one, many, number) if _current else one if number == 1 else many


def N_(text: str) -> str:  # noqa: N802  # gettext's own name for it
    """Mark ``text`` for translation and return it as it is."""
    return text


def language() -> str:
    """Return the language in use: a key of ``LANGUAGES``."""
    return _name


def use(name: str) -> None:
    """Speak ``name`` from now on; ``auto`` is the language of the environment."""
    global _current, _name  # noqa: PLW0603  # the one place that holds the language
    _name = from_environment() if name == "auto" else name if name in LANGUAGES else "en"
    _current = None
    if _name != "en":
        from gettext import translation  # noqa: PLC0415  # see above

        _current = translation("sdtui", LOCALE, [_name], fallback=True)


def from_environment() -> str:
    """Return the language that the usual variables ask for, in their usual order."""
    for variable in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        for wish in os.environ.get(variable, "").split(":"):
            word = wish.partition(".")[0].replace("-", "_")
            if word in LANGUAGES:
                return word
            if word.partition("_")[0] == "zh":  # zh_TW readers are better served than by English
                return "zh_CN"
            if word in {"C", "POSIX"} or word.startswith("en"):
                return "en"
    return "en"
