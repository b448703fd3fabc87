"""The keys of what has the focus, of its screen, and of the console."""

from typing import Any, ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

from sdtui.language import N_, _


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
        with VerticalScroll(classes="dialog"):
            yield Static(self._table(), classes="dialog--body")
            yield Static(Text(_("esc close")), classes="dialog--keys")

    def _table(self) -> Text:
        groups: dict[str, list[tuple[str, str, str]]] = {}
        seen = set[tuple[str, str]]()
        for active in self._of.active_bindings.values():
            node, binding = active.node, active.binding
            ours = bool(binding.id and binding.description)  # not Textual's own, in English
            if not ours or (binding.action, binding.description) in seen:
                continue
            seen.add((binding.action, binding.description))
            title = getattr(node, "HELP_TITLE", None) or type(node).__name__
            keys = binding.key_display or self.app.get_key_display(binding)
            words = _(binding.tooltip) if binding.tooltip else _(binding.description)
            groups.setdefault(_(title), []).append((keys, words, binding.id or ""))
        width = max([cell_len(row[0]) for rows in groups.values() for row in rows], default=1)
        text = Text()
        for title, rows in groups.items():
            text.append(f"{title}\n", style="bold")
            for keys, words, id_ in rows:
                text.append(f"  {keys}{' ' * (width - cell_len(keys))}  {words}")
                text.append(f"  {id_}\n", style="dim")
        return text

    def action_close(self) -> None:
        """Go back."""
        self.dismiss(None)
