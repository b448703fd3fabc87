"""The fields of the form: one line each, and a line below for what is wrong or found out.

A row draws its own label and message, so that it costs two widgets and not five: a form of thirty
fields is mounted in a fraction of a second.
"""

from typing import Any, ClassVar, Protocol, runtime_checkable

from rich.cells import set_cell_size
from rich.style import Style
from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.suggester import Suggester
from textual.widget import Widget
from textual.widgets import Input, TextArea

from sdcore.text import clean, clean_line
from sdtui.form.entries import Entry, Raw
from sdtui.form.facts import GLYPHS, Verdict
from sdtui.language import N_, _

LABEL = 24  # cells, the mark of a change included
_WIDE_LABEL = 30
_WIDTHS = {"whole": 16, "number": 16, "switch": 16, "choice": 28}
_MOST_LINES = 3
_VALUES = {"true": N_("on"), "false": N_("off"), "auto": N_("auto")}


@runtime_checkable
class EditTaker(Protocol):
    """A screen that takes what is typed.

    It is told at once and not by a message: the key that starts the task may be the very next
    one, and a message would still be on its way.
    """

    def take_edit(self, key: str, raw: Raw) -> None:
        """Take what was typed into the field ``key``; an empty key is a change to the rows."""


def tell_edit(widget: Widget, key: str, raw: Raw) -> None:
    """Tell the screen of ``widget`` of an edit."""
    screen = widget.screen
    assert isinstance(screen, EditTaker), "fields stand on the form's screen alone"
    screen.take_edit(key, raw)


class TextEditor(Input):
    """A line of text; its cursor does not blink, because blinking sends bytes for nothing."""

    HELP_TITLE = N_("Field")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "app.focus_previous", N_("Field above"), show=False, id="field.up"),
        Binding("down", "app.focus_next", N_("Field below"), show=False, id="field.down"),
    ]

    def __init__(self, key: str, **more: Any) -> None:
        self._loaded = ""
        super().__init__(compact=True, select_on_focus=False, classes="editor", **more)
        self.key, self.cursor_blink = key, False

    def load(self, raw: Raw) -> None:
        """Show what stands in the draft, made harmless."""
        shown = clean_line(raw if isinstance(raw, str) else " ".join(raw), 100_000)
        if shown != self.value:
            self._loaded = shown
            self.value = shown

    def watch_value(self, value: str) -> None:
        """Tell of what a person typed, not of what was loaded."""
        if value != self._loaded:
            self._loaded = value
            tell_edit(self, self.key, value)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Nobody else needs to know."""
        event.stop()

    def on_paste(self, event: events.Paste) -> None:
        """Make what is pasted harmless; Textual then hands it to the field itself."""
        event.text = clean(event.text)


class LinesEditor(TextArea):
    """Several lines of text, for prompts and start commands."""

    HELP_TITLE = N_("Text")

    def __init__(self, key: str, *, listed: bool, **more: Any) -> None:
        super().__init__(compact=True, highlight_cursor_line=False, classes="editor -lines", **more)
        self.key, self._listed, self.cursor_blink = key, listed, False
        self._loaded = ""

    def load(self, raw: Raw) -> None:
        """Show what stands in the draft, made harmless."""
        shown = clean(raw if isinstance(raw, str) else "\n".join(raw))
        if shown != self.text:
            self._loaded = shown
            self.text = shown

    def flush(self) -> None:
        """Tell of what a person typed, not of what was loaded."""
        if self.text != self._loaded:
            self._loaded = self.text
            lines = [line for line in self.text.splitlines() if line.strip()]
            tell_edit(self, self.key, lines if self._listed else self.text)

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        """Tell of what was typed."""
        event.stop()
        self.flush()

    def on_paste(self, event: events.Paste) -> None:
        """Make what is pasted harmless; Textual then hands it to the field itself."""
        event.text = clean(event.text)


class Choice(Widget, can_focus=True):
    """One of a few values; without one it shows, faintly, what counts then."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"choice--faint", "choice--arrow"}
    DEFAULT_CSS = """
    Choice {
        height: 1; background: $surface;
        & > .choice--faint { color: $faint; }
        & > .choice--arrow { color: $faint; }
        &:focus { background: $primary 30%; }
    }
    """
    HELP_TITLE = N_("Choice")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right,space", "turn(1)", N_("Next value"), show=False, id="choice.next"),
        Binding("left", "turn(-1)", N_("Value before"), show=False, id="choice.previous"),
        Binding("backspace,delete", "leave_out", N_("Leave it out: the default counts"),
                show=False, id="choice.default"),
        Binding("up", "app.focus_previous", N_("Field above"), show=False, id="field.up"),
        Binding("down,enter", "app.focus_next", N_("Field below"), show=False, id="field.down"),
    ]  # fmt: skip

    def __init__(self, key: str, options: list[tuple[str, str]], default: str = "") -> None:
        super().__init__(classes="editor")
        self.key, self._options, self._default, self._raw = key, options, default, ""

    def load(self, raw: Raw) -> None:
        """Show what stands in the draft."""
        if isinstance(raw, str) and raw != self._raw:
            self._raw = raw
            self.refresh()

    def render(self) -> Text:
        """Show the value between arrows."""
        faint = self.get_component_rich_style("choice--faint", partial=True)
        arrow = self.get_component_rich_style("choice--arrow", partial=True)
        names = dict(self._options)
        value = self._raw or self._default
        words = names.get(value, clean_line(value, 40)) or _("left out")
        width = max(4, self.size.width - 4)
        return Text.assemble(
            ("‹ ", arrow),
            (set_cell_size(words, width), Style() if self._raw else faint),
            (" ›", arrow),
        )

    def action_turn(self, by: int) -> None:
        """Take the next value."""
        values = [value for value, _words in self._options]
        now = self._raw or self._default
        at = values.index(now) if now in values else (-1 if by > 0 else 0)
        self._take(values[(at + by) % len(values)])

    def action_leave_out(self) -> None:
        """Go back to the default."""
        self._take("")

    def on_click(self) -> None:
        """Take the next value."""
        self.action_turn(1)

    def _take(self, raw: str) -> None:
        self._raw = raw
        self.refresh()
        tell_edit(self, self.key, raw)


