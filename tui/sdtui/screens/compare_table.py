"""The table of runs side by side: a column for each, rows for what came out and what differs."""

from dataclasses import dataclass
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.app import RenderResult
from textual.binding import Binding, BindingType
from textual.strip import Strip

from sdtui.language import N_, _
from sdtui.widgets.cells import fit
from sdtui.widgets.scrolling import Scrolled, scroll_keys

_LABEL, _LEAST = 26, 14  # cells of the labels, and of a run's column at least
_BLANK = Segment(" ", Style())  # with a style: the filter for NO_COLOR fails on a cell without


@dataclass(frozen=True, slots=True)
class Row:
    """One line.

    Attributes:
        label: What is compared; a section's title where there are no cells.
        cells: One for each run.
        style: Name of a style: ``title``, ``outcome`` or ``setting``.
    """

    label: str
    cells: tuple[str, ...] = ()
    style: str = "setting"


class CompareTable(Scrolled, can_focus=True):
    """Scrolls down by rows and aside by runs; the names of the runs stay in sight."""

    HELP_TITLE = N_("Comparison")
    HEAD = 1
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "compare--title", "compare--label", "compare--best", "compare--cell",
        *(f"compare--series-{number}" for number in range(1, 8)),
    }  # fmt: skip
    DEFAULT_CSS = """
    CompareTable {
        height: 1fr; width: 1fr;
        & > .compare--title { color: $primary; text-style: bold; }
        & > .compare--label { color: $faint; }
        & > .compare--cell { color: $foreground; }
        & > .compare--best { color: $success; text-style: bold; }
        & > .compare--series-1 { color: $series-1; text-style: bold; }
        & > .compare--series-2 { color: $series-2; text-style: bold; }
        & > .compare--series-3 { color: $series-3; text-style: bold; }
        & > .compare--series-4 { color: $series-4; text-style: bold; }
        & > .compare--series-5 { color: $series-5; text-style: bold; }
        & > .compare--series-6 { color: $series-6; text-style: bold; }
        & > .compare--series-7 { color: $series-7; text-style: bold; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        *scroll_keys("compare"),
        Binding("left", "shift(-1)", N_("Runs to the left"), show=False, id="compare.left"),
        Binding("right", "shift(1)", N_("Runs to the right"), show=False, id="compare.right"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._names: tuple[str, ...] = ()
        self._rows: tuple[Row, ...] = ()
        self._top = self._first = 0

    def draw(self, names: tuple[str, ...], rows: tuple[Row, ...]) -> None:
        """Show ``rows`` under the names of the runs; sends nothing when nothing changed."""
        if (names, rows) != (self._names, self._rows):
            self._names, self._rows = names, rows
            self._top = max(0, min(self._top, len(rows) - 1))
            self._first = max(0, min(self._first, len(names) - self._columns()))
            self.refresh()

    def _columns(self) -> int:
        """Return how many runs fit beside each other."""
        room = (self.size.width - _LABEL) // _LEAST
        return max(1, min(len(self._names), room))

    def render(self) -> RenderResult:
        """All is drawn by ``render_line``."""
        return ""

    def render_line(self, y: int) -> Strip:
        """Draw the names, or a row."""
        width = self.size.width
        if y == 0:
            return self._heads(width)
        place = self._top + y - 1
        if place >= len(self._rows):
            return Strip.blank(width, self.visual_style.rich_style)
        return self._line(self._rows[place], width)

    def _style(self, part: str) -> Style:
        own = self.get_component_rich_style(f"compare--{part}", partial=True)
        return self.visual_style.rich_style + own

    def _cell_width(self, width: int) -> int:
        return (width - _LABEL) // self._columns()

    def _heads(self, width: int) -> Strip:
        shown = self._names[self._first : self._first + self._columns()]
        hidden = len(self._names) - len(shown)
        lead = _(" {n} more: ← →").format(n=hidden) if hidden else ""
        segments = [Segment(fit(lead, _LABEL), self._style("label"))]
        for place, name in enumerate(shown, self._first + 1):
            text = fit(f"{place} {name}", self._cell_width(width) - 1)
            segments += [Segment(text, self._style(f"series-{min(place, 7)}")), _BLANK]
        return Strip(segments).adjust_cell_length(width, self.visual_style.rich_style)

    def _line(self, row: Row, width: int) -> Strip:
        if row.style == "title":
            return Strip([Segment(fit(f" {row.label}", width), self._style("title"))])
        segments = [Segment(fit(f" {row.label}", _LABEL), self._style("label"))]
        for cell in row.cells[self._first : self._first + self._columns()]:
            best = row.style == "outcome" and cell.endswith("*")
            text = fit(cell, self._cell_width(width) - 1)
            segments += [Segment(text, self._style("best" if best else "cell")), _BLANK]
        return Strip(segments).adjust_cell_length(width, self.visual_style.rich_style)

    def action_scroll_by(self, rows: int) -> None:
        """Scroll down or up."""
        last = max(0, len(self._rows) - self.size.height + 1)
        top = max(0, min(last, self._top + rows))
        if top != self._top:
            self._top = top
            self.refresh()

    def action_shift(self, runs: int) -> None:
        """Scroll aside."""
        first = max(0, min(len(self._names) - self._columns(), self._first + runs))
        if first != self._first:
            self._first = first
            self.refresh()
