"""One run live: chart, GPUs, log, checkpoints and events, samples; and what one does to it."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical

from sdcore.errors import SdError
from sdcore.runs.paths import RunDir
from sdcore.runs.status import Status
from sdcore.text import clean_line
from sdtui import actions, phrases
from sdtui.frozen import read_task, surroundings
from sdtui.kept import Kept
from sdtui.keymap import keyed
from sdtui.language import N_, _
from sdtui.live.snapshot import RunSnapshot, View
from sdtui.screens.base import ConsoleScreen
from sdtui.widgets.history_pane import HistoryPane
from sdtui.widgets.line import Line
from sdtui.widgets.pane import Pane
from sdtui.widgets.run_header import RunHeader

if TYPE_CHECKING:
    from sdtui.widgets.chart import LossChart

SIDES = ("gpu", "samples", "history")  # what the right-hand place shows in turn


class RunScreen(ConsoleScreen):
    """The open run."""

    MODE = "run"
    HELP_TITLE = N_("Run")
    AUTO_FOCUS = "LossChart *, LossChart"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "resume", N_("Resume"), id="run.resume",
                tooltip=N_("Go on from the newest checkpoint")),
        Binding("R", "resume_from", N_("Resume from"), id="run.resume_from",
                tooltip=N_("Choose a checkpoint to go on from, and the last step")),
        Binding("s", "stop", N_("Stop"), id="run.stop",
                tooltip=N_("Save and stop; again, go further: SIGTERM, SIGKILL")),
        Binding("v", "side", N_("Side"), id="run.side",
                tooltip=N_("Show GPU, samples or history in the right-hand place")),
        Binding("c", "checkpoint", N_("Save"), id="run.checkpoint",
                tooltip=N_("Save a checkpoint after this step")),
        Binding("i", "samples", N_("Draw"), id="run.samples",
                tooltip=N_("Draw samples after this step")),
        Binding("m", "maximise", N_("Maximise"), id="run.maximise",
                tooltip=N_("Give the focused pane the whole screen, and back")),
        Binding("o", "overlay", N_("Overlay"), id="run.overlay",
                tooltip=N_("Lay the curves of other runs over this one's")),
        Binding("e", "edit", N_("Edit copy"), show=False, id="run.edit",
                tooltip=N_("Copy the run into the form as a new task")),
        Binding("x", "export", N_("Export"), id="run.export",
                tooltip=N_("Write the chart as CSV, SVG and PNG")),
    ]  # fmt: skip

    _side = Kept(SIDES[0])
    _largest = Kept[str | None](None)  # id of the pane that has the whole screen

    def __init__(self) -> None:
        super().__init__()
        self._shown: str | None = None  # id of the run the panes show
        self._every: int | None = None  # steps between two checkpoints
        self._around: tuple[str, str] | None = None  # runtime and reason
        self._every_of: str | None = None  # of this run
        self._panes: tuple[Pane, ...] = ()
        self._laid: tuple[str, str | None, bool] | None = None  # side, largest; whether complete

    def body(self) -> ComposeResult:
        """Header, panes, and the log over the full width: full rows scroll at the least cost."""
        # Imported with the screen: NumPy and pictures are not for the first paint.
        from sdtui.widgets.chart import LossChart  # noqa: PLC0415
        from sdtui.widgets.gpu_pane import GpuPane  # noqa: PLC0415
        from sdtui.widgets.log_pane import LogPane  # noqa: PLC0415
        from sdtui.widgets.samples_pane import SamplesPane  # noqa: PLC0415

        left, chart, log = HistoryPane(id="left"), LossChart(id="chart"), LogPane(id="log")
        sides = GpuPane(id="gpu"), HistoryPane(id="history"), SamplesPane(id="samples")
        self._panes, self._laid = (left, chart, *sides, log), None
        yield RunHeader()
        yield Line(id="gone")
        with Horizontal(id="panes"):
            yield left
            yield chart
            with Vertical(id="side"):
                yield from sides
        yield log

    # Drawing.
    def show(self, view: View) -> None:
        """Draw the open run."""
        if not (self.is_mounted and self.query_one_optional("#log")):  # it comes or goes
            return
        self._lay_out()
        opened = self.console_app.hub_run
        snapshot = view.run if view.run and view.run.run == opened else None
        self.query_one(RunHeader).draw(snapshot.status if snapshot else None)
        if snapshot is not None:
            if self._shown != snapshot.run.id:
                self._begin(snapshot.run)
            self._draw_panes(snapshot, view)
        self._tell_if_gone(opened, view)
        self._keep_focus()

    def _keep_focus(self) -> None:
        """Give the focus to the chart when what had it is gone: keys must always do something."""
        chain = self.focus_chain if self.focused is None and self.is_current else []
        wished = [node for node in chain if self.chart in node.ancestors_with_self]
        for node in (wished or chain)[:1]:
            node.focus(scroll_visible=False)

    def on_screen_resume(self) -> None:
        """Begin anew: another screen may have laid other curves over this run."""
        self._shown = None

    def _begin(self, run: RunDir) -> None:
        self._shown = run.id
        if self._every_of != run.id:
            self._every, self._around, self._every_of = None, None, run.id
        if self.console_app.current_mode == self.MODE:  # composed ahead, it must not take curves
            self.console_app.hub.overlay(self.console_app.overlaid.get(run.id, ()))
        self._read_task(run)

    def _draw_panes(self, snapshot: RunSnapshot, view: View) -> None:
        """Draw the panes that are to be seen; a hidden one is drawn when it comes up."""
        for pane in self._panes:
            if not (pane.is_mounted and self._visible(pane)):
                continue
            if isinstance(pane, HistoryPane):
                pane.every, pane.surroundings = self._every, self._around
            if pane.id == "chart":
                self.chart.show(snapshot, phrases.named(view.overlays))
            else:
                pane.show(snapshot)  # type: ignore[attr-defined]  # every other pane has it

    @staticmethod
    def _visible(pane: Pane) -> bool:
        return all(node.display for node in (pane, *pane.ancestors) if hasattr(node, "display"))

    @property
    def chart(self) -> "LossChart":
        """The chart."""
        from sdtui.widgets.chart import LossChart  # noqa: PLC0415  # see ``body``

        return self.query_one(LossChart)

    @work(thread=True, exclusive=True, group="task")
    def _read_task(self, run: RunDir) -> None:
        every, around = checkpoint_interval(run), surroundings(run)
        if every is not None and around is not None and around[0] == "host":
            around = None  # the usual case of the built-in trainer
        self.app.call_from_thread(self._take_start, run, every, around)

    def _take_start(self, run: RunDir, every: int | None, around: tuple[str, str] | None) -> None:
        if self._shown == run.id and (every, around) != (self._every, self._around):
            self._every, self._around = every, around
            self.redraw()

    def _tell_if_gone(self, opened: RunDir | None, view: View) -> None:
        gone = self.query_one("#gone", Line)
        # A run that was never read here is a new one, which the list does not have yet.
        there = opened is not None and (
            self._shown != opened.id
            or view.runs is None
            or any(status.id == opened.id for status in view.runs)
        )
        self.set_class(not there, "-gone")
        if opened is None:
            gone.set(keyed(_(" No run is open: choose one in the list of tasks ([screen.back]).")))
        elif not there:
            words = _(" The folder of {name} was removed. [screen.back] goes back to the list.")
            gone.set(keyed(words.format(name=clean_line(opened.name))))

    # Places.
    def _lay_out(self) -> None:
        # Again, too, when what was composed anew is all there.
        wished = self._side, self._largest, all(pane.is_mounted for pane in self._panes)
        if wished == self._laid:
            return
        self._laid = wished
        for side in SIDES:
            self.set_class(side == self._side, f"-side-{side}")
        self.set_class(self._largest is not None, "-max")
        for node in self.query("#panes, #side, #panes Pane, #log"):
            holds = node.id == self._largest or bool(
                self._largest and list(node.query(f"#{self._largest}"))
            )
            node.set_class(holds, "-holds")

    def _place_again(self) -> None:
        self._lay_out()
        self.call_after_refresh(self.redraw)

    def _focused_pane(self) -> Pane | None:
        focused = self.focused
        if focused is None:
            return None
        return next((node for node in focused.ancestors_with_self if isinstance(node, Pane)), None)

    def action_maximise(self) -> None:
        """Give the focused pane the whole screen, or share it again."""
        pane = self._focused_pane() or self.chart
        self._largest = None if self._largest else pane.id
        self._place_again()

    def action_side(self) -> None:
        """Show the next pane in the right-hand place."""
        self._side = SIDES[(SIDES.index(self._side) + 1) % len(SIDES)]
        self._largest = None
        self._place_again()

    def action_back(self) -> None:
        """Share the screen again; else go to the list."""
        if self._largest:
            self._largest = None
            self._place_again()
        else:
            super().action_back()

    # Acts.
    def offers(self, action: str) -> bool:
        """Name only what makes sense for the state of the run."""
        if action in actions.VERBS:
            return actions.offered(action, self.status)
        return super().offers(action)

    @property
    def status(self) -> Status | None:
        """The state of the open run, once it is read."""
        run = self.console_app.view.run
        return run.status if run is not None and run.run == self.console_app.hub_run else None

    def action_stop(self) -> None:
        """Save and stop; again, go further."""
        if self.status:
            actions.stop(self.console_app, [self.status])

    def action_checkpoint(self) -> None:
        """Save a checkpoint now."""
        if self.status:
            actions.checkpoint(self.console_app, self.status)

    def action_samples(self) -> None:
        """Draw samples now."""
        if self.status:
            actions.samples(self.console_app, self.status)

    def action_resume(self) -> None:
        """Go on from the newest checkpoint."""
        if self.status:
            actions.resume(self.console_app, [self.status])

    def action_resume_from(self) -> None:
        """Choose where the run goes on, and how far."""
        if self.status:
            actions.resume_from(self.console_app, self.status)

    def action_edit(self) -> None:
        """Copy the run into the form."""
        run = self.console_app.hub_run
        if run is not None:
            self.console_app.edit_task(str(run.task), fresh_name=True)

    def action_overlay(self) -> None:
        """Choose runs whose curves are laid over this one's."""
        from sdtui.screens.run_dialogs import ChooseRuns  # noqa: PLC0415  # rare

        app, opened = self.console_app, self.console_app.hub_run
        others = [status for status in app.view.runs or () if opened and status.id != opened.id]
        if opened is None or not others:
            self.notify(_("There is no other run to lay over this one"), markup=False)
            return

        def take(ids: tuple[str, ...] | None) -> None:
            if ids is not None:
                app.overlaid[opened.id] = ids
                app.hub.overlay(ids)

        app.push_screen(ChooseRuns(others, app.overlaid.get(opened.id, ())), take)

    def action_export(self) -> None:
        """Write the chart to files."""
        from sdtui.form.paths import here  # noqa: PLC0415  # rare
        from sdtui.screens.run_dialogs import AskFolder  # noqa: PLC0415

        def take(folder: str | None) -> None:
            if folder:
                self._begin_export(Path(folder).expanduser())

        self.app.push_screen(AskFolder(_("Export the chart as CSV, SVG and PNG"), here()), take)

    def _begin_export(self, folder: Path) -> None:
        """Take what is shown now; writing it may take long, so that is done aside."""
        try:
            self._export(self.chart.export_job(), folder)
        except SdError as error:
            self.console_app.tell(error)

    @work(thread=True, group="export")
    def _export(self, job: Callable[[Path], list[Path]], folder: Path) -> None:
        try:
            paths = job(folder)
        except (SdError, OSError) as error:
            told = error if isinstance(error, SdError) else _not_written(folder, error)
            self.app.call_from_thread(self.console_app.tell, told)
            return
        words = "\n".join([_("written:"), *(clean_line(str(path)) for path in paths)])
        self.app.call_from_thread(self.notify, words, markup=False, timeout=12)


def _not_written(folder: Path, error: OSError) -> SdError:
    return SdError(
        _("the chart cannot be written to {folder}").format(folder=clean_line(str(folder))),
        cause=clean_line(error.strerror or str(error)),
        remedy=_("choose a folder that you may write to"),
    )


def checkpoint_interval(run: RunDir) -> int | None:
    """Return the steps between two checkpoints, by the run's frozen task; None if it has none."""
    table = read_task(run)
    train = table.get("train")
    if "command" in table or not isinstance(train, dict):
        return None
    every = train.get("checkpointing_steps")
    return every if isinstance(every, int) and every > 0 else None
