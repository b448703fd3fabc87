"""What a person has set of the console: ``[console]`` in their own ``config.toml``.

A value that makes no sense falls back to its default and is told once; a console that refuses to
open over a colour would be worse than the wrong colour.
"""

import fcntl
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from sdcore.errors import UsageError
from sdcore.runs.files import write_bytes
from sdcore.runs.paths import make_private
from sdcore.text import clean_line
from sdtui.language import LANGUAGES, N_, _

CHOICES: dict[str, tuple[str, ...]] = {
    "language": ("auto", *LANGUAGES),
    "link": ("auto", "slow", "fast"),
    "frames": ("changed", "stock"),
}


class Problem(NamedTuple):
    """What of the file was passed over; in words when it is shown: the file sets the language."""

    where: str  # file or setting
    why: str  # a template that is marked for translation
    values: tuple[str, ...] = ()

    def __str__(self) -> str:
        return _("{where}: {why}").format(where=self.where, why=_(self.why).format(*self.values))


@dataclass(frozen=True, slots=True)
class Settings:
    """The console's settings.

    Attributes:
        theme: Name of a theme of ours or of Textual's.
        language: ``auto`` or a key of ``language.LANGUAGES``.
        link: How often the screen is brought up to date: ``slow`` once a second, ``fast`` four
            times; ``auto`` is slow over SSH.
        frames: ``changed`` sends changed cells only; ``stock`` sends what Textual sends.
        mouse: Take the mouse from the terminal.
        bell: Ring when a run ends that was seen to live, also in ``attach`` and ``--run``.
        read_only: Only look: nothing is started, stopped, changed or deleted. Not kept.
        keys: Keys by the id of what they do, e.g. ``{"run.stop": "S"}``.
        chart: How the chart was left: smoothing, scales.
        problems: What of the file was passed over. Not kept.
    """

    theme: str = "sdtui-dark"
    language: str = "auto"
    link: str = "auto"
    frames: str = "changed"
    mouse: bool = True
    bell: bool = True
    read_only: bool = False
    keys: Mapping[str, str] = field(default_factory=dict)
    chart: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    @property
    def slow(self) -> bool:
        """Say whether bytes are dear."""
        if self.link != "auto":
            return self.link == "slow"
        return any(os.environ.get(name) for name in ("SSH_CONNECTION", "SSH_TTY", "SSH_CLIENT"))

    @property
    def period_s(self) -> float:
        """Seconds between two looks at the runs."""
        return 1.0 if self.slow else 0.25


_NOT_KEPT = {"problems", "read_only"}


def settings_file() -> Path:
    """Return the file of a person's settings; it may not exist."""
    config = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config")
    try:
        return config.expanduser() / "sdtui" / "config.toml"
    except RuntimeError:  # no home
        return Path("/nonexistent/sdtui/config.toml")


def load_settings() -> Settings:
    """Read the settings; what cannot be read is named in ``problems``."""
    path = settings_file()
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return Settings()
    except (OSError, ValueError) as error:
        return Settings(problems=(_unread(path, error),))
    import tomllib  # noqa: PLC0415  # most people have no such file

    try:
        table = tomllib.loads(text).get("console", {})
    except (ValueError, RecursionError) as error:
        return Settings(problems=(_unread(path, error),))
    if not isinstance(table, dict):
        return Settings(problems=(Problem(str(path), N_("console is not a table")),))
    known = {each.name: each for each in fields(Settings) if each.name not in _NOT_KEPT}
    taken: dict[str, Any] = {}
    problems = []
    for key, value in table.items():
        if key not in known:
            problems.append(
                Problem(f"{path}: console.{clean_line(key, 40)}", N_("no such setting"))
            )
        elif not _fits(key, value):
            problems.append(_cannot_be(key, value))
        else:
            taken[key] = value
    return replace(Settings(), **taken, problems=tuple(problems))