class FieldRow(Widget):
    """A label, an editor, and below them what is wrong or what was found.

    Args:
        key: Of the field; see ``Desk.edit``.
        words: The label.
        editor: What is typed into.
        after: Words after the editor: a unit.
        extra: A second, narrow editor at the end.
        wide: The label is a name that must not be cut.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "row--label", "row--changed", "row--after", "row--bad", "row--poor", "row--good",
    }  # fmt: skip
    DEFAULT_CSS = """
    FieldRow {
        layout: horizontal; height: 1;
        & > .editor { margin-left: 24; width: 1fr; }
        &.-wide > .editor { margin-left: 30; }
        & > .editor.-lines { height: 5; padding: 0; }
        & > .editor.-extra { margin-left: 1; width: 13; }
        & > .row--changed { color: $accent; text-style: bold; }
        & > .row--after { color: $faint; }
        & > .row--bad { color: $error; }
        & > .row--poor { color: $warning; }
        & > .row--good { color: $success; }
    }
    """

    def __init__(
        self,
        key: str,
        words: str,
        editor: Widget,
        *,
        after: str = "",
        extra: Widget | None = None,
        wide: bool = False,
    ) -> None:
        super().__init__(classes="-wide" if wide else None)
        self._label = _WIDE_LABEL if wide else LABEL
        self.key, self._words, self._after = key, words, after
        self.editor: Any = editor
        self.extra: Any = extra
        self._changed, self._hint = False, ""
        self._bad: Verdict | None = None
        self._found: Verdict | None = None

    @property
    def at_fault(self) -> Widget:
        """The editor in which a problem of this row is mended."""
        editor: Widget = self.editor
        return editor

    def compose(self) -> ComposeResult:
        """Put the editors in their places."""
        yield self.editor
        if self.extra is not None:
            self.extra.add_class("-extra")
            yield self.extra

    def load(self, raw: Raw, *, changed: bool = False, hint: str = "") -> None:
        """Show a value; ``hint`` tells where it comes from."""
        if not self.editor.has_focus:
            self.editor.load(raw)
        if (changed, hint) != (self._changed, self._hint):
            self._changed, self._hint = changed, hint
            self.refresh()

    def judge(
        self, bad: Verdict | None, found: Verdict | None = None, *, at_once: bool = False
    ) -> None:
        """Show what is wrong, else what was found out.

        While a person types into the field nothing new is held against it, unless ``at_once``.
        """
        if self.editor.has_focus and self._bad is None and not at_once:
            bad = None
        if (bad, found) == (self._bad, self._found):
            return
        self._bad, self._found = bad, found
        self._fit()
        self.refresh()

    def on_resize(self) -> None:
        """A message wraps anew."""
        self._fit()

    def _fit(self) -> None:
        height = self._editor_height() + len(self._message_lines())
        if self.styles.height is None or self.styles.height.value != height:
            self.styles.height = height

    def _editor_height(self) -> int:
        return 5 if isinstance(self.editor, LinesEditor) else 1

    def _message_lines(self) -> list[Text]:
        verdict = self._bad or self._found
        if verdict is None or not self.size.width:
            return []
        style = self._style(
            {"bad": "bad", "poor": "poor", "good": "good"}.get(verdict.level, "after")
        )
        text = Text(f"{GLYPHS[verdict.level]} {verdict.words}", style=style)
        return list(text.wrap(self.app.console, max(10, self.size.width - 4)))[:_MOST_LINES]

    def _style(self, part: str) -> Style:
        return self.get_component_rich_style(f"row--{part}", partial=True)

    def render(self) -> Text:
        """Draw all but the editors, which stand in front."""
        text = Text().append("• " if self._changed else "  ", self._style("changed"))
        text.append(
            set_cell_size(clean_line(self._words, 80), self._label - 2), self._style("label")
        )
        after = self._hint or self._after
        if after:  # beside the editor; where that takes all the room it is cut
            text.append(" " * (self.editor.size.width + 1))
            text.append(after, self._style("after"))
        lines = [text, *[Text()] * (self._editor_height() - 1)]
        lines += [Text("  ").append_text(line) for line in self._message_lines()]
        whole = Text("\n").join(lines)
        whole.no_wrap, whole.overflow = True, "crop"
        return whole


class Act(Widget, can_focus=True):
    """A line that does something: Enter, space or a click."""

    DEFAULT_CSS = """
    Act {
        height: 1; width: auto; min-width: 20; margin-left: 2; color: $primary;
        &:focus { background: $primary 30%; text-style: bold; }
    }
    """
    HELP_TITLE = N_("Action")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,space", "press", N_("Do it"), show=False, id="act.press"),
        Binding("up", "app.focus_previous", N_("Field above"), show=False, id="field.up"),
        Binding("down", "app.focus_next", N_("Field below"), show=False, id="field.down"),
    ]

    class Pressed(Message):
        """The line was chosen."""

        def __init__(self, verb: str) -> None:
            super().__init__()
            self.verb = verb

    def __init__(self, verb: str, words: str) -> None:
        super().__init__()
        self._verb, self._words = verb, words

    def render(self) -> Text:
        """Show the words."""
        return Text(self._words)

    def set(self, words: str) -> None:
        """Change the words."""
        if words != self._words:
            self._words = words
            self.refresh(layout=True)

    def action_press(self) -> None:
        """Tell that it was chosen."""
        self.post_message(self.Pressed(self._verb))

    def on_click(self, event: events.Click) -> None:
        """Do it."""
        event.stop()
        self.action_press()


def _options(*values: str) -> list[tuple[str, str]]:
    """Return values with what they are called; most are names of their own."""
    return [(value, _(_VALUES[value]) if value in _VALUES else value) for value in values]


def row_of(entry: Entry, words: str, suggester: Suggester | None = None) -> FieldRow:
    """Return the row of a value; ``suggester`` completes what is typed."""
    default = entry.default if isinstance(entry.default, str) else ""
    if entry.kind == "switch":
        editor: Widget = Choice(entry.key, _options("true", "false"), default)
    elif entry.kind == "choice":
        editor = Choice(entry.key, _options(*entry.choices), default)
    elif entry.kind == "lines":
        editor = LinesEditor(entry.key, listed=True)
    else:
        editor = TextEditor(entry.key, placeholder=default or _("left out"), suggester=suggester)
    width, unit = _WIDTHS.get(entry.kind), entry.unit or ""
    if width:
        editor.styles.width = width
    return FieldRow(entry.key, words, editor, after=_(unit) if width else "")
