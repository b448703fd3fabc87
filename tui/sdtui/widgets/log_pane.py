"""The log of a run in a pane: which file, how it is shown, what is searched; and the rows."""

import os
import shlex
import shutil
import subprocess
from bisect import bisect_left
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual.app import ComposeResult, SuspendNotSupported
from textual.binding import Binding, BindingType

from sdcore.errors import UsageError
from sdcore.runs.paths import RunDir
from sdcore.text import clean_line
from sdtui.language import N_, _, ngettext
from sdtui.live.log_query import Query
from sdtui.live.log_scan import MOST_MATCHES
from sdtui.live.snapshot import RunSnapshot
from sdtui.screens.base import ConsoleScreen
from sdtui.secrets import mask_of
from sdtui.widgets.log_search import LogSearch
from sdtui.widgets.log_view import LogView
from sdtui.widgets.pane import Pane

if TYPE_CHECKING:
    from sdtui.app import SdTui

SOURCES: tuple[tuple[str, Callable[[RunDir], Path]], ...] = (
    (N_("log"), lambda run: run.log),
    (N_("supervisor's log"), lambda run: run.supervisor_log),
)
# LESS may hold -R, which passes escape sequences on; secure: no shell, no LESSOPEN, no history.
_HARMLESS = {"LESS": "", "LESSSECURE": "1"}


class LogPane(Pane):
    """A log with its title; ``show`` opens that of the run."""

    HELP_TITLE = N_("Log")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "search", N_("Search"), key_display="/", id="log.search",
                tooltip=N_("Search by a regular expression; small letters also find capitals")),
        Binding("t", "source", N_("Other log"), show=False, id="log.source",
                tooltip=N_("Show the training's log, or the supervisor's own")),
        Binding("E", "pager", N_("Open in a pager"), show=False, id="log.pager",
                tooltip=N_("Open the raw file in less: escape sequences stay harmless, but no "
                           "secret in it is masked")),
    ]  # fmt: skip

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self._snapshot: RunSnapshot | None = None
        self._opened: tuple[RunDir, int] | None = None  # the run, and which of its logs
        # What was searched before the present typing, and where: None at the end that is followed.
        self._before: tuple[Query | None, int | None] = None, None

    def body(self) -> ComposeResult:
        """Put the rows above the search."""
        yield LogView()
        yield LogSearch()

    @property
    def view(self) -> LogView:
        """The rows."""
        return self.query_one(LogView)

    def show(self, snapshot: RunSnapshot | None) -> None:
        """Show the log of the run; it is kept up to date without further calls."""
        self._snapshot = snapshot
        view = self.query_one_optional(LogView)
        if snapshot is None or view is None or view.feed is None:
            return
        view.feed.period_s = cast("SdTui", self.app).settings.period_s
        view.feed.resume()
        view.choices.take_run(snapshot.run.id)
        if self._opened != (snapshot.run, view.choices.source):
            self._open(snapshot.run)
        else:
            view.catch_up()

    def _open(self, run: RunDir) -> None:
        source = self.view.choices.source
        self._opened = run, source
        self.view.open(SOURCES[source][1](run), lambda: mask_of(run))
        self.draw_title()

    # The title.
    def on_log_view_changed(self) -> None:
        """Say what is shown now."""
        if self._opened is None:
            self.show(self._snapshot)
        self.draw_title()

    def title_words(self) -> str:
        """Return which log it is, how it is shown, and what is searched."""
        if self.query_one_optional(LogView) is None:
            return ""
        choices = self.view.choices
        words = [_(SOURCES[choices.source][0]), *choices.words()]
        if choices.query is not None:
            words.append(f"/{clean_line(choices.query.text, 40)} {self._found()}")
        return "  ".join(words)

    def _found(self) -> str:
        facts, hit = self.view.facts, self.view.hit
        total = f"{facts.found:,}" + "+" * (facts.found >= MOST_MATCHES)
        words = _("{n} found").format(n=total)
        if hit is not None:
            place = bisect_left(facts.matches, hit)
            if place < len(facts.matches) and facts.matches[place] == hit:
                words = _("{k} of {n}").format(k=f"{place + 1:,}", n=total)
        if facts.searched < 1.0 and facts.found < MOST_MATCHES:
            words += " " + _("({percent}% searched)").format(percent=int(100 * facts.searched))
        return words

    def title_right(self) -> str:
        """Return how long the log is."""
        if self.query_one_optional(LogView) is None:
            return ""
        facts = self.view.facts
        if not self.view.window.whole and not facts.size:
            return ""
        if not facts.counted:
            number = _rounded(facts.lines)
            return _("~{n} lines").format(n=number) if facts.lines else ""
        return ngettext("{n} line", "{n} lines", facts.lines).format(n=f"{facts.lines:,}")

    # Searching.
    def action_search(self) -> None:
        """Ask for a pattern."""
        choices = self.view.choices
        self._before = choices.query, choices.at
        self.query_one(LogSearch).open(choices.query.text if choices.query else "")

    def on_log_search_wanted(self, message: LogSearch.Wanted) -> None:
        """Search, and leave the line when the person is done."""
        view = self.view
        query, at = self._before if message.left else (message.query, view.choices.at)
        now = view.choices.query
        if (query.text if query else None) != (now.text if now else None):
            # From where the typing began: its first letters have led elsewhere meanwhile.
            view.search(query, self._before[1], jump=not message.left)
        if at != view.choices.at:  # the typing led away from there
            view.choices.at = at
            view.follow() if at is None else view.forget()
        if message.done or message.left:
            view.focus()
            if isinstance(self.screen, ConsoleScreen):
                self.call_after_refresh(self.screen.draw_bars)
        self.draw_title()

    def on_log_view_told(self, message: LogView.Told) -> None:
        """Say something once."""
        self.notify(message.words, markup=False, timeout=3)

    # Other ways to read.
    def action_source(self) -> None:
        """Show the next file."""
        choices = self.view.choices
        choices.source, choices.at, choices.rank = (choices.source + 1) % len(SOURCES), None, None
        self.show(self._snapshot)

    def action_pager(self) -> None:
        """Open the file in ``$PAGER`` if that is less, else in less, without colours."""
        if self._opened is None:
            return
        run, source = self._opened
        path = SOURCES[source][1](run)
        argv = pager(os.environ.get("PAGER", ""))
        if argv is None or not path.exists():
            missing = _("less is not installed") if argv is None else _("there is no such file yet")
            cast("SdTui", self.app).tell(
                UsageError(
                    _("the log cannot be opened in a pager"),
                    cause=missing,
                    remedy=_("read it here, or with `sdtui logs`"),
                )
            )
            return
        try:
            with self.app.suspend():
                subprocess.run([*argv, str(path)], env={**os.environ, **_HARMLESS}, check=False)
        except SuspendNotSupported:
            self.notify(_("this terminal cannot be lent to another program"), markup=False)
        self.app.refresh(repaint=True)


def pager(wish: str) -> list[str] | None:
    """Return the command of a pager that shows escape sequences as text; None if there is none.

    Any other program than less may obey what a log holds, so it is not used.
    """
    try:
        words = shlex.split(wish)
    except ValueError:  # a quote without its other half
        words = []
    name = words[0] if words and Path(words[0]).name == "less" else "less"
    found = shutil.which(name)
    return [found, "-+r", "-+R", "-S", "+G"] if found else None


def _rounded(lines: int) -> str:
    """Return an estimate in few digits: ``10.2 M``."""
    if lines >= 1_000_000:
        return f"{lines / 1e6:.1f} M"
    return f"{lines // 1000:,} k" if lines >= 10_000 else f"{lines:,}"
