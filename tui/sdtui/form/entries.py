"""The fields of a task as the form shows them, drawn from the models of ``sdcore.task``.

A field that the models gain appears here by itself; only its short label is kept in ``labels``.
"""

import types
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from sdcore.task.hooks import HooksSpec
from sdcore.task.metrics import MetricsSpec
from sdcore.task.spec import ClusterSpec, GpuSpec, TaskSpec
from sdcore.task.train_spec import TrainSpec

Kind = Literal["text", "whole", "number", "switch", "choice", "lines"]
Raw = str | list[str]  # what the form holds of a value: its text, or its lines

_TABLES: dict[str, type[BaseModel]] = {
    "": TaskSpec, "gpu.": GpuSpec, "train.": TrainSpec, "cluster.": ClusterSpec,
    "metrics.": MetricsSpec, "hooks.": HooksSpec,
}  # fmt: skip
_NO_ENTRY = {"gpu", "mounts", "env", "train", "cluster", "metrics", "hooks"}  # tables, not values
_KINDS: dict[Any, Kind] = {bool: "switch", int: "whole", float: "number", tuple: "lines"}
_LIMITS = (("ge", "≥ {}"), ("gt", "> {}"), ("le", "≤ {}"), ("lt", "< {}"))


@dataclass(frozen=True, slots=True)
class Entry:
    """One value of a task.

    Attributes:
        key: Dotted, as ``--set`` takes it: ``train.resolution``.
        kind: What is typed.
        help: One sentence, from the model.
        unit: Of the number.
        limits: As signs: ``≥ 8, ≤ 8192``.
        multiple: The number is a multiple of this.
        default: What counts when it is left out; None when there is no such value.
        choices: The values there are, for a choice.
        group: The part of the training settings it belongs to.
    """

    key: str
    kind: Kind
    help: str
    unit: str | None
    limits: str
    multiple: int | None
    default: Raw | None
    choices: tuple[str, ...]
    group: str

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rpartition(".")[2]


@cache
def entries() -> dict[str, Entry]:
    """Return all entries by key, in the order of the models."""
    return {entry.key: entry for prefix in _TABLES for entry in _of_table(prefix)}


def groups() -> dict[str, list[Entry]]:
    """Return the training settings by group."""
    found: dict[str, list[Entry]] = {}
    for key, entry in entries().items():
        if key.startswith("train."):
            found.setdefault(entry.group, []).append(entry)
    return found


def _of_table(prefix: str) -> Iterator[Entry]:
    for name, field in _TABLES[prefix].model_fields.items():
        if prefix or name not in _NO_ENTRY:
            yield _entry(prefix + name, field)


def _entry(key: str, field: FieldInfo) -> Entry:
    inner = _as_words(_without_none(field.annotation), field.annotation)
    literal = get_origin(inner) is Literal
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    default = None if field.default in {None, PydanticUndefined} else raw_of(field.default)
    return Entry(
        key=key,
        kind="choice" if literal else _KINDS.get(get_origin(inner) or inner, "text"),
        help=field.description or "",
        unit=str(extra["unit"]) if "unit" in extra else None,
        limits=", ".join(_limits(field)),
        multiple=next((m.multiple_of for m in field.metadata if hasattr(m, "multiple_of")), None),
        default=default,
        choices=tuple(str(choice) for choice in get_args(inner)) if literal else (),
        group=str(extra.get("group", "")),
    )


def _as_words(first: Any, annotation: Any) -> Any:
    """Return a switch that also takes words as a choice between them all."""
    words = [a for a in get_args(annotation) if get_origin(a) is Literal]
    return Literal["true", "false", *get_args(words[0])] if first is bool and words else first


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) is Annotated:
        return _without_none(get_args(annotation)[0])
    if get_origin(annotation) in {Union, types.UnionType}:
        return _without_none(next(a for a in get_args(annotation) if a is not type(None)))
    return annotation


def _limits(field: FieldInfo) -> Iterator[str]:
    for name, form in _LIMITS:
        for limit in field.metadata:
            if (value := getattr(limit, name, None)) is not None and abs(value) < 1 << 62:
                yield form.format(value)


def raw_of(value: Any) -> Raw:
    """Write a value as it is typed."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return short if float(short := f"{value:g}") == value else repr(value)
    if isinstance(value, list | tuple):
        return [str(item) for item in value]
    return str(value)


def value_of(key: str, raw: Raw) -> Any:
    """Return what was typed as the model wants it; what does not fit stays text.

    The model then says in its own words what is wrong with it.
    """
    kind = entries()[key].kind
    if kind == "lines" or not isinstance(raw, str):
        return raw if isinstance(raw, list) else raw.splitlines()
    try:
        if kind == "whole":
            return int(raw)
        if kind == "number":
            return float(raw)
    except ValueError:
        return raw
    if kind == "switch" or raw in {"true", "false"}:
        return {"true": True, "false": False}.get(raw, raw)
    return raw
