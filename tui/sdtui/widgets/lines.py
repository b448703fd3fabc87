"""Many lines in a small place: only those in sight are drawn, and nothing is ever measured."""

from typing import Any, ClassVar

from rich.segment import Segment
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip


class Lines(ScrollView, can_focus=True):
    """Lines that were rendered before, and below them what stays while they are scrolled.

    The keys of every Textual container scroll them.

    Args:
        lines: As ``rich.console.Console.render_lines`` returns them.
        hint: What stays, after an empty row.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {"lines--hint"}
    DEFAULT_CSS = "Lines { height: 1fr; & > .lines--hint { color: $faint; } }"

    def __init__(self, lines: list[list[Segment]], hint: str, **more: Any) -> None:
        super().__init__(**more)
        self._lines, self._hint = [Strip(line) for line in lines], hint
        width = max(line.cell_length for line in self._lines)
        self.virtual_size = Size(width, len(self._lines) + 2)  # with the hint's rows

    def render_line(self, y: int) -> Strip:
        """Draw the line at row ``y`` of the widget."""
        style, (width, height) = self.visual_style.rich_style, self.size
        place = y + self.scroll_offset.y
        if y == height - 1:
            faint = self.get_component_rich_style("lines--hint", partial=True)
            return Strip([Segment(self._hint, style + faint)]).adjust_cell_length(width, style)
        if y == height - 2 or place >= len(self._lines):
            return Strip.blank(width, style)
        return self._lines[place].apply_style(style).adjust_cell_length(width, style)
