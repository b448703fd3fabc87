"""The keys of what has the focus, of its screen, and of the console."""

from typing import Any, ClassVar

from rich.segment import Segment
from rich.table import Column, Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

from sdtui.language import N_, _
from sdtui.widgets.bars import offered_keys
from sdtui.widgets.lines import Lines


class HelpScreen(ModalScreen[None]):
    """Lists the keys by where they belong, nearest first."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q,enter", "close", N_("Close"), id="help.close"),
    ]

    def __init__(self, of: Screen[Any]) -> None:
        super().__init__()
        self._of = of

    def compose(self) -> ComposeResult:
        """Show the table."""
        with Vertical(classes="dialog"):
            yield Lines(self._lines())
            yield Static(Text(_("esc close   ↑ ↓ scroll")), classes="dialog--keys")

    def _table(self) -> Table:
        groups: dict[str, list[tuple[str, str, str]]] = {}
        signs: dict[str, tuple[tuple[str, str], ...]] = {}
        seen = set[tuple[str, str]]()
        for active in offered_keys(self._of):
            node, binding = active.node, active.binding
            ours = bool(binding.id and binding.description)  # not Textual's own, in English
            if not ours or (binding.action, binding.description) in seen:
                continue
            seen.add((binding.action, binding.description))
            title = getattr(node, "HELP_TITLE", None) or type(node).__name__
            keys = binding.key_display or self.app.get_key_display(binding)
            words = _(binding.tooltip) if binding.tooltip else _(binding.description)
            if _(title) not in groups:  # what is drawn there is explained with its keys
                signs[_(title)] = getattr(node, "HELP_SIGNS", ())
            groups.setdefault(_(title), []).append((keys, words, binding.id or ""))
        everywhere = _(str(getattr(self.app, "HELP_TITLE", "")))
        table = Table.grid(
            Column(no_wrap=True),
            Column(ratio=1, overflow="fold"),
            Column(style="dim"),
            padding=(0, 1),
        )
        # Nearest first; Textual puts the keys that count everywhere before those of the screen.
        for title, rows in sorted(groups.items(), key=lambda group: group[0] == everywhere):
            table.add_row(Text(title, style="bold"))
            for keys, words, id_ in rows:
                table.add_row(Text(f"  {keys}"), Text(words), Text(id_))
            for sign, words in signs[title]:
                table.add_row(Text(f"  {sign}"), Text(_(words)), Text())
        return table

    def _lines(self) -> list[list[Segment]]:
        # As wide as the stylesheet makes the box, without its border and padding.
        width = min(110, self.app.size.width * 95 // 100) - 6
        options = self.app.console.options.update(width=max(20, width))
        return self.app.console.render_lines(self._table(), options, pad=False)

    def action_close(self) -> None:
        """Go back."""
        self.dismiss(None)
