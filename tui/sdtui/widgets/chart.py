"""The loss chart: how one looks at it, by keys and by mouse.

How it is looked at is kept in the settings, once a person has settled on it.
"""

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from textual.binding import BindingType
from textual.timer import Timer

from sdtui.language import N_, _
from sdtui.widgets.chart_axes import Range, column_of
from sdtui.widgets.chart_body import ChartBody
from sdtui.widgets.chart_canvas import MARKS, MARKS_WORDS
from sdtui.widgets.chart_keys import CHART_KEYS
from sdtui.widgets.chart_plot import Plot
from sdtui.widgets.chart_track import nearest
from sdtui.widgets.chart_view import (
    FITS,
    METRICS,
    X_AXES,
    ChartState,
    kept_from,
    next_of,
    state_from,
)
from sdtui.widgets.chart_window import panned, zoomed

_KEEP_AFTER_S = 1.5  # a person who tries five smoothings has the last one kept


class LossChart(ChartBody):
    """Loss, learning rate, gradient norm, images/s or GPU memory of a run."""

    HELP_TITLE = N_("Chart")
    HELP_SIGNS = tuple((MARKS[kind], words) for kind, (_short, words) in MARKS_WORDS.items())
    BINDINGS: ClassVar[list[BindingType]] = CHART_KEYS

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self._keep: Timer | None = None

    def on_mount(self) -> None:
        """Look as it was left."""
        settings = getattr(self.app, "settings", None)
        self.state = state_from(getattr(settings, "chart", {}))

    def on_unmount(self) -> None:
        """Keep a change that was still waiting."""
        if self._keep is not None:
            self._keep_now()

    # How it is looked at.
    def _change(self, state: ChartState) -> None:
        """Look in another way, and keep that for the next time."""
        if state == self.state:
            return
        self.forget_range()
        self.state = state
        self.draw()
        if self._keep is not None:
            self._keep.stop()
        self._keep = self.set_timer(_KEEP_AFTER_S, self._keep_now)

    def _keep_now(self) -> None:
        self._keep = None
        change = getattr(self.app, "change_settings", None)
        if change is not None:
            change(chart=kept_from(self.state))

    def action_metric(self, by: int) -> None:
        """Show the next metric that this run has."""
        curve = self.curve
        there = [name for name in METRICS if np.isfinite(getattr(curve, name)).any()]
        self._change(replace(self.state, metric=next_of(there or ["loss"], self.state.metric, by)))

    def action_show_metric(self, metric: str) -> None:
        """Show one metric; shown already, the loss again; of one the run lacks, say so."""
        if not np.isfinite(getattr(self.curve, metric)).any():
            words = _("{metric}: this run did not measure it").format(metric=_(METRICS[metric][1]))
            self.notify(words, markup=False)
            return
        again = metric == self.state.metric
        self._change(replace(self.state, metric="loss" if again else metric))

    def action_log(self) -> None:
        """Switch the y axis."""
        self._change(replace(self.state, log=not self.state.log))

    def action_x_axis(self) -> None:
        """Switch the x axis; without epochs there is none of them."""
        there = [x for x in X_AXES if x != "epoch" or np.isfinite(self.curve.epoch).any()]
        self._change(replace(self.state, x=next_of(there, self.state.x)))

    def action_smooth(self, by: int) -> None:
        """Smooth more or less."""
        self._change(self.state.smoother(by))

    def action_both(self) -> None:
        """Smooth without lag, or as the run would see it."""
        self._change(replace(self.state, both=not self.state.both))

    def action_fit(self) -> None:
        """Make room for something else."""
        self._change(replace(self.state, fit=next_of(FITS, self.state.fit)))

    def action_raw(self) -> None:
        """Show or hide the raw points."""
        self._change(replace(self.state, raw=not self.state.raw))

    # Zoom and pan.
    def _look_at(self, window: Range | None) -> None:
        if window != self._window:
            self._window, self._y = window, None
            self.draw()

    def action_zoom(self, factor: float) -> None:
        """Look closer or step back, at the cursor or the end."""
        place = self._cursor_place()
        self._look_at(zoomed(self.view, factor, self._last if place is None else place, self.full))

    def action_whole(self) -> None:
        """Show the whole run."""
        self._look_at(None)

    def action_pan(self, share: float) -> None:
        """Move a zoomed view."""
        if self._window is not None:
            self._look_at(panned(self._window, share, self.full))

    def on_plot_wheeled(self, event: Plot.Wheeled) -> None:
        """Zoom at the pointer."""
        self._look_at(zoomed(self.view, event.factor, self._place_at(event.column), self.full))

    def on_plot_dragged(self, event: Plot.Dragged) -> None:
        """Pull a zoomed view along."""
        self.action_pan(-event.columns / self._frame.columns)

    def on_plot_pointed(self, event: Plot.Pointed) -> None:
        """Read off where it was clicked."""
        self._read_off(self._place_at(event.column))

    def _place_at(self, column: int) -> float:
        """Return the place on the x axis in the middle of a column of the plot's cells."""
        share = (column - self._frame.left + 0.5) / self._frame.columns
        return self.view.low + self.view.span * share

    # The cursor.
    def _read_off(self, place: float) -> None:
        """Put the cursor to the step nearest to a place."""
        places = self._tracks[0].places
        if not len(places):
            return
        self._put_cursor(nearest(places, place))

    def _put_cursor(self, row: int) -> None:
        self._cursor = float(self.curve.step[row])
        place = self._tracks[0].places[row]
        if self._window is not None and not self._window.low <= place <= self._window.high:
            middle = (place - self._window.low) / self._window.span - 0.5
            self._window = panned(self._window, middle, self.full)
        self.draw()

    def action_cursor(self, columns: int) -> None:
        """Move the cursor by columns of cells, but by one step at least; show it if it was away."""
        if not len(self.curve):
            return
        place, places = self._cursor_place(), self._tracks[0].places
        if place is None:
            self._read_off(min(self._last, self.view.high))
            return
        row = min(int(np.searchsorted(self.curve.step, self._cursor or 0)), len(places) - 1)
        column = column_of(place, self.view, self._frame.columns) + self._frame.left
        self._read_off(self._place_at(column + columns))
        now = int(np.searchsorted(self.curve.step, self._cursor or 0))
        if now == row or (now > row) != (columns > 0):
            self._put_cursor(min(max(row + (1 if columns > 0 else -1), 0), len(places) - 1))

    def action_cursor_to(self, row: int) -> None:
        """Put the cursor to the first step or the last."""
        if len(self.curve):
            self._put_cursor(row % len(self.curve))

    def action_no_cursor(self) -> None:
        """Put the cursor away."""
        self._cursor = None
        self.draw()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        """Leave Esc to the screen while there is no cursor to put away."""
        return action != "no_cursor" or self._cursor is not None
