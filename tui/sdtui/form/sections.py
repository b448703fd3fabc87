"""The parts of the form. Each is mounted when it is first opened, and draws from the desk."""

from collections.abc import Iterable
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from sdcore.launch.planner import PLACEHOLDERS
from sdcore.task.platform_env import PLATFORM_ENV
from sdcore.text import clean_line
from sdtui.form.desk import Desk
from sdtui.form.entries import Raw, entries
from sdtui.form.facts import Verdict
from sdtui.form.fields import Choice, FieldRow, LinesEditor, row_of
from sdtui.form.labels import label
from sdtui.keymap import keyed
from sdtui.language import N_, _
from sdtui.told import told, told_of

TITLES = {
    "basics": N_("Basics"), "mounts": N_("Mounts"), "gpu": N_("Image+GPU"),
    "command": N_("Command"), "env": N_("Env"), "training": N_("Training"),
    "cluster": N_("Cluster"), "review": N_("Review"),
}  # fmt: skip

# Of fields that are no single value of a task.
_HELP = {  # [ids] stand for keys
    "source": N_(
        "Folder on this host; ~ is your home. → takes what is offered, [mounts.browse] browses"
    ),
    "target": N_("Absolute path at which the task sees the folder, e.g. /mnt/more"),
    "read_only": N_("Forbid writing to it. Space changes it, Backspace leaves it out"),
    "env": N_("A variable of the task's environment. [env.remove] removes it"),
    "variable": N_("The name of a variable. Enter takes it, [env.remove] removes the variable"),
    "new": N_("Enter adds NAME=value; a pasted .env is added whole"),
    "own_command": N_("What is started: the trainer that comes with sdtui, or a command"),
    "cluster": N_("Where the task runs"),
}


class Section(VerticalScroll, can_focus=False):
    """One part of the form."""

    HELP_TITLE = N_("New task")
    NAME: ClassVar[str] = ""
    KEYS: ClassVar[tuple[str, ...]] = ()

    def __init__(self, desk: Desk) -> None:
        super().__init__(id=f"section-{self.NAME}", classes="section")
        self.desk = desk

    def compose(self) -> ComposeResult:
        """Return the rows."""
        known = entries()
        for key in self.KEYS:
            yield row_of(known[key], label(key))

    def rows(self) -> Iterable[FieldRow]:
        """Return the rows that are mounted."""
        return self.query(FieldRow)

    def row(self, key: str) -> FieldRow | None:
        """Return the row of a field, or of the field that it is a part of."""
        rows = {row.key: row for row in self.rows()}
        while key and key not in rows:
            inner = [row for name, row in rows.items() if name.startswith(f"{key}.")]
            if inner:
                return inner[0]
            key = key.rpartition(".")[0]
        return rows.get(key)

    async def reveal(self, key: str) -> FieldRow | None:
        """Return the row of a field, unfolded where it was folded away."""
        return self.row(key)

    def draw(self) -> None:
        """Show what stands in the draft, what is wrong with it, and what was found."""
        for row in self.rows():
            self.draw_row(row)

    def draw_row(self, row: FieldRow) -> None:
        """Show one field."""
        known = row.key in entries()
        row.load(
            self.desk.raw(row.key),
            changed=known and row.key.startswith("train.") and self.desk.draft.changed(row.key),
            hint=self.hint(row.key),
        )
        row.judge(self.bad(row.key), self.found(row.key))

    def bad(self, key: str) -> Verdict | None:
        """Return what is wrong with a field."""
        problem = self.desk.problem(key)
        if problem is None:
            return None
        return Verdict("bad", clean_line(told_of(problem.cause, problem.remedy), 400))

    def found(self, key: str) -> Verdict | None:  # noqa: ARG002  # for subclasses
        """Return what was found out about a field."""
        return None

    def hint(self, key: str) -> str:  # noqa: ARG002  # for subclasses
        """Return where a field's value comes from, if not from here."""
        return ""


class Basics(Section):
    """Name and description."""

    NAME = "basics"
    KEYS = ("name", "description")

    def compose(self) -> ComposeResult:
        """Add where the form comes from, and its keys."""
        yield from super().compose()
        yield Static(id="basics-origin", classes="words", markup=False)
        yield Static(id="basics-keys", classes="words", markup=False)

    def draw(self) -> None:
        """Show the fields and where they come from."""
        super().draw()
        desk = self.desk
        origin = _("from {path}").format(path=desk.origin) if desk.origin else _("a new task")
        parts = [part for part in (desk.note, origin) if part]
        set_words(self.query_one("#basics-origin", Static), clean_line(" · ".join(parts), 300))
        keys = _(
            "Tab or [field.down] goes from field to field, [new.next_part] from part to part, "
            "[screen.back] leaves a field.\n"
            "[new.load] load a preset   [new.create] check and start   [new.check] check only   "
            "[new.save] save as a preset\n"
            "An empty field takes its default, which it shows faintly."
        )
        set_words(self.query_one("#basics-keys", Static), keyed(keys))


