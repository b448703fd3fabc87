"""The console's settings: each change counts at once and is kept."""

from typing import TYPE_CHECKING, Any, ClassVar, cast

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Grid, VerticalScroll
from textual.widgets import Label, Select, Static

from sdtui.keymap import keyed
from sdtui.language import LANGUAGES, N_, _
from sdtui.screens.over import Over
from sdtui.settings import CHOICES, settings_file
from sdtui.theme import in_order

if TYPE_CHECKING:
    from sdtui.app import SdTui

_WORDS = {
    "auto": N_("as the environment says"),
    "slow": N_("slow: once a second"),
    "fast": N_("fast: four times a second"),
    "changed": N_("changed cells only"),
    "stock": N_("whole widgets, as Textual sends them"),
}
_LABELS = {
    "theme": N_("Theme"),
    "language": N_("Language"),
    "link": N_("Link"),
    "frames": N_("What is sent"),
    "mouse": N_("Mouse"),
    "bell": N_("Bell"),
}

_EXAMPLE = '    [console.keys]\n    "run.stop" = "S"'  # TOML, the same in every language


class SettingsScreen(Over[None]):
    """Theme, language, link; where they are kept."""

    HELP_TITLE = N_("Settings")
    AUTO_FOCUS = "Select"  # not the box around them, in which keys would do nothing
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,comma,q", "close", N_("Close"), id="settings.close"),
    ]

    def compose(self) -> ComposeResult:
        """Show one row a setting."""
        settings = cast("SdTui", self.app).settings
        with VerticalScroll(classes="dialog"):
            yield Static(Text(_("Settings")), classes="dialog--title")
            # Above the settings: below them it would be out of sight on a low terminal.
            keys = _("tab next   enter change   [settings.close] close")
            yield Static(Text(keyed(keys)), classes="dialog--keys")
            with Grid(classes="settings--rows"):
                for key, label in _LABELS.items():
                    yield Label(Text(_(label)))
                    yield Select(
                        self._choices(key),
                        value=getattr(settings, key),
                        allow_blank=False,
                        name=key,
                        compact=True,
                    )
            kept = _("Kept in {file}; keys are set there, too, by the names that [app.help] shows")
            kept = keyed(kept.format(file=settings_file()))
            yield Static(Text(f"{kept}\n{_EXAMPLE}"), classes="dialog--keys")

    def _choices(self, key: str) -> list[tuple[str, Any]]:
        if key == "mouse":
            return [(_("works in sdtui"), True), (_("is the terminal's, to select text"), False)]
        if key == "bell":
            return [(_("rings when a run ends"), True), (_("is silent"), False)]
        if key == "theme":
            names = in_order(self.app.available_themes)
            return [(name, name) for name in names]
        return [(LANGUAGES.get(word) or _(_WORDS[word]), word) for word in CHOICES[key]]

    def on_select_changed(self, event: Select.Changed) -> None:
        """Take a choice into use."""
        app, key = cast("SdTui", self.app), event.select.name or ""
        value: Any = event.value
        if getattr(app.settings, key) != value:
            app.change_settings(**{key: value})

    def action_close(self) -> None:
        """Go back."""
        self.dismiss(None)
