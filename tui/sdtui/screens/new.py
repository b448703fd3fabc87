"""The New screen: the form of a task, from the first letter of its name to the running command.

Everything typed lives on the desk (``form/desk.py``); this screen shows it, part by part, asks the
helper process about it, and keeps the draft on disk. It starts nothing but what it shows.
"""

from typing import TYPE_CHECKING, Any, ClassVar

from textual import work
from textual.binding import Binding, BindingType

from sdcore.errors import SdError
from sdcore.task.spec import TaskSpec
from sdcore.task.writing import to_table
from sdtui.form.checker import Ask, Checker
from sdtui.form.desk import desk_of, forget_draft, keep_draft
from sdtui.form.facts import Look
from sdtui.form.sections import Section
from sdtui.language import N_, _, ngettext
from sdtui.live.snapshot import View
from sdtui.screens.new_form import FormScreen

if TYPE_CHECKING:
    from sdtui.app import SdTui


class NewScreen(FormScreen):
    """The form, and what can be done with it."""

    CSS_PATH = "../styles/new.tcss"
    HELP_TITLE = N_("New task")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+r", "create", N_("Start"), key_display="^r", id="new.create", priority=True,
                tooltip=N_("Check the task and start it")),
        Binding("ctrl+n", "next_problem", N_("Next problem"), key_display="^n", id="new.problem",
                priority=True, tooltip=N_("Go to the next thing that is wrong")),
        Binding("ctrl+t", "dry_run", N_("Check"), key_display="^t", id="new.check", priority=True,
                tooltip=N_("Check the task and show all that was found; start nothing")),
        Binding("ctrl+o", "load", N_("Load"), key_display="^o", id="new.load", priority=True,
                tooltip=N_("Load a preset, or the task of an earlier run")),
        Binding("ctrl+s", "save", N_("Save"), key_display="^s", id="new.save", priority=True,
                tooltip=N_("Save the task as a preset")),
        Binding("f6,ctrl+pagedown", "step(1)", N_("Next part"), key_display="F6",
                id="new.next_part", priority=True, tooltip=N_("Go to the next part of the form")),
        Binding("shift+f6,ctrl+pageup", "step(-1)", N_("Part before"), show=False,
                id="new.previous_part", priority=True),
        Binding("right", "step(1)", N_("Next part"), show=False, id="new.right"),
        Binding("left", "step(-1)", N_("Part before"), show=False, id="new.left"),
        Binding("down,enter", "enter_part", N_("Go into the form"), show=False,
                id="new.enter"),
        Binding("ctrl+y,f8", "copy_command", N_("Copy the command"), key_display="^y",
                show=False, id="new.copy", priority=True),
        Binding("slash", "search", N_("Find a setting"), key_display="/", show=False,
                id="new.search", tooltip=N_("Find a training setting by its name or meaning")),
        Binding("f7", "empty", N_("Start empty"), show=False, id="new.empty", priority=True,
                tooltip=N_("Empty the form; asks first if something was typed")),
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._checker: Checker | None = None
        self._asked: dict[str, Any] | None = None  # what the helper was last asked to look at
        self._newest = {"look": 0, "check": 0}
        self._wish: tuple[TaskSpec, bool] | None = None  # what is checked, and whether to start it

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer the way to the next problem only while there is one."""
        if action == "next_problem" and not self.desk.troubles():
            return False
        return super().check_action(action, parameters)

    # Coming and going.
    def on_mount(self) -> None:
        """Show the open part first, then ask what it needs."""
        self.call_after_refresh(self.arrive)

    def on_screen_resume(self) -> None:
        """Look again: GPUs may be taken meanwhile."""
        self._asked = None
        self.call_after_refresh(self.arrive)

    def on_screen_suspend(self) -> None:
        """Keep the draft and end the helper, unless only a box stands in front."""
        self.keep()
        if self.console_app.current_mode != self.MODE:
            self._close_checker()

    def on_unmount(self) -> None:
        """Leave no process behind, and nothing unwritten."""
        self._close_checker()
        if self._keep is not None and self.desk.typed:
            self._write(self.desk.record())

    async def reload(self) -> None:
        """Show another task, and look at what it names."""
        self._asked = None
        await super().reload()

    def show(self, view: View) -> None:  # noqa: ARG002
        """Nothing of the runs stands here; a screen composed anew gets its open part."""
        if self.is_mounted and not self.query(Section):
            self.call_later(self.arrive)

    # The helper.
    def _ask(self, ask: Ask, table: dict[str, Any]) -> int:
        if self._checker is None:
            self._checker = Checker(self._from_helper)
        number = self._checker.ask(ask, table)
        self._newest[ask] = number
        return number

    def _close_checker(self) -> None:
        if self._checker is not None:
            self._checker.close()
            self._checker, self._wish, self._asked = None, None, None
            self._newest = {"look": 0, "check": 0}  # an answer on its way finds nobody waiting
            self.busy = False

    def look(self) -> None:
        """Ask what lies at the paths, if they are others than before."""
        table = self.desk.look_table()
        if table != self._asked:
            self._asked = table
            self._ask("look", table)

    def _from_helper(self, reply: dict[str, Any]) -> None:
        """Hand an answer to the screen's own thread."""
        try:
            self.app.call_from_thread(self._answered, reply)
        except RuntimeError:
            return  # the console was left meanwhile

    def _answered(self, reply: dict[str, Any]) -> None:
        if not self.is_mounted or reply["id"] != self._newest[reply["ask"]]:
            return
        if reply["ask"] == "check":
            self._checked(reply)
        elif "trouble" in reply:
            self.notify(reply["trouble"], severity="warning", markup=False)
        elif "error" not in reply:
            self.desk.look = Look(reply["host"], reply["facts"])
        self.redraw_form()

    # Checking and starting.
    def action_dry_run(self) -> None:
        """Check, and show what was found."""
        self._check(start=False)

    def action_create(self) -> None:
        """Check, and start."""
        if self.console_app.settings.read_only:
            self.console_app.tell(_refusal(_("nothing is started")))
        else:
            self._check(start=True)

    def _check(self, *, start: bool) -> None:
        self.judge()
        task = self.desk.final_task()
        if task is None:
            self._refuse_problems()
            return
        if self._wish is None:
            self._wish, self.busy = (task, start), True
            self._ask("check", to_table(task))
        self.redraw_form()

    def _refuse_problems(self) -> None:
        """Say that there is no task yet, and go to the first reason."""
        count = len(self.desk.problems)
        words = ngettext("not yet: {n} problem", "not yet: {n} problems; ^n goes on", count)
        self.notify(words.format(n=count), severity="warning", markup=False)
        self._problem_at = -1
        self.call_later(self.action_next_problem)

    def _checked(self, reply: dict[str, Any]) -> None:
        assert self._wish is not None, "only a wish asks for a check"
        (task, start), self._wish, self.busy = self._wish, None, False
        if "trouble" in reply or "error" in reply:
            error = reply.get("error") or {
                "what": _("the task could not be checked"),
                "cause": reply["trouble"],
                "remedy": _("look at the folders that it names, then try again"),
            }
            self.console_app.tell(
                SdError(error["what"], cause=error["cause"], remedy=error["remedy"])
            )
            return
        report = reply["report"]
        self.desk.report = (task, report)
        grave = [f for f in report["findings"] if f["level"] in {"error", "warning"}]
        if not start:
            self.call_later(self.action_section, "review")
        elif not grave:
            self._start(task, report)
        else:
            self._ask_whether(task, report)

    @work()
    async def _ask_whether(self, task: TaskSpec, report: dict[str, Any]) -> None:
        """Show what stands against the start; warnings can be overruled."""
        from sdtui.screens.new_boxes import Findings  # noqa: PLC0415  # rare

        if await self.app.push_screen_wait(Findings(report["findings"])):
            self._start(task, report)

    def _start(self, task: TaskSpec, report: dict[str, Any]) -> None:
        from sdtui.form.starting import begin  # noqa: PLC0415  # the supervisor's side

        begin(self, task, report)

    # Presets and draft.
    def action_load(self) -> None:
        """Choose a preset or a run."""
        from sdtui.screens.choose_preset import choose  # noqa: PLC0415  # rare

        choose(self.console_app)

    def action_save(self) -> None:
        """Save the task as a preset."""
        from sdtui.screens.new_boxes import save_preset  # noqa: PLC0415  # rare

        if self.console_app.settings.read_only:
            self.console_app.tell(_refusal(_("nothing is saved")))
            return
        self.judge()
        if self.desk.task is None:
            self._refuse_problems()
        else:
            save_preset(self)

    def action_empty(self) -> None:
        """Begin with an empty form."""
        open_task(self.console_app, "")

    def action_copy_command(self) -> None:
        """Copy the whole command, secrets masked."""
        from sdtui.form.review import command_words  # noqa: PLC0415  # rare

        self.judge()
        self.console_app.copy_text(command_words(self.desk), _("the command"))

    def forget(self) -> None:
        """Drop the draft: it was started, and stands in the run's own record."""
        if self._keep is not None:
            self._keep.stop()
            self._keep = None
        self.desk.typed, self.desk.note = False, ""
        try:
            forget_draft()
        except OSError as error:
            words = _("the draft cannot be removed: {cause}").format(cause=error.strerror)
            self.notify(words, severity="warning", markup=False)

    def keep(self) -> None:
        """Write the draft, in a thread: a home on a network may be slow."""
        if self._keep is not None:
            self._keep.stop()
            self._keep = None
            self._keep_aside(self.desk.record())

    @work(thread=True, group="draft")
    def _keep_aside(self, record: dict[str, Any]) -> None:
        self._write(record)

    def _write(self, record: dict[str, Any]) -> None:
        try:
            keep_draft(record)
        except (OSError, SdError) as error:
            cause = error.strerror if isinstance(error, OSError) else error.cause
            words = _("the draft cannot be kept: {cause}").format(cause=cause)
            self.log.warning(words)
            self._from_thread_notify(words)

    def _from_thread_notify(self, words: str) -> None:
        try:
            self.app.call_from_thread(self.notify, words, severity="warning", markup=False)
        except RuntimeError:
            return  # called while the console is left: there is nobody to tell


