"""The list of all runs: find one, look at it, and do to it what can be done."""

from typing import TYPE_CHECKING, ClassVar, cast

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical

from sdcore.errors import SdError
from sdcore.runs.status import LIVE, Status
from sdtui import actions
from sdtui.keymap import keyed
from sdtui.language import N_, _, ngettext
from sdtui.live.snapshot import View
from sdtui.screens.base import ConsoleScreen
from sdtui.screens.tasks_list import SORTS, Listing
from sdtui.told import told_why
from sdtui.widgets.line import Line
from sdtui.widgets.peek import Facts, Peek, read_facts
from sdtui.widgets.task_table import TaskTable

if TYPE_CHECKING:
    from textual.widgets import Input

    from sdtui.widgets.welcome import Host, Welcome

_SAME = {"step": "progress", "note": "state"}  # columns that sort as another does
_NEED_RUNS = {
    "filter",
    "stop",
    "resume",
    "resume_from",
    "edit",
    "delete",
    "sort",
    "reverse",
    "columns",
}
_SETTLE_S = 0.12  # a cursor that runs down the list reads no files on its way


class TasksScreen(ConsoleScreen):
    """All runs, newest first."""

    MODE = "tasks"
    HELP_TITLE = N_("Tasks")
    AUTO_FOCUS = ""  # of the two that can have it, one is hidden
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "new", N_("New"), id="tasks.new", tooltip=N_("Fill in a new task")),
        Binding("slash", "filter", N_("Filter"), id="tasks.filter",
                tooltip=N_("Show only runs whose name, id or state has these words")),
        Binding("s", "stop", N_("Stop"), id="tasks.stop",
                tooltip=N_("Save and stop; again, go further: SIGTERM, SIGKILL")),
        Binding("r", "resume", N_("Resume"), id="tasks.resume",
                tooltip=N_("Go on from the newest checkpoint")),
        Binding("R", "resume_from", N_("Resume from"), show=False, id="tasks.resume_from",
                tooltip=N_("Choose a checkpoint to go on from, and the last step")),
        Binding("e", "edit", N_("Edit copy"), id="tasks.edit",
                tooltip=N_("Copy the run into the form as a new task")),
        Binding("d", "delete", N_("Delete"), id="tasks.delete",
                tooltip=N_("Delete runs with their checkpoints, after a question")),
        Binding("o", "sort", N_("Sort"), id="tasks.sort", tooltip=N_("Sort by the next column")),
        Binding("O", "reverse", N_("Reverse"), show=False, id="tasks.reverse",
                tooltip=N_("Reverse the order")),
        Binding("v", "columns", N_("Columns"), id="tasks.columns",
                tooltip=N_("Show steps, speed, GPUs and times, or the bar and the note")),
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._host: Host | None = None
        self._facts: tuple[object, Facts] = (None, Facts())

    @property
    def listing(self) -> Listing:
        """How the list is looked at; it outlives this screen."""
        return self.console_app.listing

    def body(self) -> ComposeResult:
        """The list with its filter, and the peek."""
        with Horizontal(id="tasks"):
            with Vertical(id="list"):
                if self.listing.words:
                    yield self._new_filter()
                yield TaskTable()
                yield Line(id="count")
            yield Peek()

    # The filter and the welcome are made when they are first needed: the first picture is not to
    # wait for what it does not show.
    def _new_filter(self) -> "Input":
        from textual.widgets import Input  # noqa: PLC0415  # see above

        return Input(self.listing.words, placeholder=_("name, id or state"), id="filter")

    def _show_welcome(self) -> "Welcome":
        from sdtui.widgets.welcome import Welcome  # noqa: PLC0415  # see above

        if not self.query(Welcome):
            self.mount(Welcome(), before="#tasks")
        return self.query_one(Welcome)

    @property
    def _composed(self) -> bool:
        """Say whether there is something to draw in: not while the screen comes or goes."""
        parts = map(self.query_one_optional, (TaskTable, Peek))
        return self.is_mounted and None not in parts

    # Drawing.
    def show(self, view: View) -> None:
        """Draw the runs, or the welcome where there are none."""
        if view.runs is None or not self._composed:
            return
        empty = not view.runs
        if self.has_class("-empty") != empty or self.focused is None:
            self.set_class(empty, "-empty")
            (self._show_welcome() if empty else self.query_one(TaskTable)).focus()
            self.refresh_bindings()
        if empty:
            self._welcome()
            return
        self.listing.keep(view.runs)
        rows = self.listing.rows(view.runs)
        table = self.query_one(TaskTable)
        # The table knows best: its word of a cursor that moved may still be on its way.
        at = table.current.id if table.current else self.listing.cursor
        order = (self.listing.sort, self.listing.reverse)
        table.draw(rows, at, self.listing.marked, order, figures=self.listing.figures)
        self._cursor_moved()
        self._draw_count(len(rows), view.runs)

    def _draw_count(self, shown: int, runs: tuple[Status, ...]) -> None:
        words = ngettext("{n} run", "{n} runs", len(runs)).format(n=len(runs))
        if shown != len(runs):
            words = _("{shown} of {words}").format(shown=shown, words=words)
        parts = [words]
        live = sum(run.state in LIVE for run in runs)
        if live:
            parts.append(_("{n} live").format(n=live))
        if self.listing.marked:
            words = _("{n} marked: [go.compare] compares them")
            parts.append(keyed(words.format(n=len(self.listing.marked))))
        order = _("by {column}").format(column=_(SORTS[self.listing.sort][0]))
        parts.append(order + (" ▴" if self.listing.reverse else " ▾"))
        if self.console_app.settings.read_only:
            parts.append(_("read-only"))
        self.query_one("#count", Line).set(Text(" " + "   ".join(parts)))

    def _cursor_moved(self) -> None:
        """Remember the run under the cursor, and have it looked at."""
        status = self.query_one(TaskTable).current
        if status is not None:
            self.listing.cursor = status.id
        known, facts = self._facts
        key = _key(status)
        self.query_one(Peek).draw(status, facts if known == key else Facts())
        if key is not None and known != key:
            self.set_timer(_SETTLE_S, lambda: self._look_at(key))

    def _look_at(self, key: object) -> None:
        status = self.query_one(TaskTable).current if self._composed else None
        if status is not None and _key(status) == key and self._facts[0] != key:
            self._read_facts(status)

    @work(thread=True, exclusive=True, group="peek")
    def _read_facts(self, status: Status) -> None:
        try:
            facts = read_facts(self.console_app.hub.run_of(status.id), status)
        except OSError as error:
            words = _("its events cannot be read: {why}")
            facts = Facts(lines=(words.format(why=told_why(error)),))
        self.app.call_from_thread(self._take_facts, status, facts)

    def _take_facts(self, status: Status, facts: Facts) -> None:
        # A run that is still loading has more to tell later: its key changes with its phase.
        self._facts = (_key(status), facts)
        if self._composed:
            self._cursor_moved()

    def _welcome(self) -> None:
        self._show_welcome().draw(self._host)
        if self._host is None:
            self._read_host()

    @work(thread=True, exclusive=True, group="host")
    def _read_host(self) -> None:
        from sdtui.widgets.welcome import look_at_host  # noqa: PLC0415  # see above

        try:
            host = look_at_host()
        except (SdError, OSError) as error:
            self.app.call_from_thread(self.console_app.tell, actions.as_told(error))
        else:
            self.app.call_from_thread(self._take_host, host)

    def _take_host(self, host: "Host") -> None:
        self._host = host
        if self._composed:
            self._show_welcome().draw(host)

    # What the table and the filter say.
    @on(TaskTable.Moved)
    def _moved(self) -> None:
        self._cursor_moved()
        self.draw_bars()  # what can be done goes by the run's state

    @on(TaskTable.Opened)
    def _opened(self) -> None:
        status = self.query_one(TaskTable).current
        if status is not None:
            self.console_app.open_run(status.id)

    @on(TaskTable.Marked)
    def _marked(self) -> None:
        table = self.query_one(TaskTable)
        if table.current is not None:
            self.listing.toggle(table.current.id)
            table.action_scroll_by(1)
            self._again()

    @on(TaskTable.Sorted)
    def _sorted(self, message: TaskTable.Sorted) -> None:
        self.listing.sort_by(_SAME.get(message.column, message.column))
        self._again()

    def on_input_changed(self, message: "Input.Changed") -> None:
        """Filter while one types."""
        self.listing.words = message.value
        self._again()

    def on_input_submitted(self) -> None:
        """Go back to the list."""
        self._show_filter(bool(self.listing.words))
        self.query_one(TaskTable).focus()

    def on_welcome_begun(self, message: "Welcome.Begun") -> None:
        """Open the form with what was chosen."""
        self.console_app.edit_task(message.preset)

    def _again(self) -> None:
        self.show(self.console_app.view)
        self.draw_bars()

    def _show_filter(self, shown: bool) -> None:
        if shown and not self.query("#filter"):
            self.mount(self._new_filter(), before=self.query_one(TaskTable))
        self.query("#filter").set(display=shown)

    def chosen(self) -> list[Status]:
        """Return the marked runs, else the one under the cursor."""
        by_id = {run.id: run for run in self.console_app.view.runs or ()}
        marked = [by_id[id_] for id_ in self.listing.marked if id_ in by_id]
        current = self.query_one(TaskTable).current
        return marked or ([current] if current else [])

    # Keys.
    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Do nothing that needs a run while there is none."""
        if action in _NEED_RUNS and self.has_class("-empty"):
            return False
        return super().check_action(action, parameters)

    def offers(self, action: str) -> bool:
        """Name only what makes sense for one of the chosen runs."""
        if action == "resume_from" and self._composed:  # what the cursor is on, not the marks
            return actions.offered(action, self.query_one(TaskTable).current)
        if action in actions.VERBS and self._composed:
            return any(actions.offered(action, status) for status in self.chosen())
        return super().offers(action)

    def action_back(self) -> None:
        """Take the filter away, then the marks."""
        if self.listing.words or any(field.has_focus for field in self.query("#filter")):
            self.listing.words = ""
            self.query("#filter").set(display=False)
            self.query_one(TaskTable).focus()
            self._again()
        elif self.listing.marked:
            self.listing.marked = ()
            self._again()

    def action_filter(self) -> None:
        """Type words to look for."""
        self._show_filter(True)
        field = cast("Input", self.query_one("#filter"))
        field.value = self.listing.words
        field.focus()

    def action_sort(self) -> None:
        """Sort by the next column."""
        ids = list(SORTS)
        self.listing.sort = ids[(ids.index(self.listing.sort) + 1) % len(ids)]
        self.listing.reverse = False
        self._again()

    def action_reverse(self) -> None:
        """Turn the order round."""
        self.listing.reverse = not self.listing.reverse
        self._again()

    def action_columns(self) -> None:
        """Show the other columns where there is no room for all."""
        self.listing.figures = not self.listing.figures
        self._again()

    def action_new(self) -> None:
        """Fill in a new task."""
        self.console_app.go("new")

    def action_edit(self) -> None:
        """Copy the run under the cursor into the form."""
        status = self.query_one(TaskTable).current
        if status is not None:
            run = self.console_app.hub.run_of(status.id)
            self.console_app.edit_task(str(run.task), fresh_name=True)

    def action_stop(self) -> None:
        """Save and stop."""
        actions.stop(self.console_app, self.chosen())

    def action_resume(self) -> None:
        """Go on from the newest checkpoint."""
        actions.resume(self.console_app, self.chosen())

    def action_resume_from(self) -> None:
        """Choose where the run under the cursor goes on, and how far."""
        status = self.query_one(TaskTable).current
        if status is not None:
            actions.resume_from(self.console_app, status)

    def action_delete(self) -> None:
        """Delete, after a question."""
        actions.delete(self.console_app, self.chosen())


def _key(status: Status | None) -> object:
    """Return what the facts of a run go by: read again when one of these changes."""
    if status is None:
        return None
    return status.id, status.state, status.attempt, status.phase if status.step is None else ""
