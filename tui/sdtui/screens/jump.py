"""Letters on the panes of a screen: the one that is pressed gives its pane the focus."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from rich.text import Text
from textual.app import ComposeResult
from textual.events import Click, Key
from textual.geometry import Offset
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static

from sdtui.language import N_
from sdtui.screens.over import Over
from sdtui.widgets.pane import Pane

# By the id of a pane, else by the name of its class: the same letter wherever the pane stands.
_LETTERS = {
    "chart": "c", "gpu": "g", "left": "h", "history": "h", "samples": "p", "log": "l",
    "filter": "f", "TaskTable": "t", "Peek": "d", "CompareTable": "t", "pictures": "p",
}  # fmt: skip
_OTHERS = "asdfghjklqwertyuiopzxcvbnm"


class Place(NamedTuple):
    """A pane to jump to.

    Attributes:
        letter: What is pressed.
        at: Where the letter stands, in cells of the screen.
        target: What takes the focus.
    """

    letter: str
    at: Offset
    target: Widget


def places_of(screen: Screen[Any]) -> list[Place]:
    """Return the panes of a screen that can be seen and take keys, each with a letter."""
    found: dict[Widget, Widget] = {}
    for node in screen.focus_chain:
        pane = next((each for each in node.ancestors_with_self if isinstance(each, Pane)), node)
        if pane.region.area:
            found.setdefault(pane, node)
    wished = [_LETTERS.get(pane.id or "") or _LETTERS.get(type(pane).__name__) for pane in found]
    free = (letter for letter in _OTHERS if letter not in wished)
    return list(_placed(found, wished, free))


def _placed(
    found: dict[Widget, Widget], wished: Sequence[str | None], free: Iterator[str]
) -> Iterator[Place]:
    taken = set[str]()
    for (pane, target), wish in zip(found.items(), wished, strict=True):
        letter = wish if wish and wish not in taken else next(free, None)
        if letter is not None:
            taken.add(letter)
            yield Place(letter, pane.region.offset, target)


class _Letter(Static):
    DEFAULT_CSS = """
    _Letter {
        position: absolute; width: 3; height: 1;
        background: $primary; color: $background; text-style: bold;
    }
    """


class JumpScreen(Over[Widget | None]):
    """Lies over a screen until a key is pressed; one that is no letter only takes it away."""

    HELP_TITLE = N_("Jump to a pane")
    DEFAULT_CSS = "JumpScreen { align: left top; }"

    def __init__(self, places: Sequence[Place]) -> None:
        super().__init__()
        self._places = places
        self._size_drawn: tuple[int, int] | None = None

    def compose(self) -> ComposeResult:
        """Put each letter on the beginning of its pane's title."""
        for place in self._places:
            letter = _Letter(Text(f" {place.letter} "))
            letter.styles.offset = place.at
            yield letter

    def on_key(self, event: Key) -> None:
        """Jump, or go back."""
        event.stop()
        event.prevent_default()
        key = (event.character or "").lower()
        self.dismiss(next((p.target for p in self._places if p.letter == key), None))

    def on_click(self, event: Click) -> None:
        """Go back: the mouse gives the focus by itself."""
        event.stop()
        self.dismiss(None)

    def on_resize(self) -> None:
        """Go back: the panes are elsewhere now."""
        if self._size_drawn not in {None, tuple(self.size)}:
            self.dismiss(None)
        self._size_drawn = (self.size.width, self.size.height)
