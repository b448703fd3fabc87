"""Small boxes over a screen: a question, an error."""

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from sdcore.errors import SdError
from sdcore.text import clean
from sdtui.language import N_, _


class Confirm(ModalScreen[bool]):
    """Asks before something that cannot be undone; only ``y`` means yes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", N_("Yes"), id="confirm.yes"),
        Binding("n,escape,q,enter", "answer(False)", N_("No"), id="confirm.no"),
    ]

    def __init__(self, title: str, body: str) -> None:
        super().__init__()
        self._title, self._body = title, body

    def compose(self) -> ComposeResult:
        """Show the question and its two keys."""
        with Vertical(classes="dialog"):
            yield Static(Text(clean(self._title, 500)), classes="dialog--title")
            yield Static(Text(clean(self._body, 2000)), classes="dialog--body")
            yield Static(Text(_("y yes   n no")), classes="dialog--keys")

    def action_answer(self, yes: bool) -> None:
        """Close with the answer."""
        self.dismiss(yes)


class ErrorBox(ModalScreen[None]):
    """What failed, why, and what to do."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter,q,space", "close", N_("Close"), id="error.close"),
        Binding("y", "copy", N_("Copy"), id="error.copy"),
    ]

    def __init__(self, error: SdError) -> None:
        super().__init__()
        self._error = error

    def compose(self) -> ComposeResult:
        """Show the three parts of the error."""
        error = self._error
        with Vertical(classes="dialog -bad"):
            yield Static(Text(clean(error.what, 1000)), classes="dialog--title")
            body = Text(clean(f"{_('cause')}: {error.cause}\n{_('remedy')}: {error.remedy}", 4000))
            yield Static(body, classes="dialog--body")
            yield Static(Text(_("esc close   y copy")), classes="dialog--keys")

    def action_close(self) -> None:
        """Go on."""
        self.dismiss(None)

    def action_copy(self) -> None:
        """Copy the error as the command line would print it."""
        self.app.copy_to_clipboard(clean(str(self._error)))
