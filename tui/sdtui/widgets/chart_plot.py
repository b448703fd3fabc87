"""The cells of a chart on the screen: repaints what differs, tells where the mouse was used."""

import itertools
from typing import Any, ClassVar

import numpy as np
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from sdtui.widgets.chart_canvas import STYLES, Grid

_ZOOM = 0.8  # of the view's span, for each click of the wheel


class Plot(Widget, can_focus=True):
    """Shows a ``Grid``; knows nothing of what it means."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"plot--{name}" for name in STYLES}
    DEFAULT_CSS = """
    Plot {
        height: 1fr; width: 1fr;
        & > .plot--raw { color: $raw; }
        & > .plot--axis { color: $rule; }
        & > .plot--label { color: $faint; }
        & > .plot--cursor { color: $accent; }
        & > .plot--saved { color: $mark; }
        & > .plot--gone { color: $faint; }
        & > .plot--resumed { color: $accent; text-style: bold; }
        & > .plot--nan { color: $error; text-style: bold; }
        & > .plot--series-1 { color: $series-1; }
        & > .plot--series-2 { color: $series-2; }
        & > .plot--series-3 { color: $series-3; }
        & > .plot--series-4 { color: $series-4; }
        & > .plot--series-5 { color: $series-5; }
        & > .plot--series-6 { color: $series-6; }
        & > .plot--series-7 { color: $series-7; }
    }
    """

    class Pointed(Message):
        """A cell was clicked."""

        def __init__(self, column: int) -> None:
            super().__init__()
            self.column = column

    class Wheeled(Message):
        """The wheel was turned over a cell; ``factor`` is what the view's span changes by."""

        def __init__(self, column: int, factor: float) -> None:
            super().__init__()
            self.column, self.factor = column, factor

    class Dragged(Message):
        """The chart was pulled to the right by so many columns."""

        def __init__(self, columns: int) -> None:
            super().__init__()
            self.columns = columns

    class Resized(Message):
        """There is another number of cells to fill."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self._grid = Grid.blank(0, 0)
        self._strips: dict[int, Strip] = {}
        self._styles: list[Style] = []
        self._drag_from: int | None = None
        self._dragged = False

    def paint(self, grid: Grid) -> None:
        """Show ``grid``; only the parts of lines that differ are drawn again."""
        old, self._grid = self._grid, grid
        if old.chars.shape != grid.chars.shape:
            self._strips.clear()
            self.refresh()
            return
        differs = (old.chars != grid.chars) | (old.styles != grid.styles)
        for row in np.flatnonzero(differs.any(axis=1)):
            columns = np.flatnonzero(differs[row])
            first, last = int(columns[0]), int(columns[-1])
            self._strips.pop(int(row), None)
            self.refresh(Region(first, int(row), last - first + 1, 1))

    def notify_style_update(self) -> None:
        """Take the colours of another theme."""
        self._styles, self._strips = [], {}
        super().notify_style_update()

    def render_line(self, y: int) -> Strip:
        """Return one line of cells."""
        if y >= len(self._grid.chars):
            return Strip.blank(self.size.width, self.visual_style.rich_style)
        if y not in self._strips:
            self._strips[y] = self._strip(y)
        return self._strips[y]

    def _strip(self, y: int) -> Strip:
        if not self._styles:
            self._styles = [self.get_component_rich_style(f"plot--{name}") for name in STYLES]
        chars, styles = self._grid.chars[y], self._grid.styles[y]
        text = chars.astype("<u4").tobytes().decode("utf-32-le")
        bounds = [0, *(np.flatnonzero(np.diff(styles)) + 1), len(styles)]
        return Strip(
            [
                Segment(text[begin:end], self._styles[styles[begin]])
                for begin, end in itertools.pairwise(bounds)
                if end > begin
            ],
            len(text),
        )

    def on_resize(self) -> None:
        """Ask for a picture of the new size."""
        self.post_message(self.Resized())

    # The mouse: a click points, a drag pans, the wheel zooms.
    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Begin a click or a drag."""
        self._drag_from, self._dragged = event.x, False
        self.capture_mouse()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Pan while the button is held."""
        if self._drag_from is not None and event.x != self._drag_from:
            self.post_message(self.Dragged(event.x - self._drag_from))
            self._drag_from, self._dragged = event.x, True

    def on_mouse_up(self, event: events.MouseUp) -> None:
        """End a drag, or point at a cell."""
        self.release_mouse()
        if self._drag_from is not None and not self._dragged:
            self.post_message(self.Pointed(event.x))
        self._drag_from = None

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Look closer."""
        event.stop()
        self.post_message(self.Wheeled(event.x, _ZOOM))

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Step back."""
        event.stop()
        self.post_message(self.Wheeled(event.x, 1 / _ZOOM))
