"""The table of runs: draws only the rows that are visible, and of those only what changed."""

import time
from collections.abc import Callable
from functools import lru_cache
from typing import ClassVar, NamedTuple

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.strip import Strip

from sdcore.runs.status import LIVE, State, Status
from sdtui import phrases
from sdtui.language import N_, _
from sdtui.theme import GLYPHS, state_style
from sdtui.widgets.cells import bar, fit
from sdtui.widgets.scrolling import Scrolled, scroll_keys

_BAR = 8  # cells of a row's progress bar


class Column(NamedTuple):
    """A column of the table.

    Attributes:
        id: Also the name of what sorts by it.
        title: Shown above it.
        width: In cells; the least where it can grow.
        priority: The highest numbers are dropped first as the width shrinks.
        text: What stands in it.
        right: Aligned to the right.
        grow: Its part of the cells that are left over.
        most: Cells beyond which it does not grow.
    """

    id: str
    title: str
    width: int
    priority: int
    text: Callable[[Status, float], str]
    right: bool = False
    grow: int = 0
    most: int = 200


def progress_bar(share: float | None, width: int) -> str:
    """Draw a bar of ``width`` cells; blank where the length is not known."""
    return " " * width if share is None else bar(share, width).ljust(width, "·")


def _progress(status: Status, _now: float) -> str:
    done = phrases.share(status)
    if done is None:
        steps = UNKNOWN if status.step is None else f"{status.step:,}"
        return steps.rjust(_BAR + 5)
    return f"{progress_bar(done, _BAR)}{int(done * 100):4d}%"


def _note(status: Status, _now: float) -> str:
    """Say why: what a run waits for, does beside training, or how it ended."""
    if status.state == "stopping":
        return phrases.stop_words(status)
    told = status.state == "running" and status.reason
    if told or status.state in {"queued", "failed", "stopped", "interrupted"}:
        return phrases.reason_words(status)
    if silence := phrases.silence_words(status):
        return silence
    return "" if status.over or status.phase in {None, "training"} else phrases.phase_words(status)


def _eta(status: Status, _now: float) -> str:
    return phrases.span(status.eta_s) if status.state == "running" else ""


UNKNOWN = phrases.UNKNOWN
COLUMNS = (
    Column("name", N_("name"), 18, 0, lambda s, _now: s.name, grow=2, most=40),
    Column("progress", N_("progress"), _BAR + 5, 0, _progress),
    Column("step", N_("step"), 15, 7, lambda s, _now: phrases.step_words(s), right=True),
    Column("loss", N_("loss"), 8, 0, lambda s, _now: phrases.loss_words(s.loss), right=True),
    Column("speed", N_("img/s"), 6, 4, lambda s, _now: phrases.rate_words(s.images_per_s),
           right=True),
    Column("gpus", N_("GPUs"), 4, 6, lambda s, _now: str(len(s.gpus) or ""), right=True),
    Column("elapsed", N_("elapsed"), 7, 5, lambda s, _now: phrases.span(s.elapsed), right=True),
    Column("eta", N_("ETA"), 7, 1, _eta, right=True),
    Column("age", N_("age"), 4, 2,
           lambda s, now: phrases.age_words(now - phrases.created(s.id)), right=True),
    Column("note", N_("note"), 14, 3, _note, grow=3),
)  # fmt: skip
_LEAD = 4  # cells before the first column: cursor, mark, glyph, blank


# Priorities of the columns where figures are asked for: numbers instead of the bar and the note.
_FIGURES = {
    "name": 0, "step": 0, "speed": 1, "gpus": 2, "elapsed": 3, "eta": 4, "loss": 5, "age": 6,
    "note": 7,
}  # fmt: skip


@lru_cache(maxsize=8)  # asked for by every row
def layout(width: int, *, figures: bool = False) -> tuple[tuple[Column, int], ...]:
    """Choose the columns that fit ``width`` cells, each with its width, in their order.

    Args:
        width: Cells.
        figures: Steps, speed, GPUs and times go before the bar and the note.
    """
    chosen: list[Column] = []
    left = width - _LEAD
    priorities = _FIGURES if figures else {each.id: each.priority for each in COLUMNS}
    known = [each for each in COLUMNS if each.id in priorities]
    for column in sorted(known, key=lambda each: priorities[each.id]):
        if priorities[column.id] and column.width + 1 > left:
            break
        chosen.append(column)
        left -= column.width + 1
    parts = sum(column.grow for column in chosen)
    placed = []
    for column in COLUMNS:
        if column in chosen:
            more = left * column.grow // parts if parts and left > 0 else 0
            more = max(0, min(more, column.most - column.width))
            placed.append((column, column.width + more))
    return tuple(_given_to_the_last(placed, width))


