"""The console: a Textual app whose screens draw what one background thread reads of the runs.

It owns nothing that a run needs: killed at any moment it changes no run. Screens are imported when
they are first shown, so that the first paint pays for the list of tasks alone.
"""

import asyncio
import gc
import importlib
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any, ClassVar, cast

from textual.binding import Binding, BindingType
from textual.events import Event, InputEvent
from textual.message import Message
from textual.screen import Screen

from sdcore.errors import SdError
from sdcore.runs.paths import RunDir
from sdcore.runs.status import LIVE
from sdtui import keymap, language
from sdtui.ahead import OF_A_RUN, look_ahead
from sdtui.bell import Ends, tell_ends
from sdtui.language import N_, _
from sdtui.live.hub import Hub, Listener
from sdtui.live.snapshot import View
from sdtui.screens.base import ConsoleScreen
from sdtui.screens.tasks_list import Listing
from sdtui.settings import Keeper, Settings, without
from sdtui.theme import THEMES, variables_for
from sdtui.tidying import Tidier
from sdtui.turns import Turns
from sdtui.widgets.bars import SCREENS
from sdtui.wire import METER, CountingDriver

_HOME = "tasks"
_STYLES = Path(__file__).parent / "styles"
_LATER_STYLES = ("boxes", "new", "run", "log", "gpu", "images", "compare")
_KEEP_S = 2.0  # that leaving waits for settings to be written
_ANSWER_S = 0.08  # that a key gets to be answered, before what is new is drawn


def _screen(mode: str) -> Callable[[], Screen[Any]]:
    """Return what makes the screen of ``mode``, and imports it only then."""

    def make() -> Screen[Any]:
        module = importlib.import_module(f"sdtui.screens.{mode}")
        return cast("Screen[Any]", getattr(module, f"{mode.capitalize()}Screen")())

    return make


