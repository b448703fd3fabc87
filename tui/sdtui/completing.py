"""``sdtui __complete SHELL WORD...``: what a shell offers for the last of these words.

Options, commands and choices are read from the parser itself, so that none can be missed; what a
value may be follows from its metavar. A person waits for this at every Tab: neither pydantic nor
textual is imported, the keys of ``--set`` come from the shipped schema.
"""

import argparse
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdcore.errors import SdError
from sdcore.task.platform_env import PLATFORM_ENV
from sdcore.task.shipped import SCHEMA, shipped_folder
from sdcore.text import clean_line, from_home
from sdtui.arguments import build_parser

_BREAKS = frozenset("=:")  # where bash parts a word in two
_PLAIN = re.compile(r"[A-Za-z0-9_.,~+/@%=:-]+")  # needs no quotes in any shell
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LARGEST = 1 << 16  # bytes of a preset that is looked into


@dataclass(frozen=True, slots=True)
class Offer:
    """One candidate.

    Attributes:
        word: In full.
        help: One line on it; shells that show none leave it away.
        path: A path, which the shell quotes as it quotes paths.
    """

    word: str
    help: str = ""
    path: bool = False


class _Line:
    """What the words before the last one mean to the parser."""

    def __init__(self, parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
        self.parser = parser
        self.pending: argparse.Action | None = None  # an option that waits for its value
        self.given: list[argparse.Action] = []
        self.preset: str | None = None
        self._only_words = False
        self._begin(parser)
        for word in words:
            self._take(word)

    def _begin(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser
        self.places = [a for a in parser._actions if not a.option_strings]  # noqa: SLF001

    def _take(self, word: str) -> None:
        if self.pending is not None:
            self._value(self.pending, word)
            self.pending = None
        elif word == "--":
            self._only_words = True
        elif word.startswith("-") and not self._only_words:
            self._take_option(*word.partition("="))
        elif self.places:
            self._take_place(self.places[0], word)

    def _take_option(self, name: str, equals: str, value: str) -> None:
        action = self.option(name)
        if action is None:
            return
        self.given.append(action)
        if equals:
            self._value(action, value)
        elif action.nargs != 0:
            self.pending = action

    def _take_place(self, place: argparse.Action, word: str) -> None:
        if isinstance(place, argparse._SubParsersAction):  # noqa: SLF001
            if word in place.choices:
                self._begin(place.choices[word])
            return
        self._value(place, word)
        if place.nargs not in {"+", "*"}:
            self.places.pop(0)

    def _value(self, action: argparse.Action, word: str) -> None:
        if action.metavar == "PRESET":
            self.preset = word

    def option(self, name: str) -> argparse.Action | None:
        """Return what ``name`` is called by in the command that stands here."""
        return next((a for a in self.parser._actions if name in a.option_strings), None)  # noqa: SLF001

    def offers(self, word: str) -> Iterator[Offer]:
        """Return all that may stand in the place of ``word``, whatever it begins with."""
        if self.pending is not None:
            yield from self._of(self.pending, word)
            return
        name, equals, value = word.partition("=")
        if equals and name.startswith("--") and (action := self.option(name)) is not None:
            for offer in self._of(action, value):
                yield Offer(f"{name}={offer.word}", offer.help, offer.path)
        elif word.startswith("-") and not self._only_words:
            yield from self._options()
        elif self.places and not any(a.dest == "run" for a in self.given):
            yield from self._of(self.places[0], word)

    def _options(self) -> Iterator[Offer]:
        for action in self.parser._actions:  # noqa: SLF001
            again = isinstance(action, argparse._AppendAction) or action not in self.given  # noqa: SLF001
            if action.help != argparse.SUPPRESS and again:
                for name in action.option_strings:
                    yield Offer(name, action.help or "")

    def _of(self, action: argparse.Action, word: str) -> Iterator[Offer]:
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for choice in action._choices_actions:  # noqa: SLF001
                yield Offer(choice.dest, choice.help or "")
        elif action.choices is not None:
            yield from (Offer(str(choice)) for choice in action.choices)
        else:
            yield from VALUES[str(action.metavar)](self, word)


# What a value may be, by metavar.
def _nothing(_line: _Line, _word: str) -> Iterator[Offer]:
    yield from ()


def _presets(_line: _Line, word: str) -> Iterator[Offer]:
    for path in sorted(shipped_folder().glob("*.toml")):
        yield Offer(path.stem, str(_table(path).get("description", "")))
    yield from _paths(word, lambda name: name.endswith(".toml"))


def _files(_line: _Line, word: str) -> Iterator[Offer]:
    yield from _paths(word, lambda _name: True)


def _folders(_line: _Line, word: str) -> Iterator[Offer]:
    yield from _paths(word, lambda _name: False)


def _paths(word: str, fits: Callable[[str], bool]) -> Iterator[Offer]:
    """List the folder that ``word`` lies in: its folders, and the files that fit."""
    head, slash, begin = word.rpartition("/")
    try:
        with os.scandir(from_home(head + slash) if slash else ".") as entries:
            found = sorted((entry.name, entry.is_dir()) for entry in entries)
    except OSError:
        return
    for name, is_folder in found:
        hidden = name.startswith(".") and not begin.startswith(".")
        if hidden or clean_line(name, 1000) != name:  # a shell would show what is in it raw
            continue
        if is_folder or fits(name):
            yield Offer(f"{head}{slash}{name}{'/' if is_folder else ''}", path=True)


def _runs(_line: _Line, _word: str) -> Iterator[Offer]:
    from sdcore.runs.store import all_runs  # noqa: PLC0415  # as below: for this value alone

    runs = all_runs()
    if runs:
        yield Offer("last", "the newest run")
    newest = {run.name: run for run in reversed(runs)}
    yield from (Offer(name, newest[name].id) for name in reversed(newest))
    yield from (Offer(run.id) for run in runs)


def _settings(_line: _Line, word: str) -> Iterator[Offer]:
    key, equals, _value = word.partition("=")
    for name, part in _schema_keys():
        if not equals:
            yield Offer(f"{name}=", str(part.get("description", "")))
        elif name == key:
            yield from (Offer(f"{name}={choice}") for choice in _choices(part))


def _variables(line: _Line, _word: str) -> Iterator[Offer]:
    """Offer the platform's variables, and those of the preset that the line names."""
    names = dict(PLATFORM_ENV)
    if line.preset is not None:
        shipped = shipped_folder() / f"{line.preset}.toml"
        own = _table(shipped if shipped.is_file() else Path(from_home(line.preset))).get("env")
        names |= dict.fromkeys(own if isinstance(own, dict) else {}, "")
    for name, setting in names.items():
        if _VARIABLE.fullmatch(name):
            yield Offer(f"{name}=", f"train.{setting}" if setting else "")


VALUES: dict[str, Callable[[_Line, str], Iterator[Offer]]] = {
    "PRESET": _presets, "RUN": _runs, "DIR": _folders, "FILE": _files, "KEY=VALUE": _settings,
    "NAME=VALUE": _variables, "NAME": _nothing, "N": _nothing, "S": _nothing,
}  # fmt: skip


def _table(path: Path) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415

    try:
        if not path.is_file() or path.stat().st_size > _LARGEST:
            return {}
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}


def _schema_keys() -> Iterator[tuple[str, dict[str, Any]]]:
    """Return every key that ``--set`` takes, dotted, with its part of the schema."""
    import json  # noqa: PLC0415

    schema = json.loads((shipped_folder() / SCHEMA).read_text("utf-8"))
    definitions = schema["$defs"]

    def walk(prefix: str, part: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        for name, inner in part["properties"].items():
            refs = [each["$ref"] for each in (inner, *inner.get("anyOf", ())) if "$ref" in each]
            table = definitions[refs[0].rpartition("/")[2]] if refs else inner
            if "properties" in table:
                yield from walk(f"{prefix}{name}.", table)
            elif table.get("type") not in {"object", "array"} or prefix:
                yield f"{prefix}{name}", table

    yield from walk("", schema)


def _choices(part: dict[str, Any]) -> Iterator[str]:
    for each in (part, *part.get("anyOf", ())):
        if each.get("type") == "boolean":
            yield from ("true", "false")
        yield from (str(value) for value in each.get("enum", ()))
        if "const" in each:
            yield str(each["const"])


# The words as the shells hand them over.
def _joined(words: Sequence[str]) -> tuple[list[str], int]:
    """Put together what bash parted, and count what it leaves of the last word by itself."""
    joined: list[str] = []
    kept, glue = 0, False
    for word in words:
        parts = bool(word) and set(word) <= _BREAKS
        if joined and (parts or (glue and not word.startswith("--"))):
            kept = len(_bare(joined[-1])) + (len(word) if parts else 0)
            joined[-1] += word
        else:
            joined.append(word)
            kept = 0
        glue = parts
    return [_bare(word) for word in joined], kept


def _bare(word: str) -> str:
    """Take the quotes off a word, of which the last may not be closed yet."""
    for end in ("", "'", '"'):
        try:
            parts = shlex.split(word + end)
        except ValueError:
            continue
        return " ".join(parts)
    return word.rstrip("\\")


def offers(words: Sequence[str]) -> list[Offer]:
    """Return what may stand in the place of the last of ``words``; the first is the program."""
    *before, word = words[1:] or [""]
    found = _Line(build_parser(), before).offers(word)
    fitting = {o.word: o for o in found if o.word.startswith(word) and _is_safe(o)}
    return list(fitting.values())


def _is_safe(offer: Offer) -> bool:
    """Say whether a shell takes the candidate as it stands, or quotes it as a path."""
    return offer.path or _PLAIN.fullmatch(offer.word) is not None


def complete(argv: Sequence[str]) -> int:
    """Answer a shell: for bash and zsh how to insert, then a candidate a line.

    Args:
        argv: ``bash``, ``zsh`` or ``fish``, then the words up to the cursor.
    """
    shell, *words = argv or ["bash"]
    kept = 0
    if shell == "bash":
        words, kept = _joined(words)
    try:
        found = offers(words)
    except (SdError, OSError):  # nobody asked for words about it
        found = []
    if shell == "fish":
        lines = [f"{o.word}\t{clean_line(o.help, 80)}" if o.help else o.word for o in found]
    else:
        lines = ["files" if any(o.path for o in found) else "plain"]
        lines += [o.word[kept:] for o in found]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0
