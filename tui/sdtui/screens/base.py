"""What every full screen is: a top bar, a body, a key bar, and a picture of the runs to draw."""

from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.events import ScreenResume
from textual.geometry import Size
from textual.message import Message
from textual.screen import Screen
from textual.widget import Widget

from sdtui.language import N_, _
from sdtui.live.snapshot import View
from sdtui.widgets.bars import KeyBar, TopBar
from sdtui.widgets.line import Line
from sdtui.wire import WireScreen

if TYPE_CHECKING:
    from sdtui.app import SdTui

SMALLEST = (60, 16)  # columns and rows; below, one honest line


class TooSmall(Line):
    """All that a terminal below ``SMALLEST`` shows."""

    DEFAULT_CSS = "TooSmall { display: none; }"

    def on_mount(self) -> None:
        """Say what is needed, and what works at any size."""
        wanted = "{}x{}".format(*SMALLEST)
        self.set(_("sdtui needs {size} cells; `sdtui attach` works here").format(size=wanted))


class ConsoleScreen(WireScreen):
    """A screen of the console. It can be rebuilt at any time: its state lives in the app.

    Subclasses implement ``body`` and ``show``; they set ``MODE`` to their name in ``bars.SCREENS``.
    The classes ``-one``, ``-two`` (from 100 columns) and ``-three`` (from 140), ``-low`` and
    ``-tall`` (from 36 rows) are set by size for the stylesheets.
    """

    MODE: ClassVar[str] = ""
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012  # as Textual declares it
        (0, "-tiny"), (60, "-one"), (100, "-two"), (140, "-three"),
    ]  # fmt: skip
    VERTICAL_BREAKPOINTS = [  # noqa: RUF012  # as Textual declares it
        (0, "-flat"), (16, "-low"), (36, "-tall"),
    ]  # fmt: skip
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", N_("Back"), show=False, id="screen.back"),
        Binding("f6", "app.focus_next", N_("Next pane"), show=False, id="screen.next_pane"),
        Binding("ctrl+o", "jump", N_("Jump to a pane"), show=False, key_display="^o",
                tooltip=N_("Put letters on the panes, and go to the one that is pressed"),
                id="screen.jump"),
    ]  # fmt: skip

    _keys_wait = _redraw_waits = False  # to be drawn at the next refresh

    @property
    def console_app(self) -> "SdTui":
        """The app, with its type."""
        return cast("SdTui", self.app)

    def post_message(self, message: Message) -> bool:
        """Take a message; to come to the front is no reason to style every part anew."""
        if isinstance(message, ScreenResume):
            message.refresh_styles = False
        return super().post_message(message)

    @property
    def whole(self) -> bool:
        """Whether all its parts are there to be drawn in: not while it comes or goes."""
        bars = (TopBar, KeyBar)  # the first part and the last
        there = self.is_attached and self.is_mounted
        return there and None not in map(self.query_one_optional, bars)

    @property
    def takes_keys(self) -> bool:
        """Whether the next of several keys finds what it was typed for."""
        return self.whole

    def offers(self, action: str) -> bool:  # noqa: ARG002
        """Whether a key that does ``action`` is named now; unnamed, it says what is against it."""
        return True

    def compose(self) -> ComposeResult:
        """Put the bars around the body."""
        self._fit(self.app.size)
        yield TopBar()
        yield TooSmall()
        yield from self.body()
        yield KeyBar()

    def _fit(self, size: Size) -> None:
        """Take the classes of this size before anything is laid out, not after it was once."""
        for cells, points in (
            (size.width, self.HORIZONTAL_BREAKPOINTS),
            (size.height, self.VERTICAL_BREAKPOINTS),
        ):
            _least, fitting = max(point for point in points if point[0] <= cells)
            for _from, name in points:
                self.set_class(name == fitting, name, update=False)

    def body(self) -> ComposeResult:
        """Return what is between the bars."""
        yield from ()

    def show(self, view: View) -> None:
        """Draw ``view``; called with every new one while the screen is open, also beneath others.

        Called once more whenever the screen comes to the front or is composed anew.
        """

    def on_mount(self) -> None:
        """Draw what is known, and the keys again whenever they mean something else."""
        self.bindings_updated_signal.subscribe(self, self._keys_changed)
        self._redraw_soon()

    def _keys_changed(self, _screen: Screen[object]) -> None:
        """Draw the key bar alone, once for all that changes at a time: the focus most often."""
        if not self._keys_wait and self.is_current:  # else drawn when it comes to the front
            self._keys_wait = True
            self.call_after_refresh(self._draw_keys)

    def _draw_keys(self) -> None:
        waited, self._keys_wait = self._keys_wait, False
        if not waited:
            return  # all was drawn meanwhile
        bar = self.query_one_optional(KeyBar)  # none while the screen is being composed
        if bar is not None:
            bar.draw()

    def on_screen_resume(self) -> None:
        """Draw what came while another screen was in front."""
        self._redraw_soon()

    def on_resize(self) -> None:
        """Draw the lines that go by the width."""
        self._redraw_soon()

    def _redraw_soon(self) -> None:
        """Draw once, when all that asked for it has its place."""
        if not self._redraw_waits:
            self._redraw_waits = True
            self.call_after_refresh(self._redraw_now)

    def _redraw_now(self) -> None:
        self._redraw_waits = False
        if self.size:  # else it has no place yet, and being given one asks again
            self.console_app.catch_up(self)
            self.redraw()
            self.console_app.let_go()

    def redraw(self) -> None:
        """Draw everything from the app's last view."""
        if self.whole:
            self.show(self.console_app.view)
            self.draw_bars()

    def draw_bars(self) -> None:
        """Bring both bars up to date; they send nothing when nothing changed."""
        if self.query_one_optional(KeyBar) is None:
            return  # the screen is being composed; ``redraw`` follows
        self._keys_wait = False
        self.query_one(TopBar).draw(self.MODE, self.console_app.link_words())
        self.query_one(KeyBar).draw()

    def action_jump(self) -> None:
        """Put a letter on every pane and give the focus to the one that is pressed."""
        from sdtui.screens.jump import JumpScreen, places_of  # noqa: PLC0415  # rare

        places = places_of(self)
        if len(places) < 2:
            self.notify(_("There is no other pane to be seen here"), markup=False)
            return
        self.app.push_screen(JumpScreen(places), self._jump_to)

    def _jump_to(self, target: Widget | None) -> None:
        if target is not None:
            target.focus(scroll_visible=False)

    def action_back(self) -> None:
        """Go where one came from: the list of tasks."""
        if self.MODE != "tasks":
            self.console_app.go("tasks")
