"""The Log screen: one run's log over the whole terminal."""

from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual.app import ComposeResult

from sdcore.text import clean_line
from sdcore.units import size as in_units
from sdtui.language import N_
from sdtui.live.snapshot import RunSnapshot, View
from sdtui.phrases import state_name
from sdtui.screens.base import ConsoleScreen
from sdtui.theme import GLYPHS, state_style
from sdtui.widgets.line import Line
from sdtui.widgets.log_pane import LogPane
from sdtui.widgets.log_view import LogView


class LogHead(Line):
    """Names the run, its state and how much it has logged."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "head--name", "head--faint",
    }  # fmt: skip

    def draw(self, snapshot: RunSnapshot, size: int) -> None:
        """Show the run."""
        status = snapshot.status

        def pen(name: str) -> Style:
            return self.get_component_rich_style(f"head--{name}", partial=True)

        text = Text(" ")
        text.append(clean_line(snapshot.run.name, 64), style=pen("name"))
        state = state_style(self.app, status.state)
        text.append(f"  {GLYPHS[status.state]} {state_name(status.state)}", style=state)
        faint = f"  {clean_line(snapshot.run.id, 80)}"
        if size:
            faint += f"  {in_units(size)}"
        text.append(faint, style=pen("faint"))
        self.set(text)


class LogScreen(ConsoleScreen):
    """The log of the open run."""

    MODE = "log"
    HELP_TITLE = N_("Log")
    AUTO_FOCUS = "LogView"

    def body(self) -> ComposeResult:
        """Put a line about the run above its log."""
        yield LogHead()
        yield LogPane()

    def show(self, view: View) -> None:
        """Draw the open run."""
        if view.run is None or self.query_one_optional(LogPane) is None:
            return
        self.query_one(LogPane).show(view.run)
        self._draw_head()

    def on_log_view_changed(self) -> None:
        """The file grew."""
        self._draw_head()

    def _draw_head(self) -> None:
        snapshot = self.console_app.view.run
        head = self.query_one_optional(LogHead)
        if snapshot is not None and head is not None:
            head.draw(snapshot, self.query_one(LogView).facts.size)
