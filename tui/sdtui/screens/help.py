"""The keys of what has the focus, of its screen, and of the console."""

from typing import Any, ClassVar, NamedTuple

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen

from sdtui.keymap import keyed
from sdtui.language import N_, _
from sdtui.screens.over import Over
from sdtui.widgets.bars import offered_keys
from sdtui.widgets.cells import fit
from sdtui.widgets.lines import Lines


class _Row(NamedTuple):
    keys: str
    words: str
    id: str  # by which the keys are remapped


class HelpScreen(Over[None]):
    """Lists the keys by where they belong, nearest first."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q,enter", "close", N_("Close"), id="help.close"),
    ]

    def __init__(self, of: Screen[Any]) -> None:
        super().__init__()
        self._of = of

    def compose(self) -> ComposeResult:
        """Show the table."""
        yield Lines(self._lines(), keyed(_("[help.close] close   ↑ ↓ scroll")), classes="dialog")

    def _groups(self) -> dict[str, list[_Row]]:
        """Return what is listed, by the title it stands under; the nearest first."""
        groups: dict[str, list[_Row]] = {}
        signs: dict[str, tuple[tuple[str, str], ...]] = {}
        seen = set[tuple[str, str]]()
        for active in offered_keys(self._of):
            node, binding = active.node, active.binding
            ours = bool(binding.id and binding.description)  # not Textual's own, in English
            if not ours or (binding.action, binding.description) in seen:
                continue
            seen.add((binding.action, binding.description))
            title = _(getattr(node, "HELP_TITLE", None) or type(node).__name__)
            keys = binding.key_display or self.app.get_key_display(binding)
            words = _(binding.tooltip) if binding.tooltip else _(binding.description)
            if title not in groups:  # what is drawn there is explained with its keys
                signs[title] = getattr(node, "HELP_SIGNS", ())
            groups.setdefault(title, []).append(_Row(keys, words, binding.id or ""))
        for title, rows in groups.items():
            rows += [_Row(sign, _(words), "") for sign, words in signs[title]]
        everywhere = _(str(getattr(self.app, "HELP_TITLE", "")))
        # Textual puts the keys that count everywhere before those of the screen.
        return dict(sorted(groups.items(), key=lambda group: group[0] == everywhere))

    def _lines(self) -> list[list[Segment]]:
        groups = self._groups()
        rows = [row for group in groups.values() for row in group]
        keys, ids = (max(map(cell_len, column)) for column in list(zip(*rows, strict=True))[::2])
        # As wide as the stylesheet makes the box, without its border and padding.
        width = min(110, self.app.size.width * 95 // 100) - 6
        words = max(20, width - keys - ids - 4)
        lines = []
        for title, group in groups.items():
            lines.append([Segment(title, Style(bold=True))])
            for row in group:
                first, *more = self._folded(row.words, words)
                head = f"  {fit(row.keys, keys)} {fit(first, words)} "
                lines.append([Segment(head), Segment(row.id, Style(dim=True))])
                lines += [[Segment(" " * (keys + 3) + part)] for part in more]
        return lines

    def _folded(self, words: str, width: int) -> list[str]:
        if cell_len(words) <= width:  # nearly always, and wrapping takes long
            return [words]
        return [line.plain.rstrip() for line in Text(words).wrap(self.app.console, width)]

    def action_close(self) -> None:
        """Go back."""
        self.dismiss(None)
