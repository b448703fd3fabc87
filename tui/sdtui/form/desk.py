"""The state of the form that outlives its screen: the draft, where it came from, what is known.

A screen can be rebuilt at any time (another language, another size); the desk of an app stays.
"""

import asyncio
import math
import re
import tempfile
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from textual.app import App

from sdcore.errors import SdError
from sdcore.launch.plan import LaunchPlan
from sdcore.launch.planner import plan_launch
from sdcore.runs.paths import RunDir, new_run_id, runs_root
from sdcore.task.platform_env import PLATFORM_ENV
from sdcore.task.presets import Preset, load_preset, resolve_sources
from sdcore.task.shipped import shipped_folder
from sdcore.task.spec import Mount, TaskSpec
from sdcore.task.writing import dump_preset, to_table
from sdcore.text import clean_line
from sdtui.form.aside import patiently
from sdtui.form.draft import Draft, FormProblem
from sdtui.form.drafts import Record, read_draft
from sdtui.form.entries import Raw, raw_of
from sdtui.form.facts import Look
from sdtui.form.paths import here
from sdtui.keymap import keyed
from sdtui.language import _, ngettext
from sdtui.told import told_of, told_why

# What the helper needs to know of the training settings to find model and data.
_NAMES = (
    "pretrained_model_name_or_path", "revision", "variant", "cache_dir", "dataset_name",
    "dataset_config_name", "train_data_dir", "image_column", "caption_column",
    "max_train_samples", "seed",
)  # fmt: skip
_AROUND = ("command", "image", "runtime")  # what a task may be surrounded with
SECTIONS = ("basics", "mounts", "gpu", "command", "env", "training", "cluster", "review")
_SECTION_OF = {
    "name": "basics", "description": "basics", "mounts": "mounts", "image": "gpu",
    "runtime": "gpu", "gpu": "gpu", "command": "command", "env": "env", "train": "training",
    "cluster": "cluster", "metrics": "command", "hooks": "command",
}  # fmt: skip


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def section_of(key: str) -> str:
    """Return the section in which a field stands."""
    return _SECTION_OF.get(key.partition(".")[0], "review")


def _place(problem: FormProblem) -> int:
    """Return what sorts problems as they stand on the form."""
    return SECTIONS.index(section_of(problem.key))