class Gpu(Section):
    """Image, runtime and devices."""

    NAME = "gpu"
    KEYS = ("image", "runtime", "gpu.type", "gpu.count", "gpu.processes", "gpu.share")

    def compose(self) -> ComposeResult:
        """Put the host's devices below the fields."""
        yield from super().compose()
        yield Static(id="gpu-host", classes="words", markup=False)

    def draw(self) -> None:
        """Show the fields and the host's devices."""
        super().draw()
        set_words(self.query_one("#gpu-host", Static), self._host_words())

    def found(self, key: str) -> Verdict | None:
        """Say what surrounds the task; what a count of 0 means, and whether there are as many."""
        if key == "runtime":
            return self.desk.look.runtime_verdict()
        if key != "gpu.count":
            return None
        if (trouble := self.desk.gpu_trouble()) is not None:
            return Verdict("bad", told_of(trouble.cause, trouble.remedy))
        if self.desk.draft.get("gpu.count") == "0":
            return Verdict("plain", _("0 = CPU: trains without a GPU"))
        return None

    def _host_words(self) -> str:
        look = self.desk.look
        if not look.known:
            return _("looking at this host …")
        if not look.gpus:
            reason = told(clean_line(str(look.host.get("gpu_reason") or ""), 100))
            words = _("This host has no GPU ({reason}); its CPU has {cpus} cores and {memory}.")
            return words.format(reason=reason, cpus=look.host["cpus"], memory=look.host["memory"])
        free = sum(1 for gpu in look.gpus if gpu["free"])
        head = _("{free} of {all} GPUs of this host are free:")
        lines = [head.format(free=free, all=len(look.gpus))]
        lines += [f"{'○' if g['free'] else '●'} {clean_line(g['words'], 120)}" for g in look.gpus]
        return "\n".join(lines)


class Command(Section):
    """The built-in trainer, or a command of one's own."""

    NAME = "command"
    KEYS = ("metrics.source", "metrics.pattern", "hooks.end", "hooks.timeout_s")

    def compose(self) -> ComposeResult:
        """Offer both."""
        options = [("false", _("built-in trainer")), ("true", _("own command"))]
        choice = Choice("own_command", options)
        choice.styles.width = 28
        yield FieldRow("own_command", label("own_command"), choice)
        yield FieldRow("command", label("command"), LinesEditor("command", listed=False))
        yield from super().compose()
        yield Static(id="command-words", classes="words", markup=False)

    def draw(self) -> None:
        """Hide the command while it does not count."""
        super().draw()
        own = self.desk.draft.own_command
        for row in self.rows():
            if row.key == "command" or row.key.startswith("metrics."):
                row.display = own
        folders = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
        words = (
            _("Run by bash in the project's folder. {folders} stand for the folders on this host.")
            if own
            else _("The built-in trainer does what diffusers' train_text_to_image.py does.")
        )
        set_words(self.query_one("#command-words", Static), words.replace("{folders}", folders))


class Cluster(Section):
    """Where the task runs."""

    NAME = "cluster"
    KEYS = tuple(f"cluster.{name}" for name in (
        "nodes", "partition", "account", "qos", "constraint", "time_limit", "cpus_per_task",
        "mem", "grace_s", "restarts", "command_on", "extra",
    ))  # fmt: skip

    def compose(self) -> ComposeResult:
        """Offer this machine or a cluster."""
        choice = Choice("cluster", [("false", _("this machine")), ("true", "Slurm")])
        choice.styles.width = 28
        yield FieldRow("cluster", label("cluster"), choice)
        yield from super().compose()

    def draw(self) -> None:
        """Hide what does not count on this machine."""
        super().draw()
        for row in self.rows():
            if row.key != "cluster":
                row.display = self.desk.draft.cluster

    def found(self, key: str) -> Verdict | None:
        """Say before somebody fills in eleven fields that Slurm is not to be reached from here."""
        look = self.desk.look
        if key != "cluster" or not self.desk.draft.cluster or not look.known:
            return None
        if look.host.get("sbatch"):
            return Verdict("plain", _("sbatch of this machine takes the job"))
        return Verdict("bad", _("sbatch is not on PATH: start sdtui on a machine of the cluster"))


def set_words(static: Static, words: Text | str) -> None:
    """Show words; equal ones are not drawn again."""
    if getattr(static, "shown_words", None) != words:
        static.shown_words = words  # type: ignore[attr-defined]
        static.update(words)


def help_of(key: str, raw: Raw) -> str:
    """Return one line on a field: its key, what it means, its limits and its default."""
    head, _dot, name = key.partition(".")
    setting = PLATFORM_ENV.get(name) if head == "env" else None
    entry = entries().get(f"train.{setting}" if setting else key)
    if entry is None:
        known = _HELP.get(key) or _HELP.get(key.rpartition(".")[2]) or _HELP.get(head, "")
        return keyed(_(known))
    parts = [key, _(entry.help).rstrip(".。")]
    if entry.limits:
        parts.append(entry.limits)
    if entry.multiple:
        parts.append(_("multiple of {n}").format(n=entry.multiple))
    if entry.default is not None and raw:
        shown = entry.default if isinstance(entry.default, str) else " ".join(entry.default)
        if shown:
            parts.append(_("default {value}").format(value=shown))
    return " · ".join(part for part in parts if part)
