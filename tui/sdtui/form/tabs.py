"""The line that names the parts of the form and counts what is wrong."""

from collections.abc import Collection
from typing import ClassVar

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text

from sdtui.form.sections import TITLES
from sdtui.language import _
from sdtui.widgets.line import Line, clickable


class Tabs(Line):
    """``Basics  Mounts …   2 problems``; a click opens a part."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"tabs--here", "tabs--bad"}
    DEFAULT_CSS = """
    Tabs {
        & > .tabs--here { background: $primary; color: $background; text-style: bold; }
        & > .tabs--bad { color: $error; text-style: bold; }
    }
    """

    def draw(self, here: str, right: str, bad: Collection[str]) -> None:
        """Show ``here`` as open, mark the parts in ``bad``, and say ``right`` at the end."""
        current = self.get_component_rich_style("tabs--here", partial=True)
        wrong = self.get_component_rich_style("tabs--bad", partial=True)
        pieces: list[Text] = []
        for name, title in TITLES.items():
            style = current if name == here else wrong if name in bad else Style()
            click = clickable(f"screen.section('{name}')")
            mark = "✗" if name in bad else " "
            pieces.append(Text(f"{mark}{_(title)} ", style=style + click))
        most = max(0, self.size.width - cell_len(right) - 1)
        shown = list(TITLES).index(here) + 1
        while len(pieces) > 1 and sum(piece.cell_len for piece in pieces[:shown]) > most:
            del pieces[0]  # the open part is never out of sight
            shown -= 1
        while len(pieces) > shown and sum(piece.cell_len for piece in pieces) > most:
            del pieces[-1]  # half a name tells nothing
        text = Text().join(pieces)
        text.truncate(most)
        room = self.size.width - text.cell_len - cell_len(right) - 1
        text.append(" " * room)
        text.append(right, wrong if bad else Style())
        self.set(text)