@dataclass(slots=True, weakref_slot=True)
class Desk:
    """The form of one console.

    Attributes:
        draft: What is typed.
        origin: The preset it was loaded from or saved to; None for a new one.
        note: A line about where the draft came from.
        task: The task it makes; None while there are problems.
        problems: What is wrong with it.
        look: What the helper found.
        section: The open one.
        typed: Something was typed since it was loaded; it must not be thrown away unasked.
        report: What the last check found, and the task it was about.
        opened: Names the run in the command that is shown.
        ready: The draft of an earlier console was looked for; before, there is no form to show.
        laying_out: Held while it is looked for.
    """

    draft: Draft = field(default_factory=Draft)
    origin: Path | None = None
    note: str = ""
    task: TaskSpec | None = None
    problems: list[FormProblem] = field(default_factory=list)
    look: Look = field(default_factory=Look)
    section: str = "basics"
    typed: bool = False
    report: tuple[TaskSpec, dict[str, Any]] | None = None
    opened: datetime = field(default_factory=lambda: datetime.now().astimezone())
    ready: bool = False
    laying_out: asyncio.Lock = field(default_factory=asyncio.Lock)

    def take(self, task: TaskSpec, origin: Path | None = None, note: str = "") -> None:
        """Put a task into the form."""
        self.draft = Draft.from_task(task)
        self.origin, self.note, self.typed, self.report = origin, note, False, None
        self.look = Look(self.look.host)
        self.opened = datetime.now().astimezone()
        self.judge()

    def edit(self, key: str, raw: Raw) -> None:
        """Take what was typed into a field.

        Args:
            key: A dotted key, ``env.NAME`` or ``mounts.0.source``; ``name_of.NAME`` is the name
                itself of a variable.
            raw: What stands in the field.
        """
        head, _dot, rest = key.partition(".")
        text = raw if isinstance(raw, str) else ""
        if head == "env":
            self.draft.set_variable(rest, text)
        elif head == "name_of":
            self.draft.rename_variable(rest, text)
        elif head == "mounts":
            number, _dot, part = rest.partition(".")
            row = self.draft.mounts[int(number)]
            if part == "read_only":
                row.read_only = None if not text else text == "true"
            else:
                setattr(row, part, text)
        elif key == "own_command":
            self.draft.own_command = text == "true"
        elif key == "cluster":
            self.draft.cluster = text == "true"
        else:
            self.draft.set(key, raw)
        self.typed = True

    def raw(self, key: str) -> Raw:
        """Return what stands in a field; the other way round of ``edit``."""
        head, _dot, rest = key.partition(".")
        if head == "env":
            row = self.draft.variable(rest)
            return row.value if row else ""
        if head == "mounts":
            number, _dot, part = rest.partition(".")
            if int(number) >= len(self.draft.mounts):
                return ""  # removed; its row on the screen goes in a moment
            value = getattr(self.draft.mounts[int(number)], part)
            return "" if value is None else raw_of(value)
        if key == "own_command":
            return raw_of(self.draft.own_command)
        return raw_of(self.draft.cluster) if key == "cluster" else self.draft.get(key)

    def judge(self) -> None:
        """Find out whether what stands in the form is a task."""
        self.task, found = self.draft.task()
        self.problems = sorted(found, key=_place)

    def final_task(self) -> TaskSpec | None:
        """Return the task with its folders as they lie on this host."""
        return resolve_sources(self.task, here()) if self.task else None

    def troubles(self) -> list[FormProblem]:
        """Return what is wrong, also with what lies at the paths and with this host's GPUs."""
        told = {problem.key for problem in self.problems}
        seen = [trouble for trouble in self._seen() if trouble.key not in told]
        return sorted([*self.form_troubles(), *seen], key=_place)

    def form_troubles(self) -> list[FormProblem]:
        """Return what is wrong with what was typed: a check finds the rest, and says more of it."""
        return [*self.problems, *(self._no_numbers() if self.draft.own_command else [])]

    def _seen(self) -> Iterator[FormProblem]:
        for number, mount in enumerate(self.draft.mounts):
            verdict = self.look.verdict(mount.target) if mount.source else None
            if verdict is not None and verdict.level == "bad":
                yield FormProblem(f"mounts.{number}.source", verdict.words, "")
        if (trouble := self.gpu_trouble()) is not None:
            yield trouble

    def _no_numbers(self) -> list[FormProblem]:
        """Return which of the platform's variables an own command would find no number in.

        The built-in trainer reads them itself, and the task's own check says what is wrong.
        """
        rows = [(name, self.draft.variable(name)) for name in PLATFORM_ENV]
        return [
            FormProblem(f"env.{name}", _("it must be a number"), _("write a number, or remove it"))
            for name, row in rows
            if row is not None and row.value.strip() and not _is_number(row.value)
        ]

    def gpu_trouble(self) -> FormProblem | None:
        """Say that this host has fewer GPUs than the task wants."""
        typed, have = self.draft.get("gpu.count") or "1", len(self.look.gpus)
        wanted = int(typed) if isinstance(typed, str) and typed.isdecimal() else 0
        if not self.look.known or self.draft.cluster or wanted <= have:
            return None
        if not have:
            cause = _("this host has no GPU")
            return FormProblem("gpu.count", cause, _("type 0 to train on the CPU"))
        cause = ngettext("this host has {n} GPU", "this host has {n} GPUs", have).format(n=have)
        return FormProblem("gpu.count", cause, _("type {n} or less").format(n=have))

    def problem(self, key: str) -> FormProblem | None:
        """Return what is wrong with a field."""
        return next((problem for problem in self.problems if problem.key == key), None)

    def launch(self) -> LaunchPlan | SdError | None:
        """Return what would be started, or why nothing can be."""
        task = self.final_task()
        if task is None:
            return None
        plan, facts = self.look.plan(task), self.look.surroundings(task)
        if facts is None:
            return None
        run = RunDir(runs_root() / new_run_id(task.name, self.opened))
        try:
            steps = plan.max_train_steps if plan else None
            return plan_launch(task, run, total_steps=steps, facts=facts)
        except SdError as error:
            return error

    def findings(self) -> list[dict[str, Any]] | None:
        """Return what the last check found; None when the task was changed since."""
        if self.report is None or self.report[0] != self.final_task():
            return None
        return list(self.report[1]["findings"])

    def look_table(self) -> dict[str, Any]:
        """Return a task that names what there is to look at, also while other fields are wrong."""
        table, _rows = self.draft.table()
        mounts = [m for m in table.get("mounts", []) if _valid_mount(m)]
        train = {k: v for k, v in table.get("train", {}).items() if k in _NAMES}
        around: dict[str, Any] = {k: table[k] for k in _AROUND if k in table}
        tries: list[dict[str, Any]] = [{"train": train} | around, {"train": train}, {"train": {}}]
        for inner in tries:
            try:
                task = TaskSpec.model_validate({"mounts": mounts, **inner})
            except ValueError:
                continue
            return to_table(resolve_sources(task, here()))
        return {}

    # Presets.
    def take_preset(
        self, preset: Preset, *, names: Collection[str] = (), fresh_name: bool = False
    ) -> None:
        """Fill the form from a preset.

        Args:
            preset: A preset, or a run's ``task.toml``.
            names: Names of the runs there are.
            fresh_name: Take the next free name, because the task comes from a run.
        """
        task = preset.task
        if fresh_name:
            task = task.model_copy(update={"name": next_name(task.name, names)})
            task.model_fields_set.add("name")
            self.take(task, note=_("from {path}").format(path=preset.source.parent.name))
        else:
            self.take(task, preset.source)

    def saved_text(self, path: Path) -> str:
        """Return the text of a preset for ``path``, keeping the comments of what it replaces.

        Raises:
            SdError: The file that stands there cannot be read.
        """
        assert self.task is not None
        original = path if path.exists() else self.origin
        text = ""
        if original is not None and original.exists():
            try:
                text = original.read_text("utf-8")
            except (OSError, ValueError) as error:
                raise SdError(
                    _("{path} cannot be read").format(path=clean_line(str(original), 200)),
                    cause=told_why(error),
                    remedy=_("choose another file"),
                ) from error
        task = self.task if path == self.origin else self.final_task()
        assert task is not None
        return dump_preset(task, text)

    def save_path(self) -> Path:
        """Propose where to save: over the user's own file, never over a shipped preset."""
        if self.origin is not None and self.origin.parent != shipped_folder():
            return self.origin
        name = self.draft.get("name")
        return here() / f"{name if isinstance(name, str) and name else 'task'}.toml"

    # The draft on disk.
    def restore(self, record: Record) -> bool:
        """Take the draft of an earlier console; say whether it is one."""
        try:
            self.draft = Draft.from_record(record)
            at = datetime.fromtimestamp(float(record.get("at", 0))).astimezone()
            origin = record.get("origin")
        except (OSError, ValueError, OverflowError, TypeError, AttributeError):
            return False
        self.origin = Path(origin) if isinstance(origin, str) else None
        self.note = keyed(
            _("draft of {time} restored; [new.empty] to start empty").format(time=f"{at:%H:%M}")
        )
        self.typed = True
        self.judge()
        return True

    def record(self) -> Record:
        """Return the draft as it is kept."""
        origin = str(self.origin) if self.origin else None
        return {**self.draft.to_record(), "at": time.time(), "origin": origin}


