"""What the New screen is made of: its parts, what is typed into them, and what is wrong.

Draws and edits the desk alone; asking, keeping and starting are the screen's own (``new.py``).
"""

import asyncio

from textual import work
from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.css.query import NoMatches
from textual.timer import Timer
from textual.widgets import Input

from sdtui.form.desk import SECTIONS, Desk, desk_of, laid_out, section_of
from sdtui.form.entries import Raw
from sdtui.form.env import Env, NameEditor
from sdtui.form.fields import LinesEditor
from sdtui.form.mounts import Mounts
from sdtui.form.review import Review
from sdtui.form.sections import Basics, Cluster, Command, Gpu, Section, help_of
from sdtui.form.summary import Summary
from sdtui.form.tabs import Tabs
from sdtui.form.training import Search, Training
from sdtui.language import _, ngettext
from sdtui.screens.base import ConsoleScreen
from sdtui.widgets.line import Line

_PARTS: dict[str, type[Section]] = {
    part.NAME: part for part in (Basics, Mounts, Gpu, Command, Env, Training, Cluster, Review)
}
_QUIET_S = 0.3  # without a key, until the whole form is judged
_KEEP_S = 0.5  # without a key, until the draft is written


class FormScreen(ConsoleScreen):
    """Shows the form part by part; subclasses say what follows from it."""

    MODE = "new"
    AUTO_FOCUS = ""  # so that the digits still change screens for who only looks in

    def __init__(self) -> None:
        super().__init__()
        self.busy = False
        self._waits = False  # for the draft of an earlier console
        self._opening = asyncio.Lock()  # a part opened twice at once would be mounted twice
        self._quiet: Timer | None = None
        self._keep: Timer | None = None
        self._problem_at = -1

    @property
    def desk(self) -> Desk:
        """The form's state."""
        return desk_of(self.app)

    def look(self) -> None:
        """Find out what the fields point to."""

    def keep(self) -> None:
        """Keep the draft."""

    def body(self) -> ComposeResult:
        """Parts above, summary below or beside, and a line of help."""
        yield Tabs(id="new-tabs")
        with Container(id="new"):
            yield Vertical(id="new-sections")
            yield Summary()
        yield Line(id="new-help")

    @property
    def takes_keys(self) -> bool:
        """Not before its first part is there."""
        return super().takes_keys and bool(self.query(Section))

    async def arrive(self) -> None:
        """Show the open part first, then ask what it needs."""
        if not self.desk.ready:
            if not self._waits:
                self._waits = True
                self._lay_out()
        elif self.console_app.current_mode == self.MODE and self.query("#new-sections"):
            await self._open_part(self.desk.section)
            self.look()

    @work()
    async def _lay_out(self) -> None:
        """Wait for the draft of an earlier console; a slow disk holds back the form alone."""
        await laid_out(self.app)
        self._waits = False
        await self.arrive()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Do nothing to a form whose draft is still being read."""
        if not self.desk.ready and action != "back":
            return False
        return super().check_action(action, parameters)

    async def reload(self) -> None:
        """Show another task: the parts are built anew."""
        async with self._opening:  # not while one is just being opened
            try:
                await self.query_one("#new-sections").remove_children()
            except NoMatches:
                return  # not composed yet
        self.set_focus(None)
        self._problem_at = -1
        await self.arrive()

    # Parts.
    @property
    def part(self) -> Section | None:
        """The open part."""
        found = self.query(f"#section-{self.desk.section}")
        return found.first(Section) if found else None

    async def _open_part(self, name: str) -> Section:
        self.desk.section = name
        async with self._opening:
            found = self.query(f"#section-{name}")
            part = found.first(Section) if found else _PARTS[name](self.desk)
            if not found:
                await self.query_one("#new-sections").mount(part)
            for section in self.query(Section):
                section.display = section is part
        self.redraw_form()
        return part

    async def action_section(self, name: str) -> None:
        """Open a part."""
        self.set_focus(None)
        await self._open_part(name)

    async def action_step(self, by: int) -> None:
        """Open the part after or before; with the focus in a field, go to its first one."""
        inside = self.focused is not None
        at = (SECTIONS.index(self.desk.section) + by) % len(SECTIONS)
        await self.action_section(SECTIONS[at])
        if inside:
            self.call_after_refresh(self.action_enter_part)

    async def action_search(self) -> None:
        """Go to the search of the training settings."""
        part = await self._open_part(Training.NAME)
        part.query_one(Search).focus()

    async def action_begin_path(self) -> None:
        """Begin a path, in the part of the form where paths are typed."""
        part = await self._open_part(Mounts.NAME)
        if isinstance(part, Mounts):
            part.begin_path()

    def action_enter_part(self) -> None:
        """Go to the first field of the open part."""
        if self.part is not None:
            focusable = [w for w in self.part.query("*") if w.focusable]
            if focusable:
                self.set_focus(focusable[0])

    def action_back(self) -> None:
        """Leave the field, then the screen."""
        if self.focused is not None:
            self.set_focus(None)
        else:
            super().action_back()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter goes to the next field."""
        event.stop()
        self.focus_next()

    # Typing.
    def take_edit(self, key: str, raw: Raw) -> None:
        """Take what was typed; judge and keep it when the keys rest."""
        if key:
            self.desk.edit(key, raw)
        self.desk.typed = True
        for timer in (self._quiet, self._keep):
            if timer is not None:
                timer.stop()
        self._quiet = self.set_timer(_QUIET_S, self._judge)
        self._keep = self.set_timer(_KEEP_S, self.keep)

    def judge(self) -> None:
        """Find out what is wrong with what is typed by now, but for a name that is being typed."""
        for editor in self.query(LinesEditor):
            editor.flush()
        self.desk.judge()

    def settle(self) -> None:
        """Take all that is typed by now as it stands, and find out what is wrong with it."""
        for editor in self.query(NameEditor):
            editor.commit()
        self.judge()

    def _judge(self) -> None:
        self.judge()
        self.redraw_form()
        self.look()

    def on_descendant_focus(self) -> None:
        """Explain the field."""
        self.redraw_form()
        self.draw_bars()

    def on_descendant_blur(self) -> None:
        """Judge what was typed into the field that is left."""
        self.call_later(self._judge)

    def redraw_form(self) -> None:
        """Bring everything that goes by the draft up to date."""
        part = self.part
        if part is None or not part.is_mounted:
            return
        try:
            part.draw()
            self.query_one(Summary).draw(self.desk)
            self._draw_tabs()
            self._draw_help()
        except NoMatches:
            return  # the screen is being composed anew; ``show`` draws it then

    def _draw_tabs(self) -> None:
        troubles = self.desk.troubles()
        count = len(troubles)
        words = ngettext("{n} problem", "{n} problems", count).format(n=count) if count else ""
        bad = {section_of(problem.key) for problem in troubles}
        self.query_one(Tabs).draw(self.desk.section, _("checking …") if self.busy else words, bad)

    def _draw_help(self) -> None:
        key = getattr(self.focused, "key", "")
        words = help_of(key, self.desk.raw(key) if key != "new" else "") if key else ""
        self.query_one("#new-help", Line).set(f" {words}")

    def on_resize(self) -> None:
        """The tabs go by the width."""
        self.call_after_refresh(self.redraw_form)

    # Problems.
    async def action_next_problem(self) -> None:
        """Go to the next thing that is wrong."""
        self.settle()
        problems = self.desk.troubles()
        if not problems:
            self.notify(_("Nothing is wrong with the form"), markup=False)
            return
        self._problem_at = (self._problem_at + 1) % len(problems)
        key = problems[self._problem_at].key
        part = await self._open_part(section_of(key))
        row = await part.reveal(key)
        if row is not None:
            row.judge(part.bad(row.key), part.found(row.key), at_once=True)
            self.set_focus(row.at_fault)
            row.scroll_visible(animate=False)
        self.redraw_form()
