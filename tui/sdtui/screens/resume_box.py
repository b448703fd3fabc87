"""How a run goes on: from which of its checkpoints, and up to which step."""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from sdcore import units
from sdcore.runs.status import Status
from sdtui.keymap import keyed
from sdtui.language import N_, _
from sdtui.live.checkpoints import Checkpoint
from sdtui.screens.over import Over


class Going(NamedTuple):
    """What a person chose.

    Attributes:
        step: Go back to the checkpoint of this step; None goes on from the newest.
        total: Train up to this step; None leaves the length as it is.
    """

    step: int | None
    total: int | None


class ResumeBox(Over[Going | None]):
    """Asks for a checkpoint and a length; what stands there at first is the plain resume."""

    HELP_TITLE = N_("Resume")
    DEFAULT_CSS = """
    ResumeBox OptionList {
        height: auto; max-height: 10; width: 60; padding: 0; background: $panel;
        &, &:focus { border: none; }
    }
    ResumeBox Horizontal { height: 1; width: 60; margin-top: 1; }
    ResumeBox Horizontal Static { width: auto; }
    ResumeBox Input { width: 14; background: $surface; }
    ResumeBox .resume--wrong { height: 1; color: $error; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "take", N_("Resume"), priority=True, id="resume.take"),
        Binding("escape", "leave", N_("Cancel"), id="resume.cancel"),
    ]

    def __init__(self, status: Status, kept: Sequence[Checkpoint]) -> None:
        super().__init__()
        self._status = status
        self._kept = sorted(kept, key=lambda saved: saved.step, reverse=True)

    def compose(self) -> ComposeResult:
        """Show the checkpoints, newest first, and the last step."""
        with Vertical(classes="dialog"):
            words = _("Resume {name}").format(name=self._status.name)
            yield Static(Text(words), classes="dialog--title")
            yield OptionList(*(Option(self._line(place)) for place in range(len(self._kept))))
            with Horizontal():
                yield Static(Text(_("train up to step") + " "))
                total = self._status.total
                box = Input("" if total is None else str(total), restrict=r"\d*", compact=True)
                box.cursor_blink = False
                yield box
            yield Static("", classes="resume--wrong", markup=False)
            yield Static(
                Text(
                    keyed(
                        _("↑↓ checkpoint   tab last step   enter resume   [resume.cancel] cancel")
                    )
                ),
                classes="dialog--keys",
            )

    def _line(self, place: int) -> Text:
        saved = self._kept[place]
        text = Text(_("step {step}").format(step=f"{saved.step:,}"))
        if saved.size is not None:
            text.append(f"  {units.size(saved.size)}")
        if place == 0:
            text.append("  " + _("the newest"))
        if saved.best:
            text.append("  " + _("the lowest validation loss"))
        return text

    def on_mount(self) -> None:
        """Begin with the newest; of a run that is done the length is what has to change."""
        choices = self.query_one(OptionList)
        choices.highlighted = 0
        (self.query_one(Input) if self._status.state == "done" else choices).focus()

    def action_take(self) -> None:
        """Close with what was chosen, if a training can come of it."""
        typed = self.query_one(Input).value.strip()
        total = int(typed) if typed.isdecimal() else None
        step = self._kept[self.query_one(OptionList).highlighted or 0].step
        if total is not None and total <= step:
            words = _("the last step must be above {step}").format(step=f"{step:,}")
            self.query_one(".resume--wrong", Static).update(words)
            self.query_one(Input).focus()
            return
        newest = step == self._kept[0].step
        same = total == self._status.total
        self.dismiss(Going(None if newest else step, None if same else total))

    def action_leave(self) -> None:
        """Leave the run as it is."""
        self.dismiss(None)
