"""The marked runs beside each other: what differs, what came out, curves over one another."""

from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Static

from sdcore import units
from sdcore.runs.status import Status
from sdcore.task.platform_env import PLATFORM_ENV
from sdtui import phrases
from sdtui.frozen import read_task
from sdtui.kept import Kept
from sdtui.keymap import keyed
from sdtui.language import N_, _
from sdtui.live.hub import MOST_OVERLAYS
from sdtui.live.snapshot import View
from sdtui.screens.base import ConsoleScreen
from sdtui.screens.compare_params import differences, flat
from sdtui.screens.compare_table import CompareTable, Row
from sdtui.theme import GLYPHS

if TYPE_CHECKING:
    from sdtui.live.curve import Curve
    from sdtui.live.samples import Sample, SampleSet


VIEWS = ("", "-samples", "-curves")  # classes: the table with curves, one of these alone


class CompareScreen(ConsoleScreen):
    """Two to seven runs; the open one first if it is marked."""

    MODE = "compare"
    HELP_TITLE = N_("Compare")
    AUTO_FOCUS = "CompareTable"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("v", "view", N_("Samples, curves"), id="compare.view",
                tooltip=N_("Show the last samples, the curves alone, or the table")),
    ]  # fmt: skip

    _aside = Kept("")  # one of ``VIEWS``

    def __init__(self) -> None:
        super().__init__()
        self._tasks: dict[str, dict[str, str]] = {}
        self._lowest: dict[str, tuple[object, float | None]] = {}

    def body(self) -> ComposeResult:
        """The table, and the curves and pictures beside or beneath it."""
        # Imported with the screen: NumPy and pictures are not for the first paint.
        from sdtui.widgets.chart import LossChart  # noqa: PLC0415
        from sdtui.widgets.picture import PictureGrid  # noqa: PLC0415

        yield Static(id="hint", markup=False)
        with Horizontal(id="compared"):
            yield CompareTable()
            with Vertical(id="aside"):
                yield LossChart(id="chart")
                yield PictureGrid(id="pictures")

    def chosen(self) -> tuple[str, ...]:
        """Return the ids that are compared, the open run first."""
        marked = self.console_app.marked[: MOST_OVERLAYS + 1]
        opened = self.console_app.hub_run
        if opened is not None and opened.id in marked:
            return (opened.id, *(id_ for id_ in marked if id_ != opened.id))
        return marked

    def on_screen_resume(self) -> None:
        """Have the curves of the marked runs read."""
        ids = self.chosen()
        if len(ids) > 1:
            hub = self.console_app.hub
            if hub.run is None or hub.run.id != ids[0]:
                hub.open(ids[0])
            hub.overlay(ids[1:], samples=True)
            self._read_tasks(ids)

    @work(thread=True, exclusive=True, group="tasks")
    def _read_tasks(self, ids: tuple[str, ...]) -> None:
        hub = self.console_app.hub
        tasks = {id_: flat(read_task(hub.run_of(id_)), PLATFORM_ENV) for id_ in ids}
        self.app.call_from_thread(self._take, tasks)

    def _take(self, tasks: dict[str, dict[str, str]]) -> None:
        self._tasks = tasks
        self.redraw()

    def show(self, view: View) -> None:
        """Draw the marked runs, or how to mark some."""
        if not (self.is_mounted and self.query_one_optional("#pictures")):  # it comes or goes
            return
        self._lay_out()
        by_id = {status.id: status for status in view.runs or ()}
        runs = [by_id[id_] for id_ in self.chosen() if id_ in by_id]
        self.set_class(len(runs) < 2, "-few")
        if len(runs) < 2:
            hint = self.query_one("#hint", Static)
            words = _("Mark two to {n} runs with [table.mark] in the list of tasks ([go.tasks]), "
                      "then press [go.compare].")  # fmt: skip
            hint.update(keyed(words.format(n=MOST_OVERLAYS + 1)), layout=False)
            return
        rows = [*self._outcomes(runs, view), *self._differences(runs)]
        self.query_one(CompareTable).draw(tuple(run.name for run in runs), tuple(rows))
        self._draw_chart(runs, view)
        self._draw_samples(runs, view)
        if self.focused is None and self.is_current:
            self.focus_next()

    def _draw_samples(self, runs: list[Status], view: View) -> None:
        """Show the newest picture of each run's first prompt, side by side."""
        from sdtui.widgets.picture import PictureGrid, Tile  # noqa: PLC0415  # see ``body``

        grid = self.query_one(PictureGrid)
        if not grid.display or not grid.region.height:
            return
        sets = dict(view.samples)
        if view.run is not None:
            sets[view.run.run.id] = view.run.samples
        tiles = []
        for run in runs:
            found = last_sample(sets.get(run.id, ()))
            if found is None:
                tiles.append(Tile(None, _("{name}: no samples").format(name=run.name)))
            else:
                words = _("{name}, step {step}").format(name=run.name, step=f"{found[0]:,}")
                tiles.append(Tile(found[1].path, words))
        grid.set_tiles(tuple(tiles), max(1, min(len(tiles), grid.size.width // _PICTURE)))

    def _draw_chart(self, runs: list[Status], view: View) -> None:
        from sdtui.widgets.chart import LossChart  # noqa: PLC0415  # see ``body``

        snapshot = view.run
        if snapshot is not None and snapshot.run.id == runs[0].id:
            self.query_one(LossChart).show(snapshot, phrases.named(view.overlays))

    def _outcomes(self, runs: list[Status], view: View) -> list[Row]:
        curves = dict(view.overlays)
        if view.run is not None:
            curves[view.run.run.id] = view.run.curve
        lows = [self._low(run.id, curves.get(run.id)) for run in runs]
        rows = [
            ("state", [f"{GLYPHS[run.state]} {phrases.state_name(run.state)}" for run in runs]),
            ("step", [phrases.step_words(run) for run in runs]),
            ("last loss", [phrases.loss_words(run.loss) for run in runs]),
            ("lowest loss", _best(lows)),
            ("images/s", [phrases.rate_words(run.images_per_s) for run in runs]),
            ("elapsed", [phrases.elapsed_words(run) for run in runs]),
            ("peak GPU memory", [_size(run.peak_gpu_memory) for run in runs]),
        ]
        titles = {label: _(text) for label, text in _LABELS.items()}
        told = [Row(titles[label], tuple(cells), "outcome") for label, cells in rows]
        return [Row(_("outcome"), style="title"), *told]

    def _low(self, id_: str, curve: "Curve | None") -> float | None:
        """Return the lowest finite loss; worked out once for each state of a curve."""
        known, low = self._lowest.get(id_, (None, None))
        if curve is not None and known is not curve:
            import numpy as np  # noqa: PLC0415  # loaded with the first curve

            finite = curve.loss[np.isfinite(curve.loss)]
            low = float(finite.min()) if finite.size else None
            self._lowest[id_] = (curve, low)
        return low

    def _differences(self, runs: list[Status]) -> list[Row]:
        if any(run.id not in self._tasks for run in runs):
            return [Row(_("settings are being read"), style="title")]
        found = differences([self._tasks[run.id] for run in runs])
        title = _("settings that differ") if found else _("all settings are the same")
        return [Row(title, style="title"), *(Row(key, cells) for key, cells in found)]

    def action_view(self) -> None:
        """Show samples, then the curves alone, then the table with the curves again."""
        self._aside = VIEWS[(VIEWS.index(self._aside) + 1) % len(VIEWS)]
        self._lay_out()

    def _lay_out(self) -> None:
        """Give the room to what is looked at; what comes up is drawn once it has its place."""
        before = self.classes
        for view in VIEWS[1:]:
            self.set_class(view == self._aside, view)
        if self.classes != before:
            self.call_after_refresh(self.redraw)

    def on_picture_grid_resized(self) -> None:
        """Draw what there is a place for now."""
        self.redraw()


_PICTURE = 18  # cells that a picture wants at least
_LABELS = {
    "state": N_("state"),
    "step": N_("step"),
    "last loss": N_("last loss"),
    "lowest loss": N_("lowest loss"),
    "images/s": N_("images/s"),
    "elapsed": N_("elapsed"),
    "peak GPU memory": N_("peak GPU memory"),
}


def _best(lows: list[float | None]) -> list[str]:
    """Write the lowest losses, the lowest of all with a star."""
    known = [low for low in lows if low is not None]
    best = min(known, default=None)
    return [phrases.loss_words(low) + (" *" if low is not None and low == best else "")
            for low in lows]  # fmt: skip


def last_sample(sets: "tuple[SampleSet, ...]") -> "tuple[int, Sample] | None":
    """Return the newest step with pictures and its first one, of averaged weights if it has any."""
    for found in reversed(sets):
        if found.samples:
            averaged = (each for each in found.samples if each.weights == "ema")
            return found.step, next(averaged, found.samples[0])
    return None


def _size(count: int | None) -> str:
    return phrases.UNKNOWN if not count else units.size(count)
