"""Presets: a task as a TOML file. ``tomllib`` reads; ``tomlkit`` writes and keeps comments."""

import os
import re
import stat
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sdcore.errors import UsageError
from sdcore.names import check_name
from sdcore.task.image import is_file
from sdcore.task.platform_env import PLATFORM_ENV
from sdcore.task.problems import PresetError, Problem, dotted, explain, key_lines, line_of
from sdcore.task.shipped import shipped_folder
from sdcore.task.spec import TaskSpec
from sdcore.text import clean_line, from_home

# tomllib needs 2.8 s for a 32 kB dotted key of 16,000 parts, quadratic in the parts.
_MAX_BYTES = 64 * 1024
_MAX_KEY_PARTS = 32
_TABLES = ("gpu", "env", "train", "cluster", "metrics", "hooks")


@dataclass(frozen=True, slots=True)
class Preset:
    """A task and where it came from."""

    task: TaskSpec
    source: Path


@dataclass(frozen=True, slots=True)
class ShippedPreset:
    """A preset that comes with the program."""

    name: str
    description: str
    path: Path


def shipped() -> list[ShippedPreset]:
    """Return the shipped presets by name."""
    found = []
    for path in sorted(shipped_folder().glob("*.toml")):
        head = tomllib.loads(path.read_text("utf-8"))
        found.append(ShippedPreset(path.stem, str(head.get("description", "")), path))
    return found


def locate(ref: str) -> Path:
    """Return the file of a preset: a path, the name of a shipped one, or a project's folder.

    Raises:
        UsageError: There is no such file.
    """
    path = Path(from_home(ref))
    inside = path / "task.toml"
    if "/" in ref and inside.is_file():
        return inside
    if path.is_file() or "/" in ref or ref.endswith(".toml"):
        return path
    named = shipped_folder() / f"{ref}.toml"
    if named.is_file():
        return named
    if inside.is_file():
        return inside
    raise UsageError(
        f"there is no preset {clean_line(ref, 80)!r}",
        cause="it is neither a file nor the name of a shipped preset",
        remedy=f"give a path, or one of: {', '.join(preset.name for preset in shipped())}",
    )


def read_table(path: Path) -> tuple[dict[str, Any], str]:
    """Read a TOML file of bounded size and return its table and text.

    Raises:
        UsageError: It cannot be read, is too large, or is no TOML.
    """
    shown = clean_line(str(path), 200)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UsageError(
                f"{shown} is not a file",
                cause="a preset is a TOML file"
                + (", and this folder has no task.toml" if path.is_dir() else ""),
                remedy="give its path",
            )
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(
            f"{shown} cannot be read", cause=str(error.strerror), remedy="check the path"
        ) from error
    text = content.decode("utf-8", errors="replace").removeprefix("\ufeff")
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    parts = max((line.partition("=")[0].count(".") for line in lines), default=0)
    if len(content) > _MAX_BYTES or parts >= _MAX_KEY_PARTS:
        has = f"over {_MAX_BYTES:,} bytes"
        if len(content) <= _MAX_BYTES:
            has = f"a key of over {_MAX_KEY_PARTS} parts"
        raise UsageError(
            f"{shown} is not a preset",
            cause=f"it has {has}",
            remedy="give a preset; keep what is long in a file and write its path",
        )
    try:
        return tomllib.loads(text), text
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{shown} is not valid TOML", cause=clean_line(str(error)), remedy="mend that line"
        ) from error


def load_preset(
    ref: str | Path,
    *,
    sets: Sequence[str] = (),
    env: Sequence[str] = (),
    name: str | None = None,
) -> Preset:
    """Load a preset and lay the user's wishes over it.

    Precedence: these arguments, ``SDTUI_*`` variables, the preset, the user's own defaults.

    Args:
        ref: A path or the name of a shipped preset.
        sets: ``key=value`` with a dotted key; the value is TOML, else taken as text.
        env: ``NAME=value`` for the environment table.
        name: The run's name.

    Raises:
        PresetError: With file, line and key of everything that is wrong.
        UsageError: The file cannot be read, or the name is taken.
    """
    path = locate(str(ref)).absolute()
    table, text = read_table(path)
    merged = _merge(_user_defaults(), table)
    origins: dict[tuple[str, ...], str] = {("name",): "--name"} if name is not None else {}
    merged.setdefault("name", _name_of(path))
    for wish, label in [*_wishes_of_environment(), *[(w, f"--set {w}") for w in sets]]:
        origins[_apply_set(merged, wish, label)] = label
    for wish in env:
        origins[_apply_env(merged, wish)] = f"--env {wish.partition('=')[0]}"
    if name is not None:
        merged["name"] = name
    try:
        task = TaskSpec.model_validate(merged)
    except ValidationError as error:
        lines = key_lines(text)
        problems = [
            Problem(_where(path, lines, origins, at), dotted(at) or "task", cause, remedy)
            for at, cause, remedy in explain(error)
        ]
        raise PresetError(path.name, problems) from None
    check_name(task.name)  # here, where nothing has been made yet
    return Preset(resolve_sources(task, path.parent), path)