def next_name(name: str, taken: Collection[str]) -> str:
    """Return the first of ``name-2``, ``name-3``, … that no run has."""
    stem = re.sub(r"-\d{1,4}$", "", name)
    number = 2
    while f"{stem[:58]}-{number}" in taken or f"{stem[:58]}-{number}" == name:
        number += 1
    return f"{stem[:58]}-{number}"


def same_file(path: Path, other: Path | None) -> bool:
    """Say whether two paths name one file."""
    try:
        return other is not None and path.samefile(other)
    except OSError:
        return False


def _valid_mount(table: dict[str, Any]) -> bool:
    try:
        Mount.model_validate(table)
    except ValueError:
        return False
    return True


_DESKS: "WeakKeyDictionary[App[Any], Desk]" = WeakKeyDictionary()


def desk_of(app: App[Any]) -> Desk:
    """Return the desk of an app; see ``laid_out`` for what stands on it."""
    return _DESKS.setdefault(app, Desk())


async def laid_out(app: App[Any]) -> Desk:
    """Return the desk of an app; the first time read from disk what stands on it."""
    desk = desk_of(app)
    async with desk.laying_out:
        if not desk.ready:
            record, blank = await patiently(app, _first, _("reading the draft …"))
            if record is None or not desk.restore(record):
                _lay_out_blank(desk, blank)
            desk.ready = True
    return desk


def read_task(source: str) -> Preset:
    """Return what the form is to be filled from; waits for the disk.

    Args:
        source: A path, the name of a shipped preset, or a run's ``task.toml``; empty for a form
            that holds no more than the user's own defaults.

    Raises:
        SdError: It cannot be read, or is no task.
        OSError: It cannot be read.
    """
    if source:
        return load_preset(source)
    with tempfile.TemporaryDirectory() as folder:
        blank = Path(folder, "task.toml")
        blank.touch()
        return load_preset(blank)


def _first() -> tuple[Record | None, Preset | SdError | OSError]:
    """Read the draft of an earlier console, and what an empty form is."""
    try:
        blank: Preset | SdError | OSError = read_task("")
    except (SdError, OSError) as error:
        blank = error
    return read_draft(), blank


def _lay_out_blank(desk: Desk, blank: Preset | SdError | OSError) -> None:
    if isinstance(blank, Preset):
        desk.take(blank.task)
        return
    # The user's own defaults are no task, or there is no room: a form without them is better.
    why = told_why(blank) if isinstance(blank, OSError) else told_of(blank.what, blank.cause)
    desk.draft.add_standard_mounts()
    desk.note = clean_line(why, 300)
    desk.judge()
