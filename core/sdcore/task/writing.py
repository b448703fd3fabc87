"""Writes a task as a preset, keeping the comments and the order of an existing one."""

from collections.abc import MutableMapping
from typing import Any

import tomlkit
from tomlkit.items import AoT, Table

from sdcore.task.spec import TaskSpec


def to_table(task: TaskSpec, *, resolved: bool = False) -> dict[str, Any]:
    """Return the task as plain TOML data.

    Args:
        task: The task.
        resolved: Write every setting of the built-in trainer, defaults included, so that a
            later version with other defaults reads the same task.
    """
    table = _without_none(task.model_dump(mode="json", exclude_unset=True))
    if resolved and task.command is None:
        table["train"] = _without_none(task.effective_train().model_dump(mode="json"))
    return table


def dump_preset(task: TaskSpec, original: str = "", *, resolved: bool = False) -> str:
    """Return the text of a preset.

    Args:
        task: What to write.
        original: The text that is replaced: its comments, order and layout are kept.
        resolved: See ``to_table``.
    """
    document = tomlkit.parse(original)
    _overlay(document, to_table(task, resolved=resolved))
    return tomlkit.dumps(document)


def _without_none(table: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in table.items()
        if value is not None
    }


def _overlay(document: MutableMapping[str, Any], table: dict[str, Any]) -> None:
    for key in [key for key in document if key not in table]:
        del document[key]
    for key, value in table.items():
        old = document.get(key)
        if isinstance(value, dict) and isinstance(old, MutableMapping):
            _overlay(old, value)
        elif isinstance(old, AoT) and len(old) == len(value):
            for inner, new in zip(old, value, strict=True):
                _overlay(inner, new)
        elif key not in document or _plain(old) != value or type(_plain(old)) is not type(value):
            document[key] = _item(value)


def _plain(item: Any) -> Any:
    return item.unwrap() if hasattr(item, "unwrap") else item


def _item(value: Any) -> Any:
    if isinstance(value, dict):
        table = tomlkit.table()
        for key, inner in value.items():
            table.add(key, _item(inner))
        return table
    if isinstance(value, list) and value and all(isinstance(inner, dict) for inner in value):
        array = tomlkit.aot()
        for inner in value:
            item = _item(inner)
            assert isinstance(item, Table)
            array.append(item)
        return array
    return tomlkit.item(value)
