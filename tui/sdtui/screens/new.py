"""The New screen: the form of a task, from the first letter of its name to the running command.

Everything typed lives on the desk (``form/desk.py``); this screen shows it, part by part, asks the
helper process about it, and keeps the draft on disk. It starts nothing but what it shows.
"""

from typing import TYPE_CHECKING, Any, ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.message import Message

from sdcore.errors import SdError
from sdcore.task.spec import TaskSpec
from sdcore.task.writing import to_table
from sdcore.text import clean_line
from sdtui.form.aside import patiently
from sdtui.form.checker import Ask, Checker
from sdtui.form.desk import laid_out, read_task
from sdtui.form.drafts import DraftKeeper
from sdtui.form.facts import Look
from sdtui.form.mounts import Mounts
from sdtui.form.sections import Section
from sdtui.keymap import keyed
from sdtui.language import N_, _, ngettext
from sdtui.live.snapshot import View
from sdtui.screens.new_form import FormScreen

if TYPE_CHECKING:
    from sdtui.app import SdTui


class NewScreen(FormScreen):
    """The form, and what can be done with it."""

    HELP_TITLE = N_("New task")
    FIELDS_SAY_ENTER = True  # each field does, so that the key bar need not
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
        Binding("slash", "begin_path", N_("Begin a path"), key_display="/", show=False,
                id="new.path", tooltip=N_("Go to a path and begin it with /")),
        Binding("slash", "search", N_("Find a setting"), key_display="/", show=False,
                id="new.search", tooltip=N_("Find a training setting by its name or meaning")),
        Binding("f7", "empty", N_("Start empty"), show=False, id="new.empty", priority=True,
                tooltip=N_("Empty the form; asks first if something was typed")),
    ]  # fmt: skip

    class Answered(Message):
        """The helper answered; sent from the thread that keeps it."""

        bubble = False

        def __init__(self, reply: dict[str, Any]) -> None:
            super().__init__()
            self.reply = reply

    def __init__(self) -> None:
        super().__init__()
        self._keeper = DraftKeeper(self._warn)
        self._checker: Checker | None = None
        self._asked: dict[str, Any] | None = None  # what the helper was last asked to look at
        self._newest = {"look": 0, "check": 0}
        self._wish: tuple[TaskSpec, bool] | None = None  # what is checked, and whether to start it

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer the way to the next problem only while there is one, and / by the part."""
        unfit = "search" if self.desk.section == Mounts.NAME else "begin_path"
        if action == unfit or (action == "next_problem" and not self.desk.troubles()):
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

    async def on_unmount(self) -> None:
        """Leave no process behind, and nothing unwritten."""
        self._close_checker()
        typed = self._keep is not None and self.desk.typed
        await self._keeper.leave(self.desk.record() if typed else None)

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
            app = self.console_app
            self._checker = Checker(
                lambda reply: self.post_message(self.Answered(reply)),
                lambda error: app.post_message(app.Broken(error)),
            )
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

    def on_new_screen_answered(self, message: "NewScreen.Answered") -> None:
        """Take the newest answer of its kind; the others are of what stood there before."""
        reply = message.reply
        if not self.is_mounted or reply["id"] != self._newest[reply["ask"]]:
            return
        if reply["ask"] == "check":
            self._checked(reply)
        elif "trouble" in reply:
            self.notify(reply["trouble"], severity="warning", markup=False)
        elif "error" not in reply:
            self.desk.look = Look(reply["host"], reply["facts"], reply["runtime"])
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
        self.settle()
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
        words = ngettext("not yet: {n} problem", "not yet: {n} problems; [new.problem] goes on",
                         count)  # fmt: skip
        self.notify(keyed(words.format(n=count)), severity="warning", markup=False)
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
        self.settle()
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

        self.settle()
        self.console_app.copy_text(command_words(self.desk), _("the command"))

    def forget(self) -> None:
        """Drop the draft: it was started, and stands in the run's own record."""
        if self._keep is not None:
            self._keep.stop()
            self._keep = None
        self.desk.typed, self.desk.note = False, ""
        self.run_worker(self._keeper.forget(), group="draft")

    def keep(self) -> None:
        """Write the draft, aside: a home on a network may be slow."""
        if self._keep is not None:
            self._keep.stop()
            self._keep = None
            self.run_worker(self._keeper.keep(self.desk.record()), group="draft")

    def _warn(self, words: str) -> None:
        self.notify(words, severity="warning", markup=False)


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
    if source is None:
        app.go("new")
        app.call_later(_show, app)
    else:
        app.run_worker(_open(app, source, fresh_name=fresh_name), exclusive=True, group="open")


async def _open(app: "SdTui", source: str, *, fresh_name: bool) -> None:
    """Read a task, then put it into the form; what was typed till then is asked about."""
    from sdtui.screens.dialogs import Confirm  # noqa: PLC0415  # rare

    desk = await laid_out(app)
    words = _("reading {path} …").format(path=clean_line(source or "config.toml", 200))
    try:
        preset = await patiently(app, lambda: read_task(source), words)
    except (SdError, OSError) as error:
        app.tell(_unread(source, error))
        return
    if desk.typed:
        title = _("Replace what stands in the form?")
        body = _("It was typed and not started; saving it first keeps it.")
        if not await app.push_screen_wait(Confirm(title, body)):
            return
    if source:
        names = {status.name for status in app.view.runs or ()}
        desk.take_preset(preset, names=names, fresh_name=fresh_name)
    else:
        desk.take(preset.task)
    app.go("new")
    app.call_later(_show, app)


def _unread(source: str, error: SdError | OSError) -> SdError:
    if isinstance(error, SdError):
        return error
    what = _("{path} cannot be read").format(path=clean_line(source or "config.toml", 200))
    return SdError(what, cause=error.strerror or str(error), remedy=_("check the path"))


async def _show(app: "SdTui") -> None:
    if isinstance(app.screen, NewScreen) and app.screen.is_mounted:
        await app.screen.reload()
