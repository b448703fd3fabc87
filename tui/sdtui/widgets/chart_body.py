"""What the loss chart draws; the keys and the mouse are those of ``chart.LossChart``.

It draws the snapshots it is shown and reads no files. Curves of a hundred thousand steps that are
new to it are smoothed in a thread, so that no key waits for them.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.cells import cell_len
from rich.style import Style
from rich.text import Text
from textual.app import ComposeResult

from sdtui.kept import Kept
from sdtui.language import _
from sdtui.live.curve import UNREAD, Curve
from sdtui.live.snapshot import RunSnapshot
from sdtui.widgets.braille import ACROSS
from sdtui.widgets.chart_axes import Range, Tick, ticks, x_ticks
from sdtui.widgets.chart_canvas import Axes, Frame, Grid, draw, frame
from sdtui.widgets.chart_marks import Mark, MarkKind, Steps, marks_in, steps_of
from sdtui.widgets.chart_plot import Plot
from sdtui.widgets.chart_scene import Scene, Wish, full_view, scene
from sdtui.widgets.chart_track import Look, Track, tracks_of
from sdtui.widgets.chart_view import ChartState
from sdtui.widgets.chart_window import Closer, following
from sdtui.widgets.chart_words import legend, read_out, signs, summary, title
from sdtui.widgets.line import Line
from sdtui.widgets.pane import Pane

_LONG = 100_000  # steps; to smooth more of them at once would hold up a key
_AROUND_TITLE = 8  # cells of the title line that are neither its words nor those at its end
_LEGEND_FROM = 8  # rows of the pane
_ROWS_A_TICK, _COLUMNS_A_TICK = 3, 8
_NARROWEST_LABELS = 4  # cells


class ChartBody(Pane):
    """One metric of a run over its steps, smoothed, with other runs laid over it."""

    DEFAULT_CSS = """
    ChartBody > #legend { display: none; color: $foreground; }
    ChartBody.-overlaid > #legend { display: block; }
    """

    _closer = Kept(Closer())

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.state = ChartState()
        self._snapshot: RunSnapshot | None = None
        self._overlays: tuple[tuple[str, Curve], ...] = ()
        self._tracks: list[Track] = [Track()]
        self._happened: Steps = {}
        self._y: Range | None = None  # of the last picture; kept while it fits
        self._labels = _NARROWEST_LABELS
        self._last = 0.0
        self._scene: Scene | None = None
        self._frame = Frame(0, 1, 1)
        self._preparing = False

    def body(self) -> ComposeResult:
        """Put the legend above and the read-out below the plot."""
        yield Line(id="legend")
        yield Plot()
        yield Line(id="readout")

    # What is drawn.
    def show(self, snapshot: RunSnapshot, overlays: tuple[tuple[str, Curve], ...] = ()) -> None:
        """Draw the run, and the curves of others over it, each with its run's name."""
        old = self._snapshot
        if old is not None and old.run != snapshot.run:
            self._y, self._last = None, 0.0
            self._tracks = [Track()]
        if old is None or _happened(old) != _happened(snapshot):
            self._happened = steps_of(snapshot.events, snapshot.checkpoints)
        same = self._overlays == overlays and old is not None and _seen(old) == _seen(snapshot)
        self._snapshot, self._overlays = snapshot, overlays
        if not same:
            self.draw()

    def draw(self) -> None:
        """Bring the tracks and every cell up to date."""
        plot = self.query_one_optional(Plot) if self.is_mounted else None
        if plot is None or not plot.size.width or not plot.size.height:
            return
        self._follow()
        if self._preparing and self._tracks[0].curve is None:
            return  # an empty chart would be a lie
        self._overlay_lines()
        plot.paint(self._grid(plot.size.width, plot.size.height))
        self.draw_title()
        self._draw_readout()

    def _grid(self, width: int, height: int) -> Grid:
        """Work the picture out, again if the labels need another width than those before."""
        while True:
            self._frame = frame(width, height, self._labels)
            self._scene = self.work_out(self._frame.columns * ACROSS, self._frame.rows)
            y_ticks = self._y_ticks(self._scene)
            need = max([_NARROWEST_LABELS, *(len(tick.words) for tick in y_ticks)])
            if need <= self._labels:
                break
            self._labels = need
        self._y = self._scene.y if len(self.curve) else None
        axes = Axes(self._x_ticks(), y_ticks, self._marks(), self._cursor_place())
        return draw(self._scene, axes, self._frame, (width, height))

    def forget_range(self) -> None:
        """Let the y axis be chosen anew: it is of something else now."""
        self._y, self._labels = None, _NARROWEST_LABELS

    def work_out(self, columns: int, rows: int) -> Scene:
        """Return what is shown, for a number of columns of dots and rows of cells."""
        state, own = self.state, self._tracks[0]
        wish = Wish(self.view, columns, rows, state.log, state.fit, state.raw)
        return scene(self._tracks, wish, self._y, own.places[own.bad])

    def _follow(self) -> None:
        """Take the newest curves into the tracks, here or, if that takes long, in a thread."""
        look = Look(self.state.metric, self.state.x, self.state.decay, self.state.both)
        snapshot = self._snapshot
        curves = [UNREAD if snapshot is None else snapshot.curve]
        curves += [curve for _name, curve in self._overlays]
        tracks = [*self._tracks, *(Track() for _ in curves)][: len(curves)]
        pairs = list(zip(tracks, curves, strict=True))
        if any(len(curve) > _LONG and not track.knows(curve, look) for track, curve in pairs):
            if not self._preparing:
                self._preparing = True
                self.run_worker(self._prepare(curves, look), exit_on_error=True)
            return
        for track, curve in pairs:
            track.update(curve, look)
        self._go_on(tracks)

    async def _prepare(self, curves: list[Curve], look: Look) -> None:
        """Make new tracks in a thread, then draw what is the newest by then."""
        try:
            self._tracks = await asyncio.to_thread(tracks_of, curves, look)
        finally:
            self._preparing = False
        self.draw()

    def _go_on(self, tracks: list[Track]) -> None:
        """Show these tracks; a zoomed view goes along with a growing end."""
        before, self._tracks = self._last, tracks
        self._last = float(tracks[0].places[-1]) if len(tracks[0].places) else 0.0
        if self._window is not None and before > 0:
            self._window = following(self._window, before, self._last, self.full)

    @property
    def _look(self) -> Closer:
        run = "" if self._snapshot is None else self._snapshot.run.id
        return self._closer.at(run, self.state.x)

    @property
    def _window(self) -> Range | None:
        """The part of the x axis that is shown; None is all of it."""
        return self._look.window

    @_window.setter
    def _window(self, window: Range | None) -> None:
        self._closer = replace(self._look, window=window)

    @property
    def _cursor(self) -> float | None:
        """The step that is read off."""
        return self._look.cursor

    @_cursor.setter
    def _cursor(self, step: float | None) -> None:
        self._closer = replace(self._look, cursor=step)

    @property
    def curve(self) -> Curve:
        """The open run's, as far as it is drawn."""
        curve = self._tracks[0].curve
        return UNREAD if curve is None else curve

    @property
    def full(self) -> Range:
        """The whole x axis."""
        last = max([0.0, *(float(t.places[-1]) for t in self._tracks if len(t.places))])
        status = None if self._snapshot is None else self._snapshot.status
        total = None if status is None or status.total is None else float(status.total)
        return full_view(self.state.x, last, total, over=status is not None and status.over)

    @property
    def view(self) -> Range:
        """The part of the x axis that is shown."""
        return self._window or self.full

    def _x_ticks(self) -> list[Tick]:
        most = max(2, self._frame.columns // _COLUMNS_A_TICK)
        return x_ticks(self.view, most, self.state.x)

    def _y_ticks(self, of: Scene) -> list[Tick]:
        return ticks(of.y, max(2, self._frame.rows // _ROWS_A_TICK), log=self.state.log)

    def _marks(self) -> list[Mark]:
        if not len(self.curve):
            return []
        own, columns = self._tracks[0], self._frame.columns
        return marks_in(self._happened, self.curve.step, own.places, self.view, columns)

    def _kinds(self) -> set[MarkKind]:
        """Return the kinds of marks that stand on the axis now."""
        if not self._frame.axis:
            return set()
        broken = self._scene is not None and self._scene.broken.any()
        return {mark.kind for mark in self._marks()} | ({"nan"} if broken else set())

    def _place(self, step: float) -> float:
        """Return where a step lies on the x axis."""
        row = int(np.searchsorted(self.curve.step, step))
        return float(self._tracks[0].places[min(row, len(self.curve) - 1)])

    def _cursor_place(self) -> float | None:
        if self._cursor is None or not len(self.curve):
            return None
        return self._place(self._cursor)

    def _overlay_lines(self) -> None:
        shown = bool(self._overlays) and self.size.height >= _LEGEND_FROM
        self.set_class(shown, "-overlaid")
        if shown and self._snapshot is not None:
            names = [self._snapshot.status.name, *(name for name, _curve in self._overlays)]
            self.query_one("#legend", Line).set(legend(names, self.size.width, self._style_of))

    def _style_of(self, name: str) -> Style:
        return self.query_one(Plot).get_component_rich_style(f"plot--{name}", partial=True)

    # The words around it.
    def title_words(self) -> Text | str:
        """Say what is drawn and how."""
        cut = self._scene is not None and self._scene.cut
        room = self.size.width - cell_len(self.title_right()) - _AROUND_TITLE
        return title(self.state, zoomed=self._window is not None, cut=cut, width=room)

    def title_right(self) -> str:
        """Say whether all of it is there."""
        coarse = self.curve.coarse or any(curve.coarse for _name, curve in self._overlays)
        if coarse or self._preparing:
            return _("reading…")
        if self._overlays and not self.has_class("-overlaid"):
            return _("{n} laid over").format(n=len(self._overlays))
        return ""

    def _draw_readout(self) -> None:
        line, place = self.query_one("#readout", Line), self._cursor_place()
        width = self.size.width
        if place is None or self._cursor is None:
            words = summary(self.curve, self._tracks[0], self.state.metric, width)
            line.set(signs(words, self._kinds(), width, self._style_of))
            return
        row = int(np.searchsorted(self.curve.step, self._cursor))
        row = min(row, len(self.curve) - 1)
        line.set(read_out(self.curve, self._tracks, row, place, width, self._style_of))

    def on_resize(self) -> None:
        """Draw at the new size once it is known to the parts."""
        self.call_after_refresh(self.draw)

    def on_plot_resized(self) -> None:
        """Draw at the new size."""
        self.draw()

    # Export.
    def export_job(self) -> Callable[[Path], list[Path]]:
        """Return what writes the chart as it is shown now; that may take long, so in a thread."""
        from sdtui.export import export_all  # noqa: PLC0415  # rare
        from sdtui.widgets.chart_picture import COLUMNS, ROWS, picture_of  # noqa: PLC0415

        status = None if self._snapshot is None else self._snapshot.status
        curves = [("" if status is None else status.name, self.curve), *self._overlays]
        of = self.work_out(COLUMNS, ROWS)
        if self._scene is not None:  # finer columns have other extremes; the axis stays
            of = replace(of, y=self._scene.y, cut=self._scene.cut)
        picture = picture_of(of, self.state, [name for name, _curve in curves], self._marks())
        stem = f"{'chart' if status is None else status.id}-{self.state.metric}"
        return lambda folder: export_all(folder, stem, picture, curves)


def _happened(snapshot: RunSnapshot) -> tuple[object, ...]:
    """Return what the marks of a run go by; its events only ever become more."""
    return snapshot.run, len(snapshot.events), snapshot.checkpoints


def _seen(snapshot: RunSnapshot) -> tuple[object, ...]:
    """Return all that the chart of a run goes by."""
    status = snapshot.status
    return snapshot.curve, *_happened(snapshot), status.total, status.over, status.name
