"""What a run saved and what happened to it: its checkpoints, then its events, newest first."""

import re
import time
from functools import lru_cache
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.geometry import Region
from textual.strip import Strip

from sdcore import units
from sdcore.runs.fields import Fields
from sdtui import phrases
from sdtui.language import N_, _
from sdtui.live.snapshot import RunSnapshot
from sdtui.told import told
from sdtui.widgets.cells import JOINER, fit
from sdtui.widgets.pane import Pane
from sdtui.widgets.scrolling import Scrolled, scroll_keys

_MOST = 500  # events shown; a run of days has some thousand samples and checkpoints
_INDENT = 6  # cells: what follows a time of day
_BAD = {"warning", "non_finite"}

Row = tuple[str, str]  # the name of a style, and the words


def rows_of(snapshot: RunSnapshot, every: int | None, now: float) -> list[Row]:
    """Return all lines of the pane.

    Args:
        snapshot: The run.
        every: Optimizer steps from one checkpoint to the next, when known.
        now: Seconds since the epoch.
    """
    rows = [("faint", _next_words(snapshot, every))] if not snapshot.status.over else []
    rows = [row for row in rows if row[1]]
    for saved in reversed(snapshot.checkpoints):
        size = "" if saved.size is None else units.size(saved.size)
        age = "" if saved.at is None else phrases.age_words(max(0.0, now - saved.at))
        sign = "★" if saved.best else "▣"  # the lowest validation loss
        row = f"{sign} {saved.step:>9,}  {size:>9}  {age:>4}"
        if saved.val_loss is not None:
            row += f"  val_loss {phrases.loss_words(saved.val_loss)}"
        rows.append(("checkpoint", row))
    if rows:
        rows.append(("", ""))
    return rows + _event_rows(snapshot)


def _next_words(snapshot: RunSnapshot, every: int | None) -> str:
    step, total = snapshot.status.step, snapshot.status.total
    if not every or step is None:
        return ""
    coming = (step // every + 1) * every
    if total is not None and coming >= total:
        return _("the last one comes at the end, in {n} steps").format(n=f"{total - step:,}")
    return _("next at {step}, in {n} steps").format(step=f"{coming:,}", n=f"{coming - step:,}")


def _event_rows(snapshot: RunSnapshot) -> list[Row]:
    rows: list[Row] = []
    for record in reversed(snapshot.events):
        words = phrases.event_words(record)
        if words is None:
            continue
        event = Fields(record)
        style = "bad" if event.text("kind") in _BAD else "event"
        rows.append((style, f"{clock(event.moment('at'))} {words}"))
        if len(rows) == _MOST:
            break
    return rows


def clock(at: float | None) -> str:
    """Write the time of day of a moment."""
    try:
        return time.strftime("%H:%M", time.localtime(at)) if at is not None else "  :  "
    except (OverflowError, ValueError, OSError):  # a record made by hand can hold any number
        return "  :  "


# A word, or one sign of a script that is written without blanks, with the marks that close it.
_WIDE = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff"
_PIECES = re.compile(rf" *(?:[{_WIDE}]|[^ {_WIDE}]+)[，。、；：！？）」』》]*")


@lru_cache(maxsize=4096)
def wrapped(words: str, width: int, indent: int) -> tuple[str, ...]:
    """Break a line between words, or between wide signs, by cells; what follows is indented."""
    words = words.replace(JOINER, "")
    if cell_len(words) <= width or width < indent + 8:
        return (words,)
    lines, line = [], ""
    for word in _PIECES.findall(words):
        joined = line + word
        if line.strip() and cell_len(joined) > width:
            lines.append(line)
            joined = " " * indent + word.lstrip(" ")
        while cell_len(joined) > width:  # one long word: a path
            head = set_cell_size(joined, width).rstrip()
            lines.append(head)
            joined = " " * indent + joined[len(head) :]
        line = joined
    return (*lines, line)


class HistoryList(Scrolled, can_focus=True):
    """Lines that are scrolled by rows; draws those that are visible and changed."""

    HELP_TITLE = N_("Checkpoints and events")
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "history--checkpoint", "history--event", "history--bad", "history--faint",
    }  # fmt: skip
    DEFAULT_CSS = """
    HistoryList {
        height: 1fr; width: 1fr;
        & > .history--checkpoint { color: $success; }
        & > .history--event { color: $foreground; }
        & > .history--bad { color: $warning; }
        & > .history--faint { color: $faint; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = scroll_keys("history", N_("Newest"), N_("Oldest"))

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[Row] = []
        self._lines: list[Row] = []  # the same, as they are broken at this width
        self._top = 0
        self._drawn: dict[int, Row] = {}

    def draw(self, rows: list[Row]) -> None:
        """Show ``rows`` from where they were scrolled to."""
        self._rows = rows
        self._wrap()
        self._refresh_changed()

    def _wrap(self) -> None:
        width = self.size.width - 1
        self._lines = [
            (name, line) for name, words in self._rows for line in wrapped(words, width, _INDENT)
        ]

    def _refresh_changed(self) -> None:
        self._top = max(0, min(self._top, len(self._lines) - self.size.height))
        for y in range(self.size.height):
            if self._drawn.get(y) != self._row(y):
                self.refresh(Region(0, y, self.size.width, 1))

    def notify_style_update(self) -> None:
        """Other colours count now."""
        super().notify_style_update()
        self._drawn.clear()

    def on_resize(self) -> None:
        """Lines are cut elsewhere now."""
        self._drawn.clear()
        self._wrap()
        self._refresh_changed()

    def render_line(self, y: int) -> Strip:
        """Draw a visible line."""
        name, words = self._drawn[y] = self._row(y)
        style = self.visual_style.rich_style
        if name:
            style += self.get_component_rich_style(f"history--{name}", partial=True)
        return Strip([Segment(fit(f" {words}", self.size.width), style)])

    def _row(self, y: int) -> Row:
        place = self._top + y
        return self._lines[place] if place < len(self._lines) else ("", "")

    def action_scroll_by(self, rows: int) -> None:
        """Scroll."""
        self._top += rows
        self._refresh_changed()

    def on_click(self, event: events.Click) -> None:
        """A click gives the focus, which Textual does; it goes no further."""
        event.stop()


class HistoryPane(Pane):
    """The checkpoints on disk, with size and age, and the events of a run."""

    def __init__(self, **more: object) -> None:
        super().__init__(**more)  # type: ignore[arg-type]  # id and classes, as Textual takes them
        self._snapshot: RunSnapshot | None = None
        self.every: int | None = None
        self.surroundings: tuple[str, str] | None = None  # the runtime, and why

    def body(self) -> ComposeResult:
        """One list."""
        yield HistoryList()

    def show(self, snapshot: RunSnapshot) -> None:
        """Draw what is new."""
        self._snapshot = snapshot
        rows = rows_of(snapshot, self.every, time.time())
        if self.surroundings is not None:
            runtime, why = self.surroundings
            rows.append(("faint", _("{runtime}: {why}").format(runtime=runtime, why=told(why))))
        self.query_one(HistoryList).draw(rows)
        self.draw_title()

    def title_words(self) -> str:
        """Name the pane."""
        return _("checkpoints, events")

    def title_right(self) -> str:
        """Count what is kept."""
        if self._snapshot is None or not self._snapshot.checkpoints:
            return ""
        total = sum(saved.size or 0 for saved in self._snapshot.checkpoints)
        kept = len(self._snapshot.checkpoints)
        return _("{n} kept, {size}").format(n=kept, size=units.size(total))
