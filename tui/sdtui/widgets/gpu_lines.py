"""Lines of styled text of which only those that changed are drawn again."""

from itertools import zip_longest
from typing import Any, ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

Row = tuple[tuple[str, str], ...]  # texts, each with the name of its style


def width_of(row: Row) -> int:
    """Return the cells a row takes."""
    return sum(cell_len(text) for text, _style in row)


def both_ends(left: Row, right: Row, width: int) -> Row:
    """Put ``right`` at the end of the line; where both do not fit it is left out."""
    room = width - width_of(left) - width_of(right)
    return (*left, (" " * room, ""), *right) if room > 0 else left


def cut(row: Row, width: int) -> Row:
    """Return the row, ended by an ellipsis where it is too long."""
    if width_of(row) <= width:
        return row
    kept: list[tuple[str, str]] = []
    room = width - 1
    for text, style in row:
        kept.append((set_cell_size(text, min(room, cell_len(text))), style))
        room -= min(room, cell_len(text))
    return (*kept, ("…", row[-1][1]))


class GpuLines(Widget):
    """Draws the rows it is given: no wrapping, no scroll bar."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "lines--faint", "lines--strong", "lines--chosen", "lines--graph", "lines--memory",
        "lines--reserved", "lines--good", "lines--warn", "lines--bad", "lines--rule",
    }  # fmt: skip
    DEFAULT_CSS = """
    GpuLines {
        height: 1fr; width: 1fr;
        & > .lines--faint { color: $faint; }
        & > .lines--strong { text-style: bold; }
        & > .lines--chosen { color: $primary; text-style: bold; }
        & > .lines--graph { color: $series-1; }
        & > .lines--memory { color: $series-3; }
        & > .lines--reserved { color: $raw; }
        & > .lines--good { color: $state-done; }
        & > .lines--warn { color: $state-interrupted; }
        & > .lines--bad { color: $state-failed; text-style: bold; }
        & > .lines--rule { color: $rule; }
    }
    """

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self._rows: tuple[Row, ...] = ()

    def set_rows(self, rows: tuple[Row, ...]) -> None:
        """Show ``rows``, drawing those that differ."""
        old, self._rows = self._rows, rows
        changed = [y for y, (a, b) in enumerate(zip_longest(old, rows)) if a != b]
        if changed:
            self.refresh(*(Region(0, y, self.size.width, 1) for y in changed))

    def render_line(self, y: int) -> Strip:
        """Return one row in the colours of the theme."""
        base = self.visual_style.rich_style
        width = self.size.width
        row = self._rows[y] if y < len(self._rows) else ()
        segments = [Segment(text, base + self._style(name)) for text, name in row if text]
        return Strip(segments).adjust_cell_length(width, base)

    def _style(self, name: str) -> Style:
        if not name:
            return Style.null()
        return self.get_component_rich_style(f"lines--{name}", partial=True)
