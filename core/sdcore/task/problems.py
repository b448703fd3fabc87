"""From a validation error to what a person has to change: file, line, key, nearest right key."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from sdcore.errors import UsageError
from sdcore.names import NAME_RULE
from sdcore.task.platform_env import PLATFORM_ENV
from sdcore.task.spec import TaskSpec
from sdcore.task.train_spec import TrainSpec
from sdcore.text import clean_line

Path = tuple[str | int, ...]
_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?")
_KEY = re.compile(r"""^\s*("[^"]*"|'[^']*'|[A-Za-z0-9_-]+)((?:\s*\.\s*[A-Za-z0-9_-]+)*)\s*=""")
# The key that a message about the whole task begins with, and what to do about what it says.
_MENTIONED = re.compile(r"(env\.\w+|train\.\w+|env|metrics|image|runtime)\b")
_ADVICE = (
    ("is not the name of a variable", "write letters, digits and _, and no digit first"),
    ("needs the name of an image", 'write image = "registry/name:tag", or leave runtime out'),
    ("and [metrics] says where", "remove [metrics], or write a command"),
    ("must be an absolute path without", 'write for example target = "/mnt/dataset"'),
    ("would cover a folder of the system", "choose a target below /mnt"),
    ("is the run's own output folder", "choose a target below /mnt"),
    ("with : or , cannot be mounted", "name a folder without them, or a link to this one"),
    ("a line break or a tab", "name a folder without them, or a link to this one"),
    ("two mounts have the target", "give one of them another target"),
    ("lies inside the target", "mount them side by side, for example below /mnt"),
    ("leaves no time to train", "write a time_limit that is longer than grace_s"),
    ("cannot be used: ", "remove it from cluster.extra"),
    ("there is one process for each GPU", "leave gpu.processes out"),
)
# What a person writes where a value has another form.
_EXAMPLES = {
    "cluster.time_limit": '"1-00:00:00"', "cluster.mem": '"64G"', "cluster.partition": '"gpu"',
    "cluster.account": '"my-group"', "cluster.qos": '"normal"', "cluster.constraint": '"h800"',
    "cluster.extra": '["--exclusive", "--reservation=x"]',
}  # fmt: skip
_BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
_QUOTES = re.compile(r'"""|\'\'\'')


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a preset."""

    where: str  # "preset.toml:12" or "--set train.seed=x"
    key: str  # "train.resolution"
    cause: str
    remedy: str


class PresetError(UsageError):
    """A preset, or what the command line adds to it, is not a task."""

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        first = problems[0]
        if len(problems) == 1:
            what, cause = f"{first.where}: {first.key}", first.cause
        else:
            what = f"{source}: {len(problems)} problems"
            cause = "\n          ".join(
                f"{p.where}: {p.key}: {p.cause}; {p.remedy}" for p in problems
            )
        remedy = first.remedy if len(problems) == 1 else "mend the lines above"
        super().__init__(what, cause=cause, remedy=remedy)


def key_lines(text: str) -> dict[Path, int]:
    """Return the line of every key and table of a TOML text, by its path.

    A table of an array has its index in the path; multi-line strings are passed over.
    """
    lines: dict[Path, int] = {}
    table: Path = ()
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        began = inside
        inside ^= len(_QUOTES.findall(line)) % 2 == 1
        if began:
            continue
        if header := _HEADER.match(line):
            table = _split(header.group(2))
            if header.group(1) == "[[":
                count = sum(1 for path in lines if path[:-1] == table and isinstance(path[-1], int))
                table = (*table, count)
            lines[table] = number
        elif key := _KEY.match(line):
            path = (*table, *_split(key.group(1) + key.group(2)))
            lines.setdefault(path, number)
    return lines


def _split(dotted: str) -> Path:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))


def line_of(lines: dict[Path, int], path: Path) -> int | None:
    """Return the line of ``path`` or of its nearest parent that has one."""
    while path:
        if path in lines:
            return lines[path]
        path = path[:-1]
    return None


def dotted(path: Path) -> str:
    """Write a path as a person would: ``mounts[0].target``."""
    written = ""
    for part in path:
        written += f"[{part}]" if isinstance(part, int) else f".{part}" if written else str(part)
    return clean_line(written, 80)


def explain(error: ValidationError) -> list[tuple[Path, str, str]]:
    """Return (path, cause, remedy) for each thing pydantic found."""
    found = []
    for item in error.errors(include_url=False):
        path: Path = tuple(item["loc"])
        if item["type"] == "extra_forbidden":
            found.append((path, "no such key", _nearest(path)))
            continue
        message = item["msg"].removeprefix("Value error, ")
        cause = message[:1].lower() + message[1:]
        if item["type"] == "string_too_short":
            found.append((path, "it is empty", f"write something, or leave {dotted(path)} out"))
            continue
        value = item.get("input")
        if isinstance(value, str | int | float) and "hub_token" not in cause:
            cause += f" (it is {clean_line(repr(value), 60)})"
        mentioned = _MENTIONED.match(cause)
        if not path and mentioned:
            path = _split(mentioned.group(1))
        if item["type"] == "string_pattern_mismatch" and path == ("name",):
            cause = f"{clean_line(repr(value), 80)} cannot name a run: {NAME_RULE}"
        found.append((path, clean_line(cause, 400), _remedy(path, item)))
    return found


def _remedy(path: Path, item: Any) -> str:
    unit = ""
    if (
        len(path) == 2
        and path[0] == "train"
        and (field := TrainSpec.model_fields.get(str(path[1])))
    ):
        extra = field.json_schema_extra
        unit = f" ({extra['unit']})" if isinstance(extra, dict) and "unit" in extra else ""
    if item["type"] == "missing":
        return f"add {dotted(path)}"
    for said, advice in _ADVICE:
        if said in item["msg"]:
            return advice
    if item["type"].endswith("_type") or item["type"].endswith("_parsing"):
        wanted = item["type"].removesuffix("_type").removesuffix("_parsing")
        words = {"string": "text in quotes", "int": "a whole number", "bool": "true or false",
                 "float": "a number", "tuple": "a list", "dict": "a table"}  # fmt: skip
        return f"write {words.get(wanted, wanted)}{unit}"
    if path == ("name",):
        return "choose another name, for example pokemon-sd"
    if item["type"] == "multiple_of":
        below = item["input"] // item["ctx"]["multiple_of"] * item["ctx"]["multiple_of"]
        return f"write {below or item['ctx']['multiple_of']}{unit}"
    return _limit(path, item, unit) or (
        f"change {dotted(path)}{unit}" if path else "change one of them"
    )


def _limit(path: Path, item: Any, unit: str) -> str | None:
    """Say what may be written, where pydantic tells the limit or an example is known."""
    known = item.get("ctx") or {}
    for name, words in _BOUNDS.items():
        if name in known:
            return f"write {words} {known[name]:g}{unit}"
    if "expected" in known:
        return f"write one of {known['expected'].replace(' or ', ', ')}"
    example = _EXAMPLES.get(dotted(path[:2]))
    return None if example is None else f"write for example {example}"


def _nearest(path: Path) -> str:
    wrong = str(path[-1])
    names = _fields_at(path[:-1])
    close = difflib.get_close_matches(wrong, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]}?"
    if wrong in PLATFORM_ENV:
        return f"write it in [env], or train.{PLATFORM_ENV[wrong]} in [train]"
    if wrong in TrainSpec.model_fields:
        return "it belongs in [train]"
    if wrong in TaskSpec.model_fields:
        return "it belongs above the first table"
    close = difflib.get_close_matches(wrong, list(TrainSpec.model_fields), n=1, cutoff=0.75)
    if close:
        return f"did you mean {close[0]} in [train]?"
    return f"remove it; the keys here are {', '.join(sorted(names)[:12])}"


def _fields_at(path: Path) -> list[str]:
    model: Any = TaskSpec
    for part in path:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part)
        model = _model_in(field.annotation) if field else None
        if model is None:
            return []
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in get_args(annotation):
        if found := _model_in(part):
            return found
    return None
