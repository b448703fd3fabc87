"""Many lines in a small place: only those in sight are drawn, and nothing is ever measured."""

from typing import Any

from rich.segment import Segment
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip


class Lines(ScrollView, can_focus=True):
    """Lines that were rendered before; the keys of every Textual container scroll them.

    Args:
        lines: As ``rich.console.Console.render_lines`` returns them.
    """

    DEFAULT_CSS = "Lines { height: 1fr; }"

    def __init__(self, lines: list[list[Segment]], **more: Any) -> None:
        super().__init__(**more)
        self._lines = [Strip(line) for line in lines]
        self.virtual_size = Size(max(line.cell_length for line in self._lines), len(self._lines))

    def render_line(self, y: int) -> Strip:
        """Draw the line at row ``y`` of the widget."""
        place, width = y + self.scroll_offset.y, self.size.width
        if place >= len(self._lines):
            return Strip.blank(width, self.rich_style)
        line = self._lines[place].apply_style(self.rich_style)
        return line.adjust_cell_length(width, self.rich_style)
