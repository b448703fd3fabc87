"""What the task would do and need, and the command that would run: always in sight."""

import shlex
from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual.widget import Widget

from sdcore import units
from sdcore.checks.plan import PlanFacts
from sdcore.errors import SdError
from sdcore.launch.plan import LaunchPlan
from sdcore.text import clean_line
from sdtui.form.desk import Desk
from sdtui.keymap import keyed
from sdtui.language import N_, _
from sdtui.told import told_of

_NARROW = 60  # cells; below, the summary is a column


def plan_words(plan: PlanFacts) -> list[tuple[str, bool]]:
    """Return the plan in short sentences, and whether each is a cause for worry."""
    rows = [(_("batch {n} on {device}").format(n=plan.effective_batch, device=plan.device), False)]
    if plan.max_train_steps is None:
        rows.append((_("steps: known with the data set"), False))
    elif plan.epochs is None:
        rows.append((_("{n} steps").format(n=f"{plan.max_train_steps:,}"), False))
    else:
        words = _("{n} steps = {epochs} epochs of {per}").format(
            n=f"{plan.max_train_steps:,}",
            epochs=units.number(plan.epochs),
            per=f"{plan.steps_per_epoch or 0:.4g}",
        )
        rows.append((words, False))
    if plan.checkpoint_size is not None and plan.disk_needed is not None:
        words = _("checkpoints {one} each, {all} of {free} free").format(
            one=units.size(plan.checkpoint_size),
            all=units.size(plan.disk_needed),
            free=units.size(plan.disk_free),
        )
        rows.append((words, plan.disk_needed > plan.disk_free))
    if plan.memory_needed is not None:
        need, have = units.size(plan.memory_needed), plan.memory_total
        words = _("memory ≈ {need}").format(need=need)
        if have:
            words = _("memory ≈ {need} of {have}").format(need=need, have=units.size(have))
        rows.append((words, have is not None and plan.memory_needed > have))
    return rows


class Summary(Widget):
    """Batch, epochs, disk, memory, and the command; as lines below, or as a column beside."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "summary--title", "summary--worry", "summary--command", "summary--faint",
    }  # fmt: skip
    DEFAULT_CSS = """
    Summary {
        & > .summary--title { color: $primary; text-style: bold; }
        & > .summary--worry { color: $warning; text-style: bold; }
        & > .summary--command { color: $success; }
        & > .summary--faint { color: $faint; }
    }
    """
    HELP_TITLE = N_("Summary")

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[tuple[str, bool]] = []
        self._command = ""

    def draw(self, desk: Desk) -> None:
        """Work out what there is to show; equal results draw nothing."""
        rows, command = self._contents(desk)
        if (rows, command) != (self._rows, self._command):
            self._rows, self._command = rows, command
            self.refresh()

    @staticmethod
    def _contents(desk: Desk) -> tuple[list[tuple[str, bool]], str]:
        task = desk.final_task()
        if task is None:
            return [(_("what it needs is known when the problems are mended"), False)], ""
        launch = desk.launch()
        if isinstance(launch, SdError):
            return [(clean_line(told_of(launch.what, launch.cause), 300), True)], ""
        plan = desk.look.plan(task)
        rows = plan_words(plan) if plan else [(_("an own start command"), False)]
        return rows, short_command(launch) if launch else ""

    def render(self) -> Text:
        """Draw lines, or a column where there is the room of one."""
        width, height = self.size
        return self._column() if width < _NARROW else self._lines(width, height)

    def _style(self, part: str) -> Style:
        return self.get_component_rich_style(f"summary--{part}", partial=True)

    def _piece(self, row: tuple[str, bool]) -> Text:
        words, worry = row
        return Text(f"! {words}", self._style("worry")) if worry else Text(words)

    def _lines(self, width: int, height: int) -> Text:
        lines: list[Text] = []
        for row in self._rows:
            piece = self._piece(row)
            if lines and lines[-1].cell_len + piece.cell_len + 3 <= width - 1:
                lines[-1].append(" · ", self._style("faint")).append_text(piece)
            else:
                lines.append(Text(" ").append_text(piece))
        lines = lines[: height - 1] if self._command else lines[:height]
        if self._command:
            lines.append(Text(f" $ {self._command}", self._style("command")))
        for line in lines:
            line.truncate(width, overflow="ellipsis")
        return Text("\n").join(lines)

    def _column(self) -> Text:
        text = Text().append(_("What it does") + "\n", self._style("title"))
        for row in self._rows:
            text.append_text(self._piece(row)).append("\n")
        if self._command:
            text.append("\n" + _("Command") + "  ", self._style("title"))
            text.append(keyed(_("[new.copy] copies all of it")) + "\n", self._style("faint"))
            text.append(self._command, self._style("command"))
        return text


def short_command(launch: LaunchPlan) -> str:
    """Return the command without its folder and environment, which Review shows."""
    argv = list(launch.argv)
    if not launch.cooperative:
        return clean_line(argv[-1], 4000)  # what surrounds it is in Review
    argv[0] = argv[0].rpartition("/")[2]
    return clean_line(shlex.join(argv), 4000)
