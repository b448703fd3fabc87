"""What all lists of lines have in common: the keys and the wheel that go through them."""

from abc import abstractmethod
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widget import Widget

from sdtui.language import N_

_ALL = 1_000_000  # more rows than any list has


def scroll_keys(
    name: str, first: str = N_("First"), last: str = N_("Last"), last_key: str = "end"
) -> list[BindingType]:
    """Return the bindings of a ``Scrolled`` widget.

    Args:
        name: Begins their ids.
        first: What stands at the beginning, marked for translation.
        last: What stands at the end.
        last_key: What goes there.
    """
    return [
        Binding("up,k", "scroll_by(-1)", N_("Up"), show=False, id=f"{name}.up"),
        Binding("down,j", "scroll_by(1)", N_("Down"), show=False, id=f"{name}.down"),
        Binding("pageup", "page_by(-1)", N_("Page up"), show=False, id=f"{name}.page_up"),
        Binding("pagedown", "page_by(1)", N_("Page down"), show=False, id=f"{name}.page_down"),
        Binding("home", f"scroll_by(-{_ALL})", first, show=False, id=f"{name}.first"),
        Binding(last_key, f"scroll_by({_ALL})", last, show=False, id=f"{name}.last"),
    ]


class Scrolled(Widget):
    """A list that draws its own lines. Subclasses implement ``action_scroll_by``."""

    HEAD: ClassVar[int] = 0  # rows above the lines that stay in place

    @abstractmethod
    def action_scroll_by(self, rows: int) -> None:
        """Go down by ``rows``, or up; as far as there are some."""

    def action_page_by(self, pages: int) -> None:
        """Go by what is visible, but for one line."""
        self.action_scroll_by(pages * max(1, self.size.height - self.HEAD - 1))

    def on_mouse_scroll_down(self) -> None:
        """Three rows on."""
        self.action_scroll_by(3)

    def on_mouse_scroll_up(self) -> None:
        """Three rows back."""
        self.action_scroll_by(-3)