def without(settings: Settings, key: str) -> Settings:
    """Return the settings with the default for ``key``, and why among the problems."""
    problem = _cannot_be(key, getattr(settings, key))
    default = getattr(Settings(), key)
    return replace(settings, **{key: default}, problems=(*settings.problems, problem))


def _cannot_be(key: str, value: Any) -> Problem:
    where = f"{settings_file()}: console.{key}"
    return Problem(where, N_("cannot be {}"), (clean_line(repr(value), 40),))


def _unread(path: Path, error: Exception) -> Problem:
    return Problem(str(path), N_("it cannot be read: {}"), (clean_line(str(error), 120),))


def _fits(key: str, value: Any) -> bool:
    if key in CHOICES:
        return value in CHOICES[key]
    if key == "keys":
        return isinstance(value, dict)  # ``keymap`` judges each, when the app knows keys
    return isinstance(value, type(getattr(Settings(), key))) or (
        key == "chart" and isinstance(value, dict)
    )


def save_changes(path: Path, changes: Mapping[str, Any]) -> None:
    """Write settings that were changed into what the file holds by now; a default is left out.

    All else in it stays, with its comments: another console may have written there meanwhile.

    Args:
        path: ``settings_file``, as it was when the change was made.
        changes: New values by the names of ``Settings``.

    Raises:
        UsageError: The file cannot be read as TOML or not be written; it is left as it is.
    """
    import tomlkit  # noqa: PLC0415  # 40 ms that only a change of settings needs
    from tomlkit.exceptions import TOMLKitError  # noqa: PLC0415

    default = Settings()
    try:
        make_private(path.parent)
        with _alone_in(path.parent):
            document = tomlkit.parse(path.read_text("utf-8") if path.exists() else "")
            table = document.setdefault("console", tomlkit.table())
            for key, value in changes.items():
                if value == getattr(default, key):
                    table.pop(key, None)
                else:
                    table[key] = dict(value) if isinstance(value, Mapping) else value
            # Through a link: a person's own files may lie elsewhere.
            write_bytes(path.resolve(), tomlkit.dumps(document).encode())
    except (OSError, TOMLKitError, ValueError, TypeError, AttributeError) as error:
        raise UsageError(
            _("{file} cannot be changed").format(file=clean_line(str(path))),
            cause=clean_line(str(getattr(error, "strerror", None) or error), 200),
            remedy=_("mend it or make room; the setting counts until the console is left"),
        ) from error


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other consoles out between reading and writing, where the file system can."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class Keeper:
    """Keeps changes of the settings, in their order, in a thread: a disk may take its time.

    Args:
        told: Called from the thread with what could not be kept; once, until something can.
    """

    def __init__(self, told: Callable[[UsageError], object]) -> None:
        self._told = told
        self._lock, self._waiting = threading.Lock(), dict[str, Any]()
        self._thread: threading.Thread | None = None
        self._trouble = ""

    def keep(self, changes: Mapping[str, Any]) -> None:
        """Have these settings written; of several values of one the last counts."""
        with self._lock:
            self._waiting |= {key: v for key, v in changes.items() if key not in _NOT_KEPT}
            if self._thread is None and self._waiting:
                # No daemon: who changes a theme and leaves at once wants that theme tomorrow.
                self._thread = threading.Thread(
                    target=self._work, args=(settings_file(),), name="sdtui-settings"
                )
                self._thread.start()

    def wait(self, seconds: float) -> None:
        """Wait until everything is written, but not for ever."""
        thread = self._thread
        if thread is not None:
            thread.join(seconds)

    def _work(self, path: Path) -> None:
        while changes := self._next():
            try:
                save_changes(path, changes)
                self._trouble = ""
            except UsageError as error:
                if str(error) != self._trouble:
                    self._trouble = str(error)
                    self._told(error)

    def _next(self) -> dict[str, Any]:
        """Return what waits; with nothing left, the thread is no more."""
        with self._lock:
            changes, self._waiting = self._waiting, {}
            if not changes:
                self._thread = None
            return changes
