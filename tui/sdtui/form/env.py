"""The environment table: the platform's six variables, then one's own."""

from collections.abc import Callable
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Input

from sdcore.masking import is_secret
from sdcore.task.platform_env import PLATFORM_ENV
from sdcore.text import clean
from sdtui.form.dotenv import parse_env
from sdtui.form.entries import entries
from sdtui.form.facts import Verdict
from sdtui.form.fields import FieldRow, TextEditor, tell_edit
from sdtui.form.labels import label
from sdtui.form.sections import Section
from sdtui.language import N_, _, ngettext

_WAYS: list[BindingType] = [
    Binding("up", "app.focus_previous", N_("Field above"), show=False, id="field.up"),
    Binding("down", "app.focus_next", N_("Field below"), show=False, id="field.down"),
]


class NewVariable(Input):
    """Takes ``NAME=value``, or a whole pasted ``.env``."""

    HELP_TITLE = N_("New variable")
    BINDINGS: ClassVar[list[BindingType]] = _WAYS

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


class NameEditor(Input):
    """The name of a variable; what is typed counts when the field is left, or with Enter.

    Before, it is half a name: of a secret it might be no secret's name any more, and the value
    would stand on the screen and in the draft.
    """

    HELP_TITLE = N_("Name of a variable")
    BINDINGS: ClassVar[list[BindingType]] = _WAYS

    def __init__(self, name: str, shown: str, rename: Callable[[str, str], None]) -> None:
        super().__init__(shown, compact=True, select_on_focus=False, classes="editor -name")
        self.key, self.cursor_blink = "variable", False
        self.taken, self._settled, self._rename = name, shown, rename

    def commit(self) -> None:
        """Hand over what was typed."""
        typed = self.value.strip()
        if typed != self._settled:
            self._settled = typed
            self._rename(self.taken, typed)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Nobody else needs to know yet."""
        event.stop()

    def on_blur(self) -> None:
        """Take it: the field is left."""
        self.commit()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Take it, and go to the value if it can be a name."""
        event.stop()
        self.commit()
        if self.taken == self._settled:
            self.screen.focus_next()

    def on_paste(self, event: events.Paste) -> None:
        """Make what is pasted harmless; Textual then hands it to the field itself."""
        event.text = clean(event.text)


class VariableRow(FieldRow):
    """A variable of one's own: name and value can both be changed."""

    DEFAULT_CSS = """
    VariableRow {
        & > .editor { margin-left: 1; width: 1fr; }
        & > .editor.-name { margin-left: 2; width: 27; }
    }
    """

    def __init__(self, name: str, shown: str, rename: Callable[[str, str], None]) -> None:
        editor = TextEditor(f"env.{name}", password=is_secret(name))
        super().__init__(f"env.{name}", "", editor)
        self.name_editor = NameEditor(name, shown, rename)

    def compose(self) -> ComposeResult:
        """Put the name where other rows have their label."""
        yield self.name_editor
        yield from super().compose()

    @property
    def at_fault(self) -> NameEditor | TextEditor:
        """The name, if what stands there is not the variable's."""
        editor: TextEditor = self.editor
        return editor if self.name_editor.value == self.name_editor.taken else self.name_editor

    def take_name(self, name: str) -> None:
        """Stand for the same variable under another name."""
        self.name_editor.taken = name
        self.key = self.editor.key = f"env.{name}"
        self.editor.password = is_secret(name)


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
            return VariableRow(name, self.desk.draft.renames.get(name, name), self._rename)
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

    def _rename(self, name: str, typed: str) -> None:
        """Give a variable another name, or say at its row why it cannot have it."""
        row = self.row(f"env.{name}")
        assert isinstance(row, VariableRow), "only its own name editor asks for it"
        tell_edit(self, f"name_of.{name}", typed)
        if name not in self.desk.draft.renames:
            row.take_name(typed)
        self.desk.judge()
        row.judge(self.bad(row.key), self.found(row.key), at_once=True)

    async def _again(self) -> None:
        await self.recompose()
        self.draw()
        tell_edit(self, "", "")
