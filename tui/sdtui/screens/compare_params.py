"""In what the tasks of several runs differ: pure, over the tables of their ``task.toml``."""

from collections.abc import Mapping, Sequence
from typing import Any

from sdcore.masking import MASK, is_secret
from sdcore.text import clean_line

ABSENT = "–"
_DEEPEST = 32  # tables in each other; a key of a thousand dots is damage
_NOT_COMPARED = {"name", "description"}  # they always differ, and stand above the table anyway


def flat(table: Mapping[str, Any], same: Mapping[str, str]) -> dict[str, str]:
    """Return every setting of a task by its dotted key, as clean text and without secrets.

    Args:
        table: The task as TOML data.
        same: Platform variable to the training setting of the same meaning: one row for both.
    """
    found: dict[str, str] = {}
    for key, value in _leaves(table, ()):
        if key[0] in _NOT_COMPARED:
            continue
        if key[0] == "env" and len(key) == 2 and key[1] in same:
            key = ("train", same[key[1]])  # noqa: PLW2901  # told by its one name
            value = _number_of(value)  # noqa: PLW2901
            found[_label(key)] = _shown(key, value)  # the environment is what counts
        else:
            found.setdefault(_label(key), _shown(key, value))
    return found


def _leaves(value: Any, at: tuple[str, ...]) -> list[tuple[tuple[str, ...], Any]]:
    if len(at) == _DEEPEST and isinstance(value, dict | list):
        return [(at, "…")]
    if isinstance(value, dict):
        # The environment first: a value of the platform's name wins over the setting's own.
        items = sorted(value.items(), key=lambda item: not at and item[0] != "env")
        return [leaf for key, inner in items for leaf in _leaves(inner, (*at, str(key)))]
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return [leaf for n, item in enumerate(value) for leaf in _leaves(item, (*at, _at(item, n)))]
    return [(at, value)]


def _at(item: Any, number: int) -> str:
    """Name a mount by where it is mounted, so that another order is no difference."""
    target = item.get("target") if isinstance(item, dict) else None
    return target if isinstance(target, str) else str(number)


def _label(key: tuple[str, ...]) -> str:
    return clean_line(".".join(key), 80)


def _shown(key: tuple[str, ...], value: Any) -> str:
    if is_secret(key[-1]):
        return MASK
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}"
    return clean_line(str(value), 200)


def _number_of(value: Any) -> Any:
    """``"1e-5"`` and ``1e-05`` are one learning rate."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return value
    return int(number) if number.is_integer() and abs(number) < 1e15 else number


def differences(tasks: Sequence[Mapping[str, str]]) -> list[tuple[str, tuple[str, ...]]]:
    """Return the settings that are not the same in all, by key, with each run's value."""
    keys = sorted({key for task in tasks for key in task})
    rows = [(key, tuple(task.get(key, ABSENT) for task in tasks)) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]
