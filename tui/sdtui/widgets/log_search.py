"""The line in which a search is typed, and what is wrong with it beneath."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Input

from sdcore.text import clean_line
from sdtui.language import N_, _
from sdtui.live.log_query import BadPatternError, Query
from sdtui.widgets.line import Line

_PAUSE_S = 0.2  # without a key before the search begins


class LogSearch(Vertical):
    """Asks for a pattern; searches while it is typed."""

    HELP_TITLE = N_("Search")
    DEFAULT_CSS = """
    LogSearch {
        height: auto; display: none; background: $panel;
        &.-open { display: block; }
        & > Horizontal { height: 1; }
        & > Horizontal > .search--sign { width: 2; color: $accent; text-style: bold; }
        & Input {
            width: 1fr; height: 1; border: none; padding: 0; background: $panel;
            &:focus { border: none; background: $panel; }
        }
        & > .search--wrong { display: none; color: $error; }
        &.-wrong > .search--wrong { display: block; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", N_("Leave the search"), id="log_search.leave"),
    ]

    class Wanted(Message):
        """Search for this; ``done`` once Enter was pressed, ``left`` when Esc was."""

        def __init__(self, query: Query | None, *, done: bool = False, left: bool = False) -> None:
            super().__init__()
            self.query, self.done, self.left = query, done, left

    _timer: Timer | None = None

    def compose(self) -> ComposeResult:
        """Put the input above its verdict."""
        with Horizontal():
            yield Line(" /", classes="search--sign")
            box = Input(select_on_focus=True)
            box.cursor_blink = False  # twice a second, some bytes for nothing
            yield box
        yield Line("", classes="search--wrong")

    def open(self, text: str) -> None:
        """Ask, beginning with what was searched last."""
        self.add_class("-open")
        box = self.query_one(Input)
        with box.prevent(Input.Changed):
            box.value = text
        box.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Search once the typing pauses."""
        event.stop()
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(_PAUSE_S, self._search)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Search now, and go back to the log."""
        event.stop()
        self._search(done=True)

    def action_leave(self) -> None:
        """Search for what was searched before, as if nothing had been typed."""
        self._stop()
        self.post_message(self.Wanted(None, left=True))

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        self.remove_class("-open", "-wrong")

    def _search(self, *, done: bool = False) -> None:
        text = self.query_one(Input).value
        try:
            query = Query.of(text) if text else None
        except BadPatternError as error:
            self.add_class("-wrong")
            words = _("this cannot be searched: {why}").format(why=clean_line(str(error), 200))
            self.query_one(".search--wrong", Line).set("   " + words)
            return
        self.remove_class("-wrong")
        if done:
            self._stop()
        self.post_message(self.Wanted(query, done=done))
