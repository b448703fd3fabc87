"""Small boxes over a screen: a question, an error."""

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Static

from sdcore.errors import SdError
from sdcore.text import clean
from sdtui.keymap import keyed
from sdtui.language import N_, _
from sdtui.screens.over import Over
from sdtui.told import told


class Confirm(Over[bool]):
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
            yield Static(
                Text(keyed(_("[confirm.yes] yes   [confirm.no] no"))), classes="dialog--keys"
            )

    def action_answer(self, yes: bool) -> None:
        """Close with the answer."""
        self.dismiss(yes)


class ErrorBox(Over[None]):
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
            yield Static(Text(clean(told(error.what), 1000)), classes="dialog--title")
            body = _("cause: {cause}\nremedy: {remedy}")
            body = body.format(cause=told(error.cause), remedy=told(error.remedy))
            yield Static(Text(clean(body, 4000)), classes="dialog--body")
            yield Static(
                Text(keyed(_("[error.close] close   [error.copy] copy"))), classes="dialog--keys"
            )

    def action_close(self) -> None:
        """Go on."""
        self.dismiss(None)

    def action_copy(self) -> None:
        """Copy the error as the command line would print it, and say where it is."""
        from sdtui.copying import copy  # noqa: PLC0415  # rare

        try:
            self.notify(copy(self.app, clean(str(self._error)), _("the error")), markup=False)
        except SdError as error:  # a message: a box over this one would hide what it is about
            self.notify(clean(str(error), 1000), severity="error", markup=False)
