"""A part of a screen with a title line: no border, because a border costs cells and bytes."""

from typing import ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.css.query import NoMatches

from sdtui.widgets.line import Line


class PaneTitle(Line):
    """``── title ── more ─────``; bright while the focus is in its pane."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"title--rule"}
    DEFAULT_CSS = """
    PaneTitle {
        color: $foreground;
        & > .title--rule { color: $rule; }
        Pane:focus-within > & { color: $primary; text-style: bold; }
    }
    """

    _words: tuple[Text | str, str] | None = None  # as they were drawn

    def notify_style_update(self) -> None:
        """Take the colours of another theme: the rule holds its own."""
        super().notify_style_update()
        if self._words is not None and self.is_mounted:
            self.call_after_refresh(self._draw_again)

    def _draw_again(self) -> None:
        if self._words is not None:  # those of now, not those of when it was asked for
            self.draw(*self._words)

    def draw(self, words: Text | str, right: str = "") -> None:
        """Show ``words`` in the rule, and ``right`` at its end."""
        self._words = words, right
        rule = self.get_component_rich_style("title--rule", partial=True)
        text = Text().append("── ", style=rule)  # a style of the whole would colour the words, too
        text.append_text(words if isinstance(words, Text) else Text(words))
        end = f" {right} ──" if right else ""
        left = self.size.width - text.cell_len - cell_len(end) - 1
        text.append(" " + "─" * max(0, left), style=rule)
        if left > 0:
            text.append(end)
        self.set(text)


class Pane(Vertical):
    """A titled part. Subclasses compose ``body`` and return ``title_words``."""

    DEFAULT_CSS = """
    Pane { height: 1fr; width: 1fr; }
    Pane > PaneTitle { height: 1; }
    """

    def compose(self) -> ComposeResult:
        """Put the title above the body."""
        yield PaneTitle()
        yield from self.body()

    def body(self) -> ComposeResult:
        """Return what the pane shows."""
        yield from ()

    def title_words(self) -> Text | str:
        """Return the words of the title line."""
        return ""

    def title_right(self) -> str:
        """Return what stands at the end of the title line."""
        return ""

    def draw_title(self) -> None:
        """Bring the title line up to date."""
        try:
            self.query_one(PaneTitle).draw(self.title_words(), self.title_right())
        except NoMatches:
            return  # not composed yet; on_resize comes

    def on_resize(self) -> None:
        """The rule reaches as far as the pane does."""
        self.draw_title()
