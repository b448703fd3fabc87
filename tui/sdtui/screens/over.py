"""A box over another screen, of which the rest is still to be seen.

Reads the compositor of the screen beneath, which Textual keeps private.
"""

from typing import TYPE_CHECKING, Any, TypeVar

from textual.geometry import Region
from textual.screen import ModalScreen, Screen
from textual.strip import Strip

T = TypeVar("T")
if TYPE_CHECKING:
    _Screen = Screen[Any]
else:
    _Screen = object  # Textual inherits styles from one base alone


class SeenThrough(_Screen):
    """A screen around whose parts the one beneath stands as it is; before Textual's own class.

    Textual renders every piece of that one once more, to tint it; ours is not tinted.
    """

    _seen: tuple[Strip, ...] = ()

    def render_lines(self, crop: Region) -> list[Strip]:
        """Draw the lines; those that did not change are kept, as of every widget."""
        if self is not self.app.screen:
            # Textual tells the screen in front alone what changed beneath it.
            self._styles_cache.clear()
            self._dirty_regions.add(self.size.region)
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        """Return a line of the screen beneath."""
        if self._dirty_regions or not self._seen:
            self._seen = self._look()
            self._dirty_regions.clear()
        # The screen beneath may learn later of another size of the terminal.
        return self._seen[y] if y < len(self._seen) else Strip.blank(self.size.width)

    def _look(self) -> tuple[Strip, ...]:
        stack = self.app.screen_stack
        place = stack.index(self) if self in stack else 0  # not there: it goes
        if not place:
            return ()
        lines = stack[place - 1]._compositor.render_strips()  # noqa: SLF001
        return tuple(map(_without_actions, lines))


class Over(SeenThrough, ModalScreen[T]):
    """A box."""


def _without_actions(line: Strip) -> Strip:
    """Take out what a click would do, where there is any: it takes as long as drawing."""
    acts = any(style is not None and style._meta for _text, style, _control in line)  # noqa: SLF001
    return line.discard_meta() if acts else line
