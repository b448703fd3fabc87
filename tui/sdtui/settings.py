"""What a person has set of the console: ``[console]`` in their own ``config.toml``.

A value that makes no sense falls back to its default and is told once; a console that refuses to
open over a colour would be worse than the wrong colour.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from sdcore.errors import UsageError
from sdcore.runs.files import write_bytes
from sdcore.runs.paths import make_private
from sdcore.text import clean_line
from sdtui.language import LANGUAGES

CHOICES: dict[str, tuple[str, ...]] = {
    "language": ("auto", *LANGUAGES),
    "link": ("auto", "slow", "fast"),
    "frames": ("changed", "stock"),
}


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
        read_only: Only look: nothing is started, stopped, changed or deleted. Not kept.
        keys: Keys by the id of what they do, e.g. ``{"run.stop": "S"}``.
        chart: How the chart was left: smoothing, scales.
        problems: What of the file was passed over, in words. Not kept.
    """

    theme: str = "sdtui-dark"
    language: str = "auto"
    link: str = "auto"
    frames: str = "changed"
    mouse: bool = True
    read_only: bool = False
    keys: Mapping[str, str] = field(default_factory=dict)
    chart: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

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
        table = tomllib.loads(path.read_text("utf-8")).get("console", {})
    except FileNotFoundError:
        return Settings()
    except (OSError, ValueError, RecursionError) as error:
        return Settings(problems=(f"{path}: {clean_line(str(error), 120)}",))
    if not isinstance(table, dict):
        return Settings(problems=(f"{path}: console is not a table",))
    known = {each.name: each for each in fields(Settings) if each.name not in _NOT_KEPT}
    taken: dict[str, Any] = {}
    problems = []
    for key, value in table.items():
        if key not in known:
            problems.append(f"{path}: console.{clean_line(key, 40)}: no such setting")
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


def _cannot_be(key: str, value: Any) -> str:
    return f"{settings_file()}: console.{key}: cannot be {clean_line(repr(value), 40)}"


def _fits(key: str, value: Any) -> bool:
    if key in CHOICES:
        return value in CHOICES[key]
    if key == "keys":
        return isinstance(value, dict) and all(isinstance(v, str) for v in value.values())
    return isinstance(value, type(getattr(Settings(), key))) or (
        key == "chart" and isinstance(value, dict)
    )


def save_settings(settings: Settings) -> None:
    """Write what differs from the defaults, keeping the rest of the file and its comments.

    Raises:
        UsageError: The file cannot be read as TOML or not be written; it is left as it is.
    """
    import tomlkit  # noqa: PLC0415  # 40 ms that only a change of settings needs
    from tomlkit.exceptions import TOMLKitError  # noqa: PLC0415

    path, default = settings_file(), Settings()
    try:
        text = path.read_text("utf-8") if path.exists() else ""
        document = tomlkit.parse(text)
        table = document.setdefault("console", tomlkit.table())
        for each in fields(Settings):
            value = getattr(settings, each.name)
            if each.name in _NOT_KEPT:
                continue
            if value != getattr(default, each.name):
                table[each.name] = dict(value) if isinstance(value, Mapping) else value
            else:
                table.pop(each.name, None)
        make_private(path.parent)
        write_bytes(path, tomlkit.dumps(document).encode())
    except (OSError, TOMLKitError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path} cannot be changed",
            cause=clean_line(str(error), 200),
            remedy="mend or move the file; the setting counts until the console is left",
        ) from error
