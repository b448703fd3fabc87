"""The rows of a log, at any place of a file of any size.

It never reads: a thread of its own (``LogFeed``) brings the rows around the place that is looked
at, and this draws them. A line of the screen is sent again only when it differs.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from textual import events
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip

from sdcore.runs.logs import Mask
from sdtui.language import N_, _
from sdtui.live.log_feed import Broken, Facts, LogFeed, News, Trouble
from sdtui.live.log_levels import Level
from sdtui.live.log_scan import Ask, Copied, Hit, Window
from sdtui.widgets.log_choices import LogChoices, choices_of
from sdtui.widgets.log_keys import LogKeys
from sdtui.widgets.log_layout import Layout, Line, Place
from sdtui.widgets.log_paint import EDGE, GUTTER, Chosen, Pens, blank, paint

_SCREENS = 4  # of rows asked for above and below the place that is looked at
_PATIENCE_S = 0.2  # before an old screen gives way to "looking"
_THUMB = "▐"


class LogView(LogKeys, can_focus=True):
    """Shows a log and answers its keys."""

    HELP_TITLE = N_("Log")
    ALLOW_SELECT = False  # whole lines are marked and copied, of which the screen may hold a part
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "log--error", "log--warning", "log--debug", "log--faint", "log--match", "log--hit",
        "log--marked", "log--edge",
    }  # fmt: skip
    DEFAULT_CSS = """
    LogView {
        height: 1fr; width: 1fr; color: $foreground;
        & > .log--error { color: $error; text-style: bold; }
        & > .log--warning { color: $warning; }
        & > .log--debug { color: $faint; }
        & > .log--faint { color: $faint; }
        & > .log--match { color: $background; background: $mark; }
        & > .log--hit { color: $background; background: $accent; text-style: bold; }
        & > .log--marked { background: $panel; text-style: bold; }
        & > .log--edge { color: $rule; }
    }
    """

    class Came(Message):
        """The thread has something; sent from there."""

        bubble = False

        def __init__(self, news: News) -> None:
            super().__init__()
            self.news = news

    class Changed(Message):
        """The title has to say something else."""

        def can_replace(self, message: Message) -> bool:
            """One of them is enough."""
            return isinstance(message, LogView.Changed)

    class Told(Message):
        """Something to say to the person, once."""

        def __init__(self, words: str) -> None:
            super().__init__()
            self.words = words

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.choices = LogChoices()
        self.facts, self.trouble = Facts(), ""
        self.window = Window(whole=False)
        self.layout_ = Layout((), 1, wrap=False)
        self.top, self.left = Place(0), 0
        self.hit: int | None = None
        self.mark: int | None = None
        self.cursor: int | None = None
        self.ranks = set[int]()
        self.feed: LogFeed | None = None
        self._serial, self._waiting = 0, False
        self._goto: int | None = None
        self._strips: list[Strip] = []
        self._pens: Pens | None = None
        self._asked: tuple[object, ...] | None = None  # the choices that the rows go by
        self._at: int | None = None  # the place that was drawn
        self._drawn = 0  # lines painted so far: what a key or a tick costs

    # Its life.
    def on_mount(self) -> None:
        """Begin to read, in the way it was left."""
        self.choices = choices_of(self.app)
        self.feed = LogFeed(0.25, lambda news: self.post_message(self.Came(news)))
        self.feed.start()
        self.post_message(self.Changed())  # the pane may have been shown a run before this

    def on_unmount(self) -> None:
        """Leave no thread behind."""
        if self.feed is not None:
            self.feed.stop()

    def open(self, path: Path, mask: Callable[[], Mask]) -> None:
        """Show another file."""
        assert self.feed is not None
        self.window, self.facts, self.trouble = Window(whole=False), Facts(), ""
        self.hit = self.mark = self.cursor = None
        self.ranks.clear()
        self.left = 0
        self.feed.open(path, mask)
        self.search_anew()
        self.ask()
        self.lay_out()

    @property
    def in_front(self) -> bool:
        """Whether this view can be seen; another one may share its choices."""
        return self.is_mounted and self.screen in self.app.screen_stack

    def catch_up(self) -> bool:
        """Take over what was chosen in another view meanwhile; say whether there was something."""
        choices = self.choices
        if self.feed is None or (
            self._asked == (choices.only, choices.query) and self._at == choices.at
        ):
            return False
        self.hit, self._at = None, choices.at
        self.search_anew()
        self.forget()
        return True

    def ask(self) -> None:
        """Ask for the rows around the place that is looked at."""
        if self.feed is None:
            return
        rows = max(100, _SCREENS * self.size.height)
        self._serial += 1
        self._waiting = True
        at, only = self.choices.at, self.choices.only
        self.feed.look(Ask(at, rows, 0 if at is None else rows, only, self._serial))

    def search_anew(self) -> None:
        """Have the thread search by the choices of now."""
        if self.feed is not None:
            self._asked = self.choices.only, self.choices.query
            self.feed.search(self.choices.query, self.choices.only)

    def forget(self) -> None:
        """Drop the rows at hand and ask anew: other choices count now.

        What is on the screen stays for a moment, so that a quick answer does not flicker.
        """
        self.window = Window(whole=False)
        self.ask()
        self.set_timer(_PATIENCE_S, self._admit)

    def _admit(self) -> None:
        if not self.window.whole and not self.window.rows:
            self.lay_out()  # it says that it is looking

    # What the thread brings.
    def on_log_view_came(self, message: Came) -> None:
        """Take what the thread brings."""
        news = message.news
        if isinstance(news, Broken):  # ends the console: a log that stands still would lie
            raise news.error
        if isinstance(news, Facts):
            self.facts = news
            self.post_message(self.Changed())
        if not self.in_front:
            self._asked = None  # the rows that come now are not taken
            if self.feed is not None:
                self.feed.pause()
        elif isinstance(news, Window):
            self._take_window(news)
        elif isinstance(news, Hit):
            self._take_hit(news)
        elif isinstance(news, Copied):
            self.take_copy(news)
        elif isinstance(news, Trouble):
            self.trouble = news.words
            self.draw()

    def _take_window(self, window: Window) -> None:
        if window.ask.serial != self._serial:
            return  # the answer to an older wish
        if not window.whole and self.window.whole:
            return  # what is on the screen serves until all is there
        cut = window.generation != self.window.generation
        if cut and self.window.rows and not self.choices.following:
            self.choices.at = None  # the file was replaced: the place is gone
            self.hit = self.mark = self.cursor = None
            self.window = window
            self.ask()
            return
        self.window, self._waiting = window, not window.whole
        self.ranks.update(row.rank for row in window.rows if row.rank is not None)
        self.lay_out()
        if window.whole:
            self.ask_for_more()

    def _take_hit(self, hit: Hit) -> None:
        if hit.query != self.choices.query:
            return  # of a search that was left meanwhile
        if hit.at is None:
            self.hit = None
            if hit.gave_up:
                self.choices.query = None
            tired = _("the search was ended: its pattern takes too long on a line of this log")
            self.tell(tired if hit.gave_up else _("no line matches"))
            self.draw()
            return
        if hit.wrapped:
            self.tell(_("the search went on from the other end"))
        self.hit = hit.at
        self.show_row(hit.at)

    def tell(self, words: str) -> None:
        """Say something to the person."""
        self.post_message(self.Told(words))

    # Where things stand.
    def lay_out(self) -> None:
        """Find the top line anew, after rows, width or choices changed."""
        width = self.size.width - GUTTER - EDGE
        part = self.top.part
        self.layout_ = layout = Layout(self.window.rows, width, wrap=self.choices.wrap)
        last = layout.last_top(self.size.height)
        if self.choices.at is None:
            self.top = last
        else:
            row = layout.find(self.choices.at)
            self.top = layout.move(Place(row), part) if row < len(layout.rows) else last
            if self._goto is not None and layout.rows:
                self.top = layout.move(Place(layout.find(self._goto)), -(self.size.height // 3))
            if self.window.at_end or not self.window.whole:
                self.top = min(self.top, last)
            self._remember()
        if self.window.whole:
            self._goto = None
        self.draw()

    def _remember(self) -> None:
        rows = self.layout_.rows
        if rows:
            self.choices.at = rows[min(self.top.row, len(rows) - 1)].at

    def scroll_lines(self, lines: int) -> None:
        """Go up or down; at the very end the log is followed again."""
        if not self.layout_.rows:
            return
        last = self.layout_.last_top(self.size.height)
        top = self.layout_.move(self.top, lines)
        if lines > 0 and top >= last and self.window.at_end:
            self.follow()
            return
        self.top = min(top, last)
        self._remember()
        self.draw()
        self.ask_for_more()

    def ask_for_more(self) -> None:
        """Ask for rows when those at hand end within two screens."""
        rows, near = len(self.layout_.rows), 2 * self.size.height
        if self._waiting or self.choices.following or not rows:
            return
        above = self.top.row < near and not self.window.at_start
        below = rows - self.top.row < near + self.size.height and not self.window.at_end
        if above or below:
            self.ask()

    def follow(self) -> None:
        """Keep the end in sight."""
        self.choices.at = None
        if self.window.ask.at is None and self.window.whole:
            self.lay_out()
        else:
            self.ask()
            if self.window.at_end:
                self.lay_out()
        self.post_message(self.Changed())

    def hold(self) -> None:
        """Stay where we are while the log grows."""
        if self.choices.following and self.layout_.rows:
            self._remember()
            self.ask()
            self.post_message(self.Changed())

    def show_row(self, at: int) -> None:
        """Bring a row into sight, wherever in the file it is."""
        for line in self.in_sight():
            if self.layout_.rows[line.row].at == at:
                self.hold()
                self.draw()
                return
        self.choices.at = self._goto = at
        self.top = Place(0)
        self.ask()

    def in_sight(self) -> list[Line]:
        """Return what the lines of the screen show."""
        left = 0 if self.choices.wrap else self.left
        return self.layout_.lines(self.top, self.size.height, left)

    # Drawing.
    def draw(self) -> None:
        """Paint all lines and have those sent that differ."""
        height, old = self.size.height, self._strips
        if not height or not self.size.width or not self.in_front:
            return
        self._at = self.choices.at
        self._strips = strips = self._painted(height)
        if len(old) != height:
            self.refresh()
        else:
            changed = [y for y in range(height) if strips[y] != old[y]]
            self._drawn += len(changed)
            self.refresh(*(Region(0, y, self.size.width, 1) for y in changed)) if changed else None
        self.post_message(self.Changed())

    def _painted(self, height: int) -> list[Strip]:
        pens = self._pens = self._pens or self._new_pens()
        width, rows = self.size.width, self.layout_.rows
        edge = self._edge(height)
        lines = self.in_sight()
        marks = None
        if self.mark is not None and self.cursor is not None:
            marks = min(self.mark, self.cursor), max(self.mark, self.cursor)
        chosen = Chosen(marks, self.hit)
        strips = [
            paint(rows[line.row], line, width, pens, self.choices.query, chosen, edge[y])
            for y, line in enumerate(lines)
        ]
        words = "" if rows else self._why_empty()
        strips += [
            blank("" if y else words, width, pens, edge[y]) for y in range(len(strips), height)
        ]
        return strips

    def _why_empty(self) -> str:
        if self.trouble:
            return self.trouble
        if not self.window.whole:
            return _("looking …")
        if not self.window.upto:
            return _("nothing was logged yet")
        return _("no line is of the chosen level and rank")

    def _edge(self, height: int) -> list[str]:
        """Return the sign in the last cell of each line: where in the file we are."""
        edge = [" "] * height
        rows, size = self.layout_.rows, max(self.window.upto, 1)
        if rows and (not self.window.at_start or not self.window.at_end or len(rows) > height):
            share = 1.0 if self.choices.following else rows[self.top.row].at / size
            edge[min(height - 1, int(share * height))] = _THUMB
        return edge

    def _new_pens(self) -> Pens:
        ground = self.visual_style.rich_style

        def pen(name: str) -> Any:
            return self.get_component_rich_style(f"log--{name}", partial=True)

        levels = {
            Level.ERROR: pen("error"), Level.WARNING: pen("warning"), Level.DEBUG: pen("debug"),
        }  # fmt: skip
        return Pens(ground, levels, pen("faint"), pen("match"), pen("hit"),
                    ground + pen("marked"), ground + pen("edge"))  # fmt: skip

    def notify_style_update(self) -> None:
        """Take the colours of the new theme."""
        super().notify_style_update()
        self._pens, self._strips = None, []
        if self.is_mounted:
            self.call_after_refresh(self.draw)

    def render_line(self, y: int) -> Strip:
        """Return one line as it was painted."""
        if y < len(self._strips):
            return self._strips[y]
        return Strip.blank(self.size.width, self.visual_style.rich_style)

    def on_resize(self, _event: events.Resize) -> None:
        """Lay the rows out for the new width; more of them may be in sight."""
        self._strips = []
        if not self.in_front or self.catch_up():
            return
        self.lay_out()
        if not self._waiting and len(self.window.rows) < 2 * self.size.height:
            self.ask()