class SdTui(Turns):
    """The console. ``run`` returns the runs that go on after it is left."""

    TITLE = "sdtui"
    HELP_TITLE = N_("Everywhere")
    CSS_PATH: ClassVar[list[str | PurePath]] = ["styles/base.tcss", "styles/tasks.tcss"]
    MODES: ClassVar[dict[str, str | Callable[[], Screen[Any]]]] = {
        mode: _screen(mode) for mode, _title in SCREENS
    }
    DEFAULT_MODE = _HOME
    ENABLE_COMMAND_PALETTE = False  # ours speaks the console's language
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(str(number), f"go('{mode}')", title, show=False, id=f"go.{mode}")
            for number, (mode, title) in enumerate(SCREENS, 1)
        ),
        Binding("question_mark,f1", "help", N_("Help"), key_display="?", id="app.help"),
        Binding("ctrl+p,colon", "palette", N_("Commands"), key_display="^p", id="app.palette"),
        Binding("comma", "settings", N_("Settings"), show=False, id="app.settings"),
        Binding("ctrl+l", "redraw", N_("Draw the screen anew"), show=False, priority=True,
                id="app.redraw"),
        Binding("f12,M", "mouse", N_("Release or take the mouse"), show=False, id="app.mouse"),
        Binding("q", "leave", N_("Quit"), tooltip=N_("Leave the console; what runs goes on"),
                id="app.quit"),
        Binding("ctrl+q,ctrl+c", "leave_at_once", N_("Quit, also from a field"), show=False,
                priority=True, id="app.leave"),
    ]  # fmt: skip

    class Seen(Message):
        """The hub saw something new."""

    @dataclass
    class Troubled(Message):
        """The hub could not read something."""

        words: str

    @dataclass
    class NotKept(Message):
        """A setting could not be written; it counts all the same."""

        error: SdError

    @dataclass
    class Broken(Message):
        """The hub ended with an error that is ours."""

        error: Exception

    def __init__(self, settings: Settings | None = None, hub: Hub | None = None) -> None:
        """Make the app.

        Args:
            settings: What the person wants.
            hub: One that was started while this module was still being imported.
        """
        self.settings = settings or Settings()
        language.use(self.settings.language)
        super().__init__(driver_class=CountingDriver)
        self.sends_changes = self.settings.frames == "changed"
        self.view = View()
        self._ends = Ends()
        self._newest: View | None = None
        self._typed = 0.0  # when a person last did something, on the monotonic clock
        self._tidier: Tidier | None = None  # none where Python collects as ever: in tests
        self.listing = Listing()
        self.overlaid: dict[str, tuple[str, ...]] = {}  # by the id of the run they are laid over
        self.hub = hub or Hub(self.settings.period_s)
        self.keeper = Keeper(lambda error: self.post_message(self.NotKept(error)))
        for theme in THEMES:
            self.register_theme(theme)
        if self.settings.theme not in self.available_themes:  # only Textual knows them all
            self.settings = without(self.settings, "theme")
        self.settings = keymap.settled(self.settings)
        self.theme = self.settings.theme
        # Textual has its styles from before it knew our themes: parsed only once with these.
        self.stylesheet.set_variables(self.get_css_variables())
        self._styled_for = self.theme

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Lend our own colours to the themes that do not define them."""
        return variables_for(dark=self.current_theme.dark)

    def on_load(self) -> None:
        """Have the runs that were read so far drawn with the first picture."""
        self.delay_update()
        self.hub.listen(
            Listener(
                post=self._hub_saw,
                trouble=lambda words: self.post_message(self.Troubled(words)),
                broken=lambda error: self.post_message(self.Broken(error)),
            )
        )
        self.hub.start()

    def on_mount(self) -> None:
        """Take the keys as they were remapped, and the signals."""
        self.set_keymap(keymap.for_textual(self.settings))
        for words in self.settings.problems:
            told = keymap.keyed(str(words))
            self.notify(told, severity="warning", title=_("Settings"), markup=False)
        # Killed by default it would leave a terminal without echo. A hang-up takes the terminal
        # with it, and nothing may then be written: that one ends us at once.
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.exit, None, 128 + signal.SIGTERM)
        self.set_interval(2.0, self._look_round)

    def on_ready(self) -> None:
        """Do what the first picture did not need."""
        if not gc.isenabled():
            self._tidier = Tidier()
        # After the first picture, but before the other screens: a file that comes with its screen
        # has Textual parse every other anew.
        self.stylesheet.read_all([_STYLES / f"{name}.tcss" for name in _LATER_STYLES])
        self.stylesheet.parse()
        for box in self.screen_stack[1:]:  # opened by a key that was typed before
            self.stylesheet.update(box)
            box.refresh(layout=True)

    async def on_unmount(self) -> None:
        """Leave no thread behind."""
        self.hub.stop()
        await asyncio.to_thread(self.keeper.wait, _KEEP_S)

    @property
    def marked(self) -> tuple[str, ...]:
        """The ids of the marked runs, in the order they were marked."""
        return self.listing.marked

    # What comes from the hub's thread. Only the newest view counts: a slow screen skips the others.
    def _hub_saw(self, view: View) -> None:
        waiting, self._newest = self._newest is not None, view
        if not waiting:
            self.post_message(self.Seen())

    def on_sd_tui_seen(self) -> None:
        """Draw what is new; but a key that was just pressed is answered first."""
        new, old = self._newest, self.view
        same = new is not None and new.run is not None and old.run is not None
        if same and time.monotonic() - self._typed < _ANSWER_S:
            self.set_timer(_ANSWER_S, self.catch_up)
        else:
            self.catch_up()

    def catch_up(self, but: ConsoleScreen | None = None) -> None:
        """Draw the newest view on every open screen, unless that was done.

        Args:
            but: One that draws itself.
        """
        view, self._newest = self._newest, None
        if view is None:
            return
        self.view = view
        tell_ends(self, self._ends.among(view.runs or ()))
        for screen in self._whole_screens():
            if screen is not but:
                screen.show(view)

    def on_sd_tui_troubled(self, message: "SdTui.Troubled") -> None:
        """Tell what could not be read; the next look may do better."""
        self.notify(message.words, severity="error", title=_("A run cannot be read"), markup=False)

    def on_sd_tui_not_kept(self, message: "SdTui.NotKept") -> None:
        """Tell that a setting will be gone when the console is left."""
        self.tell(message.error)

    def on_sd_tui_broken(self, message: "SdTui.Broken") -> None:
        """End with the bug in plain sight: a screen that is no longer kept up would lie."""
        raise message.error

    def _whole_screens(self) -> list[ConsoleScreen]:
        """Return the open screens that can be drawn in."""
        own = [screen for screen in self.screen_stack if isinstance(screen, ConsoleScreen)]
        return [screen for screen in own if screen.whole]

    @property
    def takes_keys(self) -> bool:
        """Not while a screen is being composed: what will have the focus is not known."""
        return not isinstance(self.screen, ConsoleScreen) or self.screen.takes_keys

    async def on_event(self, event: Event) -> None:
        """Take note of what a person does."""
        if isinstance(event, InputEvent):
            self._typed = time.monotonic()
        await super().on_event(event)

    def _look_round(self) -> None:
        self._draw_bars()
        look_ahead(self, self._typed)
        if self._tidier is not None:
            self._tidier.tidy(self._typed)

    def _draw_bars(self) -> None:
        for screen in self._whole_screens():
            screen.draw_bars()

    def link_words(self) -> tuple[str, str]:
        """Tell how the console is reached and, over SSH, what it sends: in full, and in short."""
        if not self.settings.slow:
            return _("local"), ""
        rate = f"{METER.rate() / 1000:.1f} KB/s"
        return _("ssh {rate}").format(rate=rate), rate

    # Going from screen to screen.
    def go(self, mode: str) -> None:
        """Show a screen; those of one run show the open run, else the newest that lives."""
        if mode in OF_A_RUN and self.hub_run is None:
            runs = self.view.runs or ()
            live = [status for status in runs if status.state in LIVE]
            if not runs:
                self.notify(_("There is no run yet: make a new task first"), markup=False)
                return
            self.open_run((live or list(runs))[0].id, mode)
            return
        if self.current_mode != mode:
            self.switch_mode(mode)

    @property
    def hub_run(self) -> RunDir | None:
        """The open run."""
        return self.hub.run

    def open_run(self, id_: str, mode: str = "run") -> None:
        """Follow a run in full and show it."""
        self.hub.open(id_)
        self.view = self.view._replace(run=None)
        self.switch_mode(mode)

    def edit_task(self, source: str | None, *, fresh_name: bool = False) -> None:
        """Open the form with a preset or a run's task; see ``screens.new.open_task``."""
        from sdtui.screens.new import open_task  # noqa: PLC0415  # imports pydantic

        open_task(self, source, fresh_name=fresh_name)

    def action_go(self, mode: str) -> None:
        """Show a screen."""
        self.go(mode)

    # Talking to a person.
    def tell(self, error: SdError) -> None:
        """Show what failed, why, and what to do."""
        from sdtui.screens.dialogs import ErrorBox  # noqa: PLC0415  # rare

        self.push_screen(ErrorBox(error))

    def copy_text(self, text: str, what: str, more: str = "") -> bool:
        """Copy clean, masked text and say where it is now; say whether that could be done.

        Args:
            text: See ``copying.copy``.
            what: See there.
            more: A line to add to what is said.
        """
        from sdtui.copying import copy  # noqa: PLC0415  # rare

        try:
            words = copy(self, text, what)
        except SdError as error:
            self.tell(error)
            return False
        self.notify(f"{words}\n{more}" if more else words, markup=False)
        return True

    def action_help(self) -> None:
        """Explain the keys of what has the focus."""
        from sdtui.screens.help import HelpScreen  # noqa: PLC0415  # rare

        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen(self.screen))

    def action_palette(self) -> None:
        """Offer everything that can be done here by name."""
        from sdtui.screens.palette import open_palette  # noqa: PLC0415  # rare

        open_palette(self)

    def action_settings(self) -> None:
        """Change theme, language, link."""
        from sdtui.screens.settings import SettingsScreen  # noqa: PLC0415  # rare

        self.push_screen(SettingsScreen())

    def change_settings(self, **changes: Any) -> None:
        """Take settings into use at once and keep them."""
        before, self.settings = self.settings, replace(self.settings, **changes)
        self.theme = self.settings.theme
        if self.theme != before.theme:
            self.call_after_refresh(self._redraw_screens)
        self.hub.period_s = self.settings.period_s
        self.sends_changes = self.settings.frames == "changed"
        if self.settings.language != before.language:
            language.use(self.settings.language)
            self.call_later(self._rebuild_screens)
        if self.settings.mouse != before.mouse:
            self.take_mouse(self.settings.mouse)
        self.keeper.keep(changes)

    def _redraw_screens(self) -> None:
        """Draw every open screen in the colours of another theme; lines hold their own."""
        for screen in self._whole_screens():
            screen.redraw()

    async def _rebuild_screens(self) -> None:
        """Compose every open screen anew: labels that stand in it are of the old language."""
        for screen in list(self.screen_stack):
            await screen.recompose()
            if isinstance(screen, ConsoleScreen):
                screen.redraw()
        for mode in [mode for mode in self.MODES if mode != self.current_mode]:
            if not self.is_running:
                return  # it is left: Textual goes through the screens
            gone = self.remove_mode(mode)
            self.add_mode(mode, self.MODES[mode])  # before a key, or our own clock, asks for it
            await gone

    def action_redraw(self) -> None:
        """Draw everything anew: another program may have written over the screen."""
        self.forget_screen()
        self.refresh(layout=True)

    def action_press(self, key: str) -> None:
        """Do what a key does, for a click on it."""
        self.simulate_key(key.partition(",")[0])

    def action_mouse(self) -> None:
        """Give the mouse to the terminal, for its own selection, or take it back."""
        taken = not self.settings.mouse
        self.change_settings(mouse=taken)
        self.notify(
            _("The mouse works in sdtui again")
            if taken
            else _("The mouse is the terminal's now: select and copy; the same key takes it back"),
            markup=False,
        )

    def action_leave_at_once(self) -> None:
        """Leave the console, whatever has the focus."""
        self.action_leave()

    def action_leave(self) -> None:
        """Leave the console; what runs goes on."""
        live = [status for status in self.view.runs or () if status.state in LIVE]
        self.exit(tuple(self.hub.run_of(status.id) for status in live))