def _given_to_the_last(placed: list[tuple[Column, int]], width: int) -> list[tuple[Column, int]]:
    """Give what others may not take to the note, so that reasons are as long as can be."""
    left = width - _LEAD - sum(cells + 1 for _column, cells in placed)
    if left > 0 and placed[-1][0].id == "note":
        placed[-1] = (placed[-1][0], placed[-1][1] + left)
    return placed


class TaskTable(Scrolled, can_focus=True):
    """Rows of runs with a cursor. ``draw`` brings it up to date; messages tell what was done."""

    HELP_TITLE = N_("List of tasks")
    HEAD = 1
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "table--header", "table--cursor", "table--faint", "table--mark", "table--bar",
    }  # fmt: skip
    DEFAULT_CSS = """
    TaskTable {
        height: 1fr; width: 1fr;
        & > .table--header { color: $faint; }
        & > .table--cursor { background: $panel; }
        &:focus > .table--cursor { text-style: bold; }
        & > .table--faint { color: $faint; }
        & > .table--mark { color: $mark; }
        & > .table--bar { color: $primary; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", N_("Open"), id="table.open", tooltip=N_("Open the run")),
        Binding("space", "mark", N_("Mark"), id="table.mark",
                tooltip=N_("Mark the run, or take its mark away")),
        *scroll_keys("table", last_key="end,G"),
    ]  # fmt: skip

    class Moved(Message):
        """The cursor stands on another run."""

    class Opened(Message):
        """The run under the cursor is to be opened."""

    class Marked(Message):
        """The mark of the run under the cursor is to be changed."""

    class Sorted(Message):
        """The list is to be sorted by a column."""

        def __init__(self, column: str) -> None:
            super().__init__()
            self.column = column

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Status] = []
        self.cursor = 0
        self._top = 0
        self._marked = frozenset[str]()
        self._sort: tuple[str, bool] = ("age", False)
        self._figures = False
        self._drawn: dict[int, Strip] = {}  # by row of the widget, as they stand on the screen
        self._drawn_for = 0, 0  # the width and the first run they were drawn for
        self._styles: dict[str, Style] = {}
        self._now = time.time()

    @property
    def current(self) -> Status | None:
        """The run under the cursor."""
        return self.rows[self.cursor] if self.rows else None

    def draw(
        self,
        rows: list[Status],
        at: str | None,
        marked: tuple[str, ...],
        sort: tuple[str, bool],
        *,
        figures: bool = False,
    ) -> None:
        """Show ``rows`` with the cursor on the run ``at``, or where it was if that is gone."""
        self.rows, self._marked, self._sort = rows, frozenset(marked), sort
        self._figures = figures
        self._now = time.time()
        found = next((place for place, row in enumerate(rows) if row.id == at), None)
        self.cursor = max(0, min(len(rows) - 1, self.cursor)) if found is None else found
        self._follow()
        self._refresh_changed()

    @property
    def _room(self) -> int:
        return max(1, self.size.height - 1)

    def _follow(self) -> None:
        """Keep the cursor in sight, and no blank rows at the end."""
        self._top = max(0, min(self._top, len(self.rows) - self._room))
        if self.cursor < self._top:
            self._top = self.cursor
        elif self.cursor >= self._top + self._room:
            self._top = self.cursor - self._room + 1

    def _refresh_changed(self) -> None:
        """Send only the rows that look other than they stand on the screen."""
        self._drawn_for = self.size.width, self._top
        for y in range(self.size.height):
            strip = self._strip(y)
            if self._drawn.get(y) != strip:
                self._drawn[y] = strip
                self.refresh(Region(0, y, self.size.width, 1))

    def on_resize(self) -> None:
        """Other columns fit now, or another part of the list; not so at the first size."""
        self._follow()
        if self._drawn_for != (self.size.width, self._top):
            self._drawn.clear()

    def notify_style_update(self) -> None:
        """Other colours count now."""
        super().notify_style_update()
        self._drawn.clear()
        self._styles.clear()

    def render_line(self, y: int) -> Strip:
        """Draw the row ``y`` of the widget; row 0 holds the titles."""
        if y not in self._drawn:
            self._drawn[y] = self._strip(y)
        return self._drawn[y]

    def _strip(self, y: int) -> Strip:
        width = self.size.width
        if y == 0:
            return self._header(width)
        place = self._top + y - 1
        if place >= len(self.rows):
            return Strip.blank(width, self.visual_style.rich_style)
        return self._row(self.rows[place], place == self.cursor, width)

    def _style(self, name: str) -> Style:
        if name not in self._styles:
            self._styles[name] = self.get_component_rich_style(f"table--{name}", partial=True)
        return self._styles[name]

    def _header(self, width: int) -> Strip:
        style = self.visual_style.rich_style + self._style("header")
        sort, reverse = self._sort
        segments = [Segment(" " * _LEAD, style)]
        for column, cells in layout(width, figures=self._figures):
            title = _(column.title)
            if column.id == sort:
                title += "▴" if reverse else "▾"
            room = max(cells, min(cell_len(title), cells + 1))  # the arrow may take the gap
            segments.append(Segment(fit(title, room, right=column.right), style))
            segments.append(Segment(" " * (cells + 1 - room), style))
        return Strip(segments).adjust_cell_length(width, style)

    def _row(self, status: Status, here: bool, width: int) -> Strip:
        base = self.visual_style.rich_style + (self._style("cursor") if here else Style())
        faint = base + self._style("faint")
        mark = base + self._style("mark")
        state = base + state_style(self.app, status.state)
        segments = [
            Segment(">" if here else " ", base),
            Segment("◆" if status.id in self._marked else " ", mark),
            Segment(f"{GLYPHS[status.state]} ", state),
        ]
        for column, cells in layout(width, figures=self._figures):
            text = fit(column.text(status, self._now), cells, right=column.right)
            style = _style_of(column.id, status.state, base, faint, state)
            segments.append(Segment(text, style))
            segments.append(Segment(" ", base))
        return Strip(segments).adjust_cell_length(width, base)

    # Moving about.
    def move_to(self, place: int) -> None:
        """Put the cursor on a row, as near as there is one."""
        if not self.rows:
            return
        place = max(0, min(len(self.rows) - 1, place))
        if place != self.cursor:
            self.cursor = place
            self._follow()
            self._refresh_changed()
            self.post_message(self.Moved())

    def action_scroll_by(self, rows: int) -> None:
        """Move the cursor, and with it what is to be seen."""
        self.move_to(self.cursor + rows)

    def action_open(self) -> None:
        """Open the run under the cursor."""
        if self.rows:
            self.post_message(self.Opened())

    def action_mark(self) -> None:
        """Ask for the run under the cursor to be marked, or not any more."""
        if self.rows:
            self.post_message(self.Marked())

    def on_click(self, event: events.Click) -> None:
        """Go to a row, open it with the second click; sort by a title."""
        if event.y == 0:
            column = self._column_at(event.x)
            if column is not None:
                self.post_message(self.Sorted(column))
        elif self._top + event.y - 1 < len(self.rows):
            self.move_to(self._top + event.y - 1)
            if event.chain >= 2:
                self.action_open()

    def _column_at(self, x: int) -> str | None:
        end = _LEAD
        for column, cells in layout(self.size.width, figures=self._figures):
            end += cells + 1
            if x < end:
                return "state" if x < _LEAD else column.id
        return None

    def get_content_width(self, container: Size, viewport: Size) -> int:  # noqa: ARG002
        """Take what there is."""
        return container.width


def _style_of(column: str, state: State, base: Style, faint: Style, coloured: Style) -> Style:
    """Colour what tells the state, and dim what is only by the way."""
    if column == "progress":
        return coloured if state in LIVE else faint
    if column == "note":
        return coloured if state in {"failed", "stopping", "interrupted", "queued"} else faint
    return faint if column in {"age", "gpus", "elapsed"} else base
