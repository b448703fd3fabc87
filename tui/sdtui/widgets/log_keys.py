"""What the keys and the mouse do in a log view."""

from typing import TYPE_CHECKING, ClassVar, cast

from textual import events
from textual.binding import Binding, BindingType
from textual.widget import Widget

from sdtui.language import N_, _, ngettext
from sdtui.live.log_levels import Level
from sdtui.live.log_query import Query
from sdtui.live.log_scan import Copied

if TYPE_CHECKING:
    from sdtui.app import SdTui
    from sdtui.widgets.log_view import LogView

_WHEEL = 3  # lines
_SIDEWAYS = 16  # cells


class LogKeys(Widget):
    """The keys of ``LogView``, which alone inherits from it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "follow", N_("Follow"), id="log.follow",
                tooltip=N_("Keep the newest line in sight, or stay where you are")),
        Binding("n", "next(False)", N_("Next"), id="log.next",
                tooltip=N_("Go to the next line that matches")),
        Binding("N", "next(True)", N_("Previous"), show=False, id="log.previous",
                tooltip=N_("Go to the line before that matches")),
        Binding("w", "wrap", N_("Wrap"), id="log.wrap",
                tooltip=N_("Let long lines go on below, or be cut at the edge")),
        Binding("l", "level", N_("Level"), id="log.level",
                tooltip=N_("Show all levels, info and above, warnings and errors, errors")),
        Binding("number_sign", "rank", N_("Rank"), show=False, key_display="#", id="log.rank",
                tooltip=N_("Show the lines of all ranks, or of one after the other")),
        Binding("v", "mark", N_("Mark"), show=False, id="log.mark",
                tooltip=N_("Begin to mark lines, or stop it; up and down mark more of them")),
        Binding("y", "copy", N_("Copy"), id="log.copy",
                tooltip=N_("Copy the marked lines, or those in sight")),
        Binding("up,k", "lines(-1)", N_("Up"), show=False, id="log.up"),
        Binding("down,j", "lines(1)", N_("Down"), show=False, id="log.down"),
        Binding("pageup,ctrl+u", "pages(-1)", N_("Page up"), show=False, id="log.page_up"),
        Binding("pagedown,ctrl+d,space", "pages(1)", N_("Page down"), show=False,
                id="log.page_down"),
        Binding("home,g", "home", N_("To the start"), show=False, id="log.home"),
        Binding("end,G", "end", N_("To the end, and follow"), show=False, id="log.end"),
        Binding("left", "sideways(-1)", N_("Left"), show=False, id="log.left"),
        Binding("right", "sideways(1)", N_("Right"), show=False, id="log.right"),
        Binding("escape", "clear", N_("Let go of marks and search"), show=False, id="log.clear"),
    ]  # fmt: skip

    _pressed: int | None = None  # address of the row on which the mouse was pressed

    @property
    def _view(self) -> "LogView":
        return cast("LogView", self)

    def check_action(self, action: str, _parameters: tuple[object, ...]) -> bool | None:
        """Leave ``n`` and Esc to others while there is no search, and nothing to let go of."""
        view = self._view
        if action == "next":
            return view.choices.query is not None
        if action == "clear":
            return view.choices.query is not None or view.mark is not None
        return True

    # Going about.
    def action_follow(self) -> None:
        """Follow the end, or stay."""
        if self._view.choices.following:
            self._view.hold()
        else:
            self._view.follow()

    def action_lines(self, lines: int) -> None:
        """Go line by line; while marking, the end of the marks goes."""
        if self._view.mark is None:
            self._view.scroll_lines(lines)
        else:
            self._move_cursor(lines)

    def action_pages(self, pages: int) -> None:
        """Go page by page, keeping one line in sight."""
        step = max(1, self._view.size.height - 1) * pages
        if self._view.mark is None:
            self._view.scroll_lines(step)
        else:
            self._move_cursor(step)

    def action_home(self) -> None:
        """Go to the first line."""
        view = self._view
        view.choices.at, view.top = 0, view.top._replace(row=0, part=0)
        if view.window.at_start:
            view.lay_out()
        view.ask()

    def action_end(self) -> None:
        """Go to the last line and follow."""
        self._view.follow()

    def action_sideways(self, steps: int) -> None:
        """Show what is beyond the edge of unwrapped lines."""
        view = self._view
        left = max(0, view.left + steps * _SIDEWAYS)
        if not view.choices.wrap and left != view.left:
            view.left = left
            view.draw()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Go down."""
        event.stop()
        self._view.scroll_lines(_WHEEL)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Go up."""
        event.stop()
        self._view.scroll_lines(-_WHEEL)

    # What is shown.
    def action_wrap(self) -> None:
        """Wrap long lines, or cut them."""
        view = self._view
        view.choices.wrap = not view.choices.wrap
        view.left, view.top = 0, view.top._replace(part=0)
        view.lay_out()

    def action_level(self) -> None:
        """Leave out one level more, or show all again."""
        self.show_level(Level((self._view.choices.level + 1) % len(Level)))

    def show_level(self, level: Level) -> None:
        """Show the lines of this level and graver ones."""
        self._view.choices.level = level
        self._choose_anew()

    def action_rank(self) -> None:
        """Show one rank after the other, then all."""
        view = self._view
        wheel = [None, *sorted(view.ranks)]
        if len(wheel) == 1:
            view.tell(_("no line in sight says which rank wrote it"))
            return
        now = wheel.index(view.choices.rank) if view.choices.rank in wheel else 0
        view.choices.rank = wheel[(now + 1) % len(wheel)]
        self._choose_anew()

    def _choose_anew(self) -> None:
        view = self._view
        view.hit = None
        view.search_anew()
        view.forget()
        view.post_message(view.Changed())

    # Searching.
    def search(self, query: Query | None, begun: int | None = None, *, jump: bool = False) -> None:
        """Search for something else, or for nothing.

        Args:
            query: What for.
            begun: The place in the file that was looked at; None while the end is followed.
            jump: Go to the match nearest to there.
        """
        view = self._view
        view.choices.query, view.hit = query, None
        if view.feed is not None:
            view.search_anew()
            if query is not None and jump:
                # While the end is followed the newest match is meant, else the next one.
                start = view.facts.size if begun is None else begun - 1
                view.feed.jump(query, view.choices.only, start, up=begun is None)
        view.draw()
        view.refresh_bindings()

    def action_next(self, up: bool) -> None:
        """Go to another match: from the last one, else from what is in sight."""
        view = self._view
        lines = view.in_sight()
        if view.feed is None or view.choices.query is None or not lines:
            return
        start = view.hit
        if start is None:
            start = view.layout_.rows[lines[-1 if up else 0].row].at + (1 if up else -1)
        view.feed.jump(view.choices.query, view.choices.only, start, up=up)

    def action_clear(self) -> None:
        """Let go of the marks, then of the search."""
        view = self._view
        if view.mark is not None:
            view.mark = view.cursor = None
            view.draw()
        else:
            self.search(None)
        view.refresh_bindings()

    # Marking and copying.
    def action_mark(self) -> None:
        """Begin to mark at the hit, else at the last line in sight; once more lets go."""
        view = self._view
        lines = view.in_sight()
        if view.mark is not None or not lines:
            view.mark = view.cursor = None
        else:
            view.hold()
            seen = [view.layout_.rows[line.row].at for line in lines]
            view.mark = view.cursor = view.hit if view.hit in seen else seen[-1]
        view.draw()
        view.refresh_bindings()

    def _move_cursor(self, lines: int) -> None:
        view = self._view
        layout = view.layout_
        if view.cursor is None or not layout.rows:
            return
        row = max(0, min(len(layout.rows) - 1, layout.find(view.cursor) + lines))
        view.cursor = layout.rows[row].at
        seen = {line.row for line in view.in_sight()}
        if row not in seen:
            away = row - (max(seen) if lines > 0 else min(seen))
            view.scroll_lines(away)
        view.draw()

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Begin to mark where the mouse is pressed, or go where the edge is pressed."""
        view = self._view
        if event.x >= view.size.width - 1:
            view.choices.at = view.window.upto * event.y // max(1, view.size.height)
            view.ask()
        else:
            self._pressed = self._row_at(event.y)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Mark as far as the mouse is drawn."""
        view, at = self._view, self._row_at(event.y)
        if event.button == 1 and self._pressed is not None and at not in {None, self._pressed}:
            view.hold()
            view.mark, view.cursor = self._pressed, at
            view.draw()

    def on_mouse_up(self, _event: events.MouseUp) -> None:
        """What is marked stays."""
        self._pressed = None

    def _row_at(self, y: int) -> int | None:
        view = self._view
        lines = view.in_sight()
        return view.layout_.rows[lines[y].row].at if 0 <= y < len(lines) else None

    def action_copy(self) -> None:
        """Copy the marked lines, else those in sight, whole."""
        view = self._view
        lines = view.in_sight()
        if view.feed is None or not lines:
            return
        rows = view.layout_.rows
        first, last = rows[lines[0].row].at, rows[lines[-1].row].at
        if view.mark is not None and view.cursor is not None:
            first, last = min(view.mark, view.cursor), max(view.mark, view.cursor)
        view.feed.copy(first, last, view.choices.only)

    def take_copy(self, copied: Copied) -> None:
        """Hand on what the thread gathered, and say where it is."""
        view = self._view
        what = ngettext("{n} line", "{n} lines", copied.lines).format(n=copied.lines)
        more = _("the rest of the marked lines was too much") if copied.cut else ""
        if not cast("SdTui", view.app).copy_text(copied.text, what, more):
            return
        view.mark = view.cursor = None
        view.draw()
        view.refresh_bindings()
