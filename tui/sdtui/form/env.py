"""The environment table: the platform's six variables, then one's own."""

from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Input

from sdcore.launch.plan import is_secret
from sdcore.task.train_spec import PLATFORM_ENV
from sdtui.form.dotenv import parse_env
from sdtui.form.entries import entries
from sdtui.form.facts import Verdict
from sdtui.form.fields import FieldRow, TextEditor, tell_edit
from sdtui.form.labels import label
from sdtui.form.sections import Section
from sdtui.language import N_, _, ngettext


class NewVariable(Input):
    """Takes ``NAME=value``, or a whole pasted ``.env``."""

    class Given(Message):
        """Variables were typed or pasted."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self) -> None:
        super().__init__(
            compact=True, placeholder=_("NAME=value, or paste a .env"), classes="editor"
        )
        self.key, self.cursor_blink = "new", False

    def load(self, raw: object) -> None:
        """There is nothing to show: what is given goes into the table."""

    def validate_value(self, value: str) -> str:
        """Cover a secret from its first letter on: somebody may look over the shoulder."""
        name, assigned, _value = value.partition("=")
        self.password = bool(assigned) and is_secret(name)
        return value

    def on_input_changed(self, event: Input.Changed) -> None:
        """Keep to itself what is not finished."""
        event.stop()

    def on_paste(self, event: events.Paste) -> None:
        """Take several lines as variables; one is left to the field itself."""
        lines = [line for line in event.text.splitlines() if line.strip()]
        if len(lines) > 1:
            event.stop()
            event.prevent_default()
            self.post_message(self.Given(event.text))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Add what was typed."""
        event.stop()
        if event.value.strip():
            self.post_message(self.Given(event.value))
        else:
            self.screen.focus_next()


class Env(Section):
    """Variables that the training sees."""

    NAME = "env"
    HELP_TITLE = N_("Environment")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f9", "remove", N_("Remove"), key_display="F9", id="env.remove",
                tooltip=N_("Remove this variable")),
    ]  # fmt: skip

    def compose(self) -> ComposeResult:
        """Show the six, then the others, then the line that adds."""
        own = [row.name for row in self.desk.draft.env if row.name not in PLATFORM_ENV]
        for name in [*PLATFORM_ENV, *dict.fromkeys(own)]:
            yield self._row(name)
        yield FieldRow("new", _("+ variable"), NewVariable(), wide=True)

    def _row(self, name: str) -> FieldRow:
        setting = PLATFORM_ENV.get(name)
        if setting is None:
            editor = TextEditor(f"env.{name}", password=is_secret(name))
            return FieldRow(f"env.{name}", name, editor, wide=True)
        entry = entries()[f"train.{setting}"]
        default = entry.default if isinstance(entry.default, str) else ""
        editor = TextEditor(f"env.{name}", placeholder=default or _("left out"))
        editor.styles.width = 16
        parts = [label(entry.key), *([_(entry.unit)] if entry.unit else [])]
        return FieldRow(f"env.{name}", name, editor, after=_(", ").join(parts), wide=True)

    def draw_row(self, row: FieldRow) -> None:
        """The line that adds shows nothing of the draft."""
        if row.key != "new":
            super().draw_row(row)

    def hint(self, key: str) -> str:
        """Say where one of the six is set in the training part."""
        setting = PLATFORM_ENV.get(key.removeprefix("env."))
        if setting and not self.desk.raw(key) and (raw := self.desk.draft.get(f"train.{setting}")):
            return _("{value}, set in Training").format(value=raw)
        return ""

    def found(self, key: str) -> Verdict | None:
        """Say what happens to a secret."""
        name = key.removeprefix("env.")
        if is_secret(name):
            return Verdict("plain", _("a secret: masked everywhere, not kept in the draft"))
        return None

    async def on_new_variable_given(self, event: NewVariable.Given) -> None:
        """Put variables into the table."""
        event.stop()
        found, odd = parse_env(event.text)
        for name, value in found:
            self.desk.draft.set_variable(name, value)
        if odd:
            words = ngettext("{n} line is no NAME=value", "{n} lines are no NAME=value", odd)
            self.notify(words.format(n=odd), severity="warning", markup=False)
        if found:
            await self._again()
            if row := self.row("new"):
                row.editor.focus()

    async def action_remove(self) -> None:
        """Remove the variable that has the focus."""
        row = next((row for row in self.rows() if row.has_focus_within), None)
        if row is not None and row.key.startswith("env."):
            self.desk.draft.drop_variable(row.key.removeprefix("env."))
            await self._again()

    async def _again(self) -> None:
        await self.recompose()
        self.draw()
        tell_edit(self, "", "")
