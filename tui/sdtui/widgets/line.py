"""One line of text that costs no more bytes than what changes in it."""

from typing import Any

from rich.style import Style
from rich.text import Text
from textual import events
from textual.widgets import Static

_ACTION = "sdtui-action"  # in the meta data of a style


class Line(Static):
    """A fixed line. ``set`` draws only what differs, and never lays the screen out again."""

    DEFAULT_CSS = "Line { height: 1; width: 1fr; }"

    def __init__(self, text: Text | str = "", **more: Any) -> None:
        super().__init__(as_text(text), markup=False, **more)
        self._shown = as_text(text)

    async def on_click(self, event: events.Click) -> None:
        """Do what stands under the mouse."""
        action = event.style.meta.get(_ACTION)
        if action:
            await self.run_action(action)

    def set(self, text: Text | str) -> None:
        """Show ``text``; styles count as a difference, too."""
        new = as_text(text)
        if alike(new, self._shown):
            return
        self._shown = new
        self.update(new, layout=False)


def clickable(action: str) -> Style:
    """Return what makes a piece of a line do ``action`` when it is clicked.

    Textual's own ``@click`` would also draw it as a link, in colours of its own.
    """
    return Style(meta={_ACTION: action})


def alike(one: Text, other: Text) -> bool:
    """Say whether two texts look the same: Rich leaves the style of the whole out of account."""
    return one == other and one.style == other.style


def as_text(text: Text | str) -> Text:
    """Return one line of text that is cut, not wrapped, where the place ends."""
    line = Text(text) if isinstance(text, str) else text
    line.no_wrap, line.overflow = True, "ellipsis"
    return line
