"""The dialog that loads the form: a shipped preset, a file, or an earlier run's task."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rich.cells import set_cell_size
from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from sdcore.runs.status import Status
from sdcore.task.presets import ShippedPreset
from sdcore.text import clean_line
from sdtui.form.aside import apart
from sdtui.form.desk import desk_of
from sdtui.form.paths import PathSuggester
from sdtui.form.suitable import suited
from sdtui.keymap import keyed
from sdtui.language import N_, _
from sdtui.screens.over import Over
from sdtui.theme import GLYPHS
from sdtui.told import told_why

if TYPE_CHECKING:
    from sdtui.app import SdTui

_MOST_RUNS = 30


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen: a source for the form, and whether it needs another name."""

    source: str
    fresh_name: bool = False


class ChoosePreset(Over[Choice | None]):
    """Closes with what to load."""

    HELP_TITLE = N_("Load")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", N_("Load nothing"), id="load.close"),
        Binding("up", "move(-1)", N_("Up"), show=False, priority=True, id="load.up"),
        Binding("down", "move(1)", N_("Down"), show=False, priority=True, id="load.down"),
    ]

    def __init__(self, memories: Sequence[int | None], runs: Sequence[Status]) -> None:
        super().__init__()
        self._memories, self._runs = memories, runs
        self._presets: Sequence[tuple[ShippedPreset, bool]] | None = None
        self._entered = False  # Enter was pressed before there was anything to choose

    def compose(self) -> ComposeResult:
        """Show a path to type, then presets and runs to choose."""
        with Vertical(classes="pick"):
            yield Static(Text(_("Load a task into the form")), classes="dialog--title")
            path = Input(
                compact=True,
                placeholder=_("a path, or type to filter the list"),
                suggester=PathSuggester(".toml"),
            )
            path.cursor_blink = False
            yield path
            yield OptionList(markup=False)
            yield Static(
                Text(keyed(_("enter load   ↑↓ choose   [load.close] back"))), classes="dialog--keys"
            )

    def on_mount(self) -> None:
        """Typing goes to the path, the arrows to the list."""
        self.query_one(OptionList).can_focus = False
        self.query_one(Input).focus()
        self._read()

    @work
    async def _read(self) -> None:
        """Read the presets aside; a path can be typed meanwhile."""
        try:
            self._presets = await apart(lambda: suited(self._memories))
        except OSError as error:
            self._presets = ()
            words = _("the presets cannot be read: {why}").format(why=told_why(error))
            self.notify(words, severity="error", markup=False)
        self._filter(self.query_one(Input).value)
        if self._entered:
            self._take_highlighted()

    def _filter(self, typed: str) -> None:
        """Show what fits to what is typed, unless that is a path."""
        self._fill("" if _is_path(typed) else typed)

    def _fill(self, typed: str) -> None:
        options = self.query_one(OptionList)
        options.clear_options()
        words = typed.casefold().split()
        rows = [
            (id_, line) for id_, line in self._rows() if all(w in line.casefold() for w in words)
        ]
        options.add_options(Option(Text(line), id_) for id_, line in rows)
        if rows:
            options.highlighted = 0

    def _rows(self) -> list[tuple[str, str]]:
        if self._presets is None:
            return []
        rows = []
        for preset, fits in self._presets:
            name = set_cell_size(clean_line(preset.name, 40), 16)
            rows.append((
                f"p{preset.name}",
                f"{'✓' if fits else ' '} {name} {clean_line(_(preset.description), 200)}",
            ))  # fmt: skip
        rows.append(("e", "  " + _("an empty form")))
        runs = self._runs[:_MOST_RUNS]
        return rows + [(f"r{r.id}", f"{GLYPHS[r.state]} {r.name}  ({r.id})") for r in runs]

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter the list, unless a path is typed."""
        event.stop()
        self._filter(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Take the path that was typed, else what is highlighted."""
        event.stop()
        if _is_path(event.value):
            self.dismiss(Choice(event.value.strip()))
        elif self._presets is None:
            self._entered = True
        else:
            self._take_highlighted()

    def _take_highlighted(self) -> None:
        options = self.query_one(OptionList)
        if options.highlighted is not None:
            self._take(options.get_option_at_index(options.highlighted).id or "")

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """A click does what Enter does."""
        event.stop()
        self._take(event.option.id or "")

    def _take(self, id_: str) -> None:
        if id_.startswith("r"):
            from sdtui.live.hub import Hub  # noqa: PLC0415  # rare

            self.dismiss(Choice(str(Hub.run_of(id_[1:]).task), fresh_name=True))
        else:
            self.dismiss(Choice(id_[1:]))

    def action_move(self, by: int) -> None:
        """Go up or down the list."""
        options = self.query_one(OptionList)
        if options.option_count:
            options.highlighted = ((options.highlighted or 0) + by) % options.option_count

    def action_close(self) -> None:
        """Load nothing."""
        self.dismiss(None)


def _is_path(typed: str) -> bool:
    return "/" in typed or typed.startswith("~") or typed.endswith(".toml")


def choose(app: "SdTui") -> None:
    """Ask what to load, and load it."""

    def load(choice: Choice | None) -> None:
        if choice is not None:
            app.edit_task(choice.source, fresh_name=choice.fresh_name)

    memories = [gpu["total"] for gpu in desk_of(app).look.gpus]
    app.push_screen(ChoosePreset(memories, app.view.runs or ()), load)