def _name_of(path: Path) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-._")[:64] or "task"


def _where(path: Path, lines: dict[Any, int], origins: dict[Any, str], at: Any) -> str:
    for depth in range(len(at), 0, -1):
        if at[:depth] in origins:
            return clean_line(origins[at[:depth]], 120)
    line = line_of(lines, at)
    return f"{clean_line(path.name, 80)}:{line}" if line else clean_line(path.name, 80)


def resolve_sources(task: TaskSpec, base: Path) -> TaskSpec:
    """Return ``task`` with what it names of this host absolute: mount sources, an image's file.

    Relative ones start at ``base``: the run itself starts in another folder.
    """

    def absolute(path: str) -> str:
        return os.path.normpath(base / from_home(path))

    known: dict[str, Any] = {}  # only what is named: the rest must not look as if it was written
    if task.mounts:
        sources = ((mount, absolute(mount.source)) for mount in task.mounts)
        known["mounts"] = tuple(m.model_copy(update={"source": source}) for m, source in sources)
    if task.image is not None and is_file(task.image):
        known["image"] = absolute(task.image)
    return task.model_copy(update=known) if known else task


def _user_defaults() -> dict[str, Any]:
    config = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
    path = config / "sdtui" / "config.toml"
    if not path.is_file():
        return {}
    defaults = read_table(path)[0].get("defaults", {})
    return defaults if isinstance(defaults, dict) else {}


def _wishes_of_environment() -> list[tuple[str, str]]:
    """Read ``SDTUI_GPU__COUNT=0`` as ``--set gpu.count=0``, ``SDTUI_RUNTIME`` as ``runtime``."""
    wishes = []
    for variable, value in sorted(os.environ.items()):
        key = variable.removeprefix("SDTUI_").lower()
        table, _, rest = key.partition("__")
        if not variable.startswith("SDTUI_"):
            continue
        if (rest and table in _TABLES) or key in {"runtime", "image"}:
            wishes.append((f"{key.replace('__', '.')}={value}", variable))
    return wishes


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[key] = _merge(old, value) if both else value  # type: ignore[arg-type]
    return merged


def _apply_set(table: dict[str, Any], wish: str, label: str) -> tuple[str, ...]:
    key, equals, value = wish.partition("=")
    path = tuple(part.strip() for part in key.split("."))
    if not equals or not all(path):
        raise UsageError(
            f"{clean_line(label, 120)} cannot be read",
            cause="it has the form key=value, with a dotted key",
            remedy="write for example --set train.learning_rate=1e-5",
        )
    inner = table
    for part in path[:-1]:
        inner = inner.setdefault(part, {})
        if not isinstance(inner, dict):
            raise UsageError(
                f"{clean_line(label, 120)} cannot be set",
                cause=f"{part} is not a table",
                remedy="run `sdtui schema` to see the keys",
            )
    inner[path[-1]] = value if path[0] == "env" else _toml_value(value)
    if path[0] == "train":  # the flag wins over the platform's variable of the same meaning
        for variable, setting in PLATFORM_ENV.items():
            if setting == path[-1]:
                _table(table, "env").pop(variable, None)
    return path


def _apply_env(table: dict[str, Any], wish: str) -> tuple[str, ...]:
    variable, equals, value = wish.partition("=")
    if not equals or not variable:
        raise UsageError(
            "--env cannot be read",  # not repeated: it may hold a secret
            cause="it has the form NAME=value",
            remedy="write for example --env lr=1e-5",
        )
    _table(table, "env")[variable] = value
    if variable in PLATFORM_ENV:
        _table(table, "train").pop(PLATFORM_ENV[variable], None)
    return ("env", variable)


def _table(table: dict[str, Any], name: str) -> dict[str, Any]:
    inner = table.setdefault(name, {})
    return inner if isinstance(inner, dict) else {}


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text
