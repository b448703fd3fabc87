"""A box over another screen, of which the rest is still to be seen.

Calls ``Compositor._render_chops`` of Textual.
"""

from typing import TypeVar

from textual.geometry import Region
from textual.screen import ModalScreen
from textual.strip import Strip

T = TypeVar("T")


class Over(ModalScreen[T]):
    """A screen that shows the one beneath it as it is.

    Textual renders every piece of it once more, to tint it; ours is not tinted.
    """

    def render_lines(self, crop: Region) -> list[Strip]:
        """Return lines of the screen beneath, which answer no click."""
        stack = self.app.screen_stack
        if self not in stack:  # it goes
            return super().render_lines(crop)
        beneath = stack[stack.index(self) - 1]
        rows, whole = crop.line_range, Region(0, crop.y, self.size.width, crop.height)
        chops = beneath._compositor._render_chops(whole, rows.__contains__)  # noqa: SLF001
        lines = [_unlinked(Strip.join(chops[y].values())) for y in rows if y < len(chops)]
        lines += [Strip.blank(crop.right)] * (len(rows) - len(lines))  # it is not resized yet
        self._dirty_regions.clear()
        return [line.crop_extend(crop.x, crop.right, None) for line in lines]


def _unlinked(line: Strip) -> Strip:
    """Take out what a click would do, where there is any: it takes as long as drawing."""
    has_meta = any(style is not None and style._meta for _text, style, _control in line)  # noqa: SLF001
    return line.discard_meta() if has_meta else line