def _refusal(what: str) -> SdError:
    cause = _("the console was opened with --view, to look only")
    return SdError(what, cause=cause, remedy=_("leave it and open sdtui without --view"))


def open_task(app: "SdTui", source: str | None, *, fresh_name: bool = False) -> None:
    """Open the form with a task in it.

    Args:
        app: The console.
        source: A shipped preset's name, a path, or a run's ``task.toml``; empty for an empty form;
            None for whatever stands in it.
        fresh_name: Take the next free name, because the task comes from a run.
    """
    from sdtui.screens.dialogs import Confirm  # noqa: PLC0415  # rare

    desk = desk_of(app)

    def fill(yes: bool | None) -> None:
        if not yes:
            return
        try:
            if source:
                names = {status.name for status in app.view.runs or ()}
                desk.open(source, names=names, fresh_name=fresh_name)
            elif source is not None:
                desk.open_empty()
        except SdError as error:
            app.tell(error)
            return
        app.go("new")
        app.call_later(_show, app)

    if source is not None and desk.typed:
        title = _("Replace what stands in the form?")
        app.push_screen(
            Confirm(title, _("It was typed and not started; saving it first keeps it.")), fill
        )
    else:
        fill(True)


async def _show(app: "SdTui") -> None:
    if isinstance(app.screen, NewScreen) and app.screen.is_mounted:
        await app.screen.reload()
