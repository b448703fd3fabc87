"""The two questions of the Run screen: which runs to lay over it, and where to write the chart."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from rich.segment import Segment
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.strip import Strip
from textual.widgets import Input, SelectionList, Static
from textual.widgets.selection_list import Selection

from sdcore.runs.status import Status
from sdtui import phrases
from sdtui.form.paths import PathSuggester
from sdtui.keymap import keyed
from sdtui.language import N_, _
from sdtui.live.hub import MOST_OVERLAYS
from sdtui.screens.over import Over
from sdtui.theme import GLYPHS


class Ticks(SelectionList[str]):
    """A list to tick; Textual tells the ticked from the others by colour alone."""

    def render_line(self, y: int) -> Strip:
        """Draw ``[✓]`` or ``[ ]`` before a line."""
        left, inner, right, *line = super().render_line(y) or [Segment("")] * 3
        number = inner.style.meta.get("option") if inner.style else None
        if number is None:
            return Strip([left, inner, right, *line])
        ticked = self.get_option_at_index(number).value in self.selected
        plain = (line[1] if len(line) > 1 else inner).style
        row = [Segment("[", plain), Segment("✓" if ticked else " ", plain), Segment("]", plain)]
        return Strip([*row, *line])


class ChooseRuns(Over[tuple[str, ...] | None]):
    """A list of runs to tick, up to as many as can be told apart."""

    HELP_TITLE = N_("Choose runs")
    DEFAULT_CSS = """
    ChooseRuns Ticks {
        height: auto; max-height: 16; width: 60; padding: 0; background: $panel;
        &, &:focus { border: none; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "take", N_("Lay over"), priority=True, id="choose.take"),
        Binding("escape,q", "leave", N_("Cancel"), id="choose.cancel"),
    ]

    def __init__(self, runs: Sequence[Status], ticked: tuple[str, ...]) -> None:
        super().__init__()
        self._runs, self._ticked = runs, ticked

    def compose(self) -> ComposeResult:
        """Show the list and its keys."""
        with Vertical(classes="dialog"):
            words = _("Lay up to {n} runs over this one").format(n=MOST_OVERLAYS)
            yield Static(Text(words), classes="dialog--title")
            yield Ticks(
                *(Selection(_line(run), run.id, run.id in self._ticked) for run in self._runs)
            )
            yield Static(
                Text(keyed(_("space tick   enter lay over   [choose.cancel] cancel"))),
                classes="dialog--keys",
            )

    @on(SelectionList.SelectionToggled)
    def _no_more_than_fit(self, event: SelectionList.SelectionToggled[str]) -> None:
        if len(event.selection_list.selected) > MOST_OVERLAYS:
            event.selection_list.deselect(event.selection)
            words = _("{n} is the most that can be told apart").format(n=MOST_OVERLAYS)
            self.notify(words, severity="warning", markup=False)

    def action_take(self) -> None:
        """Close with the ticked runs, in the order of the list."""
        chosen = set(self.query_one(SelectionList).selected)
        self.dismiss(tuple(run.id for run in self._runs if run.id in chosen))

    def action_leave(self) -> None:
        """Change nothing."""
        self.dismiss(None)


def _line(run: Status) -> Text:
    text = Text(f"{GLYPHS[run.state]} {run.name}  ")
    text.append(f"{phrases.step_words(run)}  {phrases.loss_words(run.loss)}")
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


class AskFolder(Over[str | None]):
    """One folder, typed."""

    HELP_TITLE = N_("Choose a folder")
    DEFAULT_CSS = "AskFolder Input { width: 60; background: $surface; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", N_("Cancel"), id="folder.cancel"),
    ]

    def __init__(self, title: str, folder: Path) -> None:
        super().__init__()
        self._title, self._folder = title, folder

    def compose(self) -> ComposeResult:
        """Show the question with the present folder."""
        with Vertical(classes="dialog"):
            yield Static(Text(self._title), classes="dialog--title")
            path = Input(str(self._folder), compact=True, suggester=PathSuggester())
            path.cursor_blink = False
            yield path
            yield Static(
                Text(keyed(_("enter write   [folder.cancel] cancel"))), classes="dialog--keys"
            )

    @on(Input.Submitted)
    def _take(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip() or None)

    def action_leave(self) -> None:
        """Write nothing."""
        self.dismiss(None)
