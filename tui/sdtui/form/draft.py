"""What stands in the form: text as it was typed, whether or not it makes a task yet.

A key that is not there is left out of the task. Nothing is lost on the way to a task and back.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from pydantic import ValidationError

from sdcore.errors import UsageError
from sdcore.masking import is_secret
from sdcore.names import check_name
from sdcore.task.platform_env import PLATFORM_ENV
from sdcore.task.problems import Path, explain
from sdcore.task.spec import DATASET, MODEL, PROJECT, TaskSpec
from sdcore.task.train_spec import TrainSpec
from sdcore.task.writing import to_table
from sdtui.form.dotenv import NAME
from sdtui.form.entries import Raw, entries, raw_of, value_of
from sdtui.keymap import keyed
from sdtui.language import _

FORMAT = 1
_STANDARD = ((DATASET, True), (MODEL, True), (PROJECT, None))
_VARIABLE_OF = {setting: variable for variable, setting in PLATFORM_ENV.items()}


@dataclass(slots=True)
class MountRow:
    """A mount as it is typed; a source left empty makes none. None leaves the switch out."""

    source: str = ""
    target: str = ""
    read_only: bool | None = None

    @property
    def empty(self) -> bool:
        """Say whether it makes no mount."""
        return not self.source and (not self.target or self.target in dict(_STANDARD))


@dataclass(slots=True)
class EnvRow:
    """A variable; ``withheld`` means that its secret value was not kept on disk."""

    name: str = ""
    value: str = ""
    withheld: bool = False


@dataclass(frozen=True, slots=True)
class FormProblem:
    """What keeps the form from being a task.

    Attributes:
        key: Of the field, e.g. ``train.seed``, ``mounts.0.source``, ``env.lr``; or empty.
        cause: What is wrong.
        remedy: What to do.
    """

    key: str
    cause: str
    remedy: str


@dataclass(slots=True)
class Draft:
    """All that is typed.

    Attributes:
        values: By dotted key.
        own_command: The start command counts; else the built-in trainer, and it is only kept.
        mounts: In their order.
        env: In its order.
        cluster: The task goes to a cluster; else what stands there is only kept.
        renames: What was typed for the name of a variable and cannot be one, by its name so far.
            Not kept on disk: it may be a secret that was pasted into the wrong field.
    """

    values: dict[str, Raw] = field(default_factory=dict)
    own_command: bool = False
    mounts: list[MountRow] = field(default_factory=list)
    env: list[EnvRow] = field(default_factory=list)
    cluster: bool = False
    renames: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_task(cls, task: TaskSpec) -> Self:
        """Return what one would have typed for ``task``."""
        table = to_table(task)
        draft = cls(own_command=task.command is not None, cluster=task.cluster is not None)
        for key in entries():
            head, _dot, name = key.rpartition(".")
            inner = table.get(head, {}) if head else table
            if name in inner:
                draft.values[key] = raw_of(inner[name])
        draft.env = [EnvRow(name, value) for name, value in task.env.items()]
        draft.mounts = [MountRow(**mount) for mount in table.get("mounts", [])]
        draft.add_standard_mounts()
        return draft

    def mount_at(self, key: str) -> MountRow | None:
        """Return the mount that ``key`` (``mounts.0``, ``mounts.0.source``) is about."""
        table, *rest = key.split(".")
        if table != "mounts" or not rest or int(rest[0]) >= len(self.mounts):
            return None
        return self.mounts[int(rest[0])]

    def add_standard_mounts(self) -> None:
        """Offer the three places of the platform's form."""
        taken = {mount.target for mount in self.mounts}
        self.mounts += [MountRow("", t, ro) for t, ro in _STANDARD if t not in taken]

    # Reading and changing single values.
    def get(self, key: str) -> Raw:
        """Return what stands in a field, empty when it is left out.

        A training setting that the platform's variable sets reads as that variable.
        """
        if (row := self.env_of(key)) is not None:
            return row.value
        return self.values.get(key, "")

    def env_of(self, key: str) -> EnvRow | None:
        """Return the row of the environment table that sets the training setting ``key``."""
        name = _VARIABLE_OF.get(key.removeprefix("train.")) if key.startswith("train.") else None
        return self.variable(name) if name else None

    def variable(self, name: str) -> EnvRow | None:
        """Return the row of a variable."""
        return next((row for row in self.env if row.name == name), None)

    def set(self, key: str, raw: Raw) -> None:
        """Change a field; empty leaves it out."""
        if (row := self.env_of(key)) is not None and isinstance(raw, str):
            self.set_variable(row.name, raw)
        elif raw or (key == "command" and self.own_command):
            self.values[key] = raw
        else:
            self.values.pop(key, None)

    def set_variable(self, name: str, value: str) -> None:
        """Change or add a variable; one of the platform's six goes when it is empty.

        The training setting of the same meaning goes: given twice they could differ.
        """
        row = self.variable(name)
        if name in PLATFORM_ENV:
            self.values.pop(f"train.{PLATFORM_ENV[name]}", None)
            if not value:
                self.drop_variable(name)
                return
        if row is None:
            self.env.append(EnvRow(name, value))
        else:
            row.value, row.withheld = value, False

    def drop_variable(self, name: str) -> None:
        """Remove a variable."""
        self.env = [row for row in self.env if row.name != name]
        self.renames.pop(name, None)

    def rename_variable(self, name: str, typed: str) -> None:
        """Give a variable another name; one that it cannot have stays a problem of the form."""
        self.renames.pop(name, None)
        if typed != name and (row := self.variable(name)) is not None:
            if self._name_fault(typed) is None:
                row.name = typed
            else:
                self.renames[name] = typed

    def _name_fault(self, typed: str) -> tuple[str, str] | None:
        """Return why no variable can be given this name, and what to do."""
        if not typed:
            remedy = keyed(_("type one, or press [env.remove] to remove it"))
            return _("the variable has no name"), remedy
        if "=" in typed:
            return _("a name holds no ="), _("type the value in the field beside it")
        if not NAME.fullmatch(typed):
            return _("a name has letters, digits and _ alone"), _("begin it with a letter or _")
        if typed in PLATFORM_ENV or self.variable(typed) is not None:
            words = _("{name} stands here already").format(name=typed)
            return words, _("type another name, or change that one")
        return None

    def changed(self, key: str) -> bool:
        """Say whether a field differs from what counts when it is left out."""
        raw = self.get(key)
        return raw not in ("", []) and value_of(key, raw) != _default_value(key)

    # As a task.
    def table(self) -> tuple[dict[str, Any], list[int]]:
        """Return the task as a table, and the row of each of its mounts."""
        table: dict[str, Any] = {}
        for key, raw in self.values.items():
            head, _dot, name = key.rpartition(".")
            own = key == "command" or head == "metrics"
            if (own and not self.own_command) or (head == "cluster" and not self.cluster):
                continue
            (table.setdefault(head, {}) if head else table)[name] = value_of(key, raw)
        if self.own_command:
            table.setdefault("command", "")
        if self.cluster:
            table.setdefault("cluster", {}).setdefault("engine", "slurm")
        rows = [i for i, mount in enumerate(self.mounts) if not mount.empty]
        mounts = [asdict(self.mounts[i]) for i in rows]
        if mounts:
            table["mounts"] = [{k: v for k, v in m.items() if v is not None} for m in mounts]
        if self.env:
            table["env"] = {row.name: row.value for row in self.env}
        return table, rows

    def task(self) -> tuple[TaskSpec | None, list[FormProblem]]:
        """Return the task, or what keeps it from being one."""
        table, rows = self.table()
        problems = [*self._own_problems()]
        told = {problem.key for problem in problems}
        try:
            task = TaskSpec.model_validate(table)
        except ValidationError as error:
            for at, cause, remedy in explain(error):
                key = _key(at, rows)
                if key not in told:
                    problems.append(FormProblem(key, cause, remedy))
            return None, problems
        return (None if problems else task), problems

    def _own_problems(self) -> Iterator[FormProblem]:
        """Find what the models cannot see, or see only when all else is right."""
        if self.values.get("name") == "last":
            try:
                check_name("last")
            except UsageError as error:
                yield FormProblem("name", error.cause, error.remedy)
        names = [row.name for row in self.env]
        for name in sorted({name for name in names if names.count(name) > 1}):
            words = _("the variable stands here twice")
            yield FormProblem(f"env.{name}", words, _("remove one of them"))
        for name, typed in self.renames.items():
            free = _("its new name is not taken yet"), _("go to the name and press Enter")
            yield FormProblem(f"env.{name}", *(self._name_fault(typed) or free))
        for row in self.env:
            if row.withheld:
                words = _("a secret is not kept in the draft")
                yield FormProblem(f"env.{row.name}", words, _("type it again, or remove the row"))
            elif row.name in PLATFORM_ENV and not self.own_command:
                yield from _platform_problems(row)

    # On disk.
    def to_record(self) -> dict[str, Any]:
        """Return plain data to keep; the values of secrets are left out."""
        record = asdict(self)
        del record["renames"]
        for row in record["env"]:
            if is_secret(row["name"]) and row["value"]:
                row["value"], row["withheld"] = "", True
        return {"format": FORMAT, **record}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Self:
        """Read what ``to_record`` returned; what this version does not know is passed over.

        Raises:
            ValueError: It is no such record.
        """
        try:
            values = {k: v for k, v in record["values"].items() if k in entries() and _is_raw(v)}
            draft = cls(
                values=values,
                own_command=bool(record["own_command"]),
                mounts=[MountRow(**row) for row in record["mounts"]],
                env=[EnvRow(**row) for row in record["env"]],
                cluster=bool(record["cluster"]),
            )
            texts = [t for m in draft.mounts for t in (m.source, m.target)]
            texts += [t for row in draft.env for t in (row.name, row.value)]
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError("this is no draft") from error
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("this is no draft")
        return draft


def _platform_problems(row: EnvRow) -> Iterator[FormProblem]:
    setting = PLATFORM_ENV[row.name]
    try:
        TrainSpec.model_validate_strings({setting: row.value.strip()}, strict=False)
    except ValidationError as error:
        found = explain(error)[0]
        yield FormProblem(f"env.{row.name}", found[1], found[2])


def _key(at: Path, rows: list[int]) -> str:
    """Return the field that pydantic's path means; a mount's number is its row on the form."""
    parts = list(at)
    if parts[:1] == ["mounts"] and len(parts) > 1 and isinstance(parts[1], int):
        parts[1] = rows[parts[1]]
        return ".".join(str(part) for part in parts[:3])
    return ".".join(str(part) for part in parts[:2])


def _default_value(key: str) -> Any:
    default = entries()[key].default
    return None if default is None else value_of(key, default)


def _is_raw(value: Any) -> bool:
    return isinstance(value, str) or (
        isinstance(value, list) and all(isinstance(item, str) for item in value)
    )
